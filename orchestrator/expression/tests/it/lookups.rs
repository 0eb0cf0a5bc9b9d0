//! What expressions ask for, and what they make of the answers.

use expression::{Answers, Options, Scope, evaluate, evaluate_with};
use serde_json::{Map, Value, json};

use crate::world::{NOW, object, text};

fn root() -> Map<String, Value> {
    object(
        json!({"host": "h.example.com", "execution": {"id": "e", "application": "my app", "stages": []}}),
    )
}

/// Evaluates until nothing is missing; each address is answered from the table.
fn answered(template: &str, table: &[(&str, Result<&str, &str>)]) -> (Value, Vec<String>) {
    let root = root();
    let mut answers = Answers::new();
    for _ in 0..5 {
        let scope = Scope {
            root: &root,
            now_ms: NOW,
            answers: &answers,
            place: "s/1",
        };
        let evaluated = evaluate(&json!(template), &scope);
        if evaluated.needs.is_empty() {
            let told = evaluated
                .failures
                .iter()
                .map(|f| f.description.clone())
                .collect();
            return (evaluated.value, told);
        }
        assert_eq!(
            evaluated.value,
            json!(template),
            "a text that waits stays as it is"
        );
        for need in evaluated.needs {
            let (_, answer) = table.iter().find(|(url, _)| *url == need.url).unwrap();
            answers.insert(need.key, answer.map(str::to_owned).map_err(str::to_owned));
        }
    }
    panic!("{template} never stops asking");
}

#[test]
fn what_is_read_from_an_address_is_the_recorded_answer() {
    let u = "https://h.example.com/x";
    let cases: &[(&str, &str, Value)] = &[
        (
            "${#fromUrl('https://h.example.com/x')}",
            "plain",
            json!("plain"),
        ),
        (
            "${#fromUrl('https://' + host + '/x').length()}",
            "plain",
            json!(5),
        ),
        (
            "${#jsonFromUrl('https://h.example.com/x').a[1]}",
            r#"{"a":[1,2.50]}"#,
            json!(2.5),
        ),
        (
            "${#yamlFromUrl('https://h.example.com/x').a}",
            "a: b\n---\nc: d",
            json!("b"),
        ),
        (
            "${#propertiesFromUrl('https://h.example.com/x')}",
            "# c\na=1\nb : two words\nc\\ d=\\u0041\\\n  B\n",
            json!({"a": "1", "b": "two words", "c d": "AB"}),
        ),
        (
            "v${#fromUrl('https://h.example.com/x')}!",
            "1",
            json!("v1!"),
        ),
    ];
    for (template, answer, expected) in cases {
        let (value, failures) = answered(template, &[(u, Ok(answer))]);
        assert_eq!(&value, expected, "{template}");
        assert!(failures.is_empty(), "{failures:?}");
    }
}

#[test]
fn a_refused_address_fails_with_the_reason() {
    let refused = [("http://127.0.0.1/", Err("127.0.0.1 is a loopback address"))];
    let (value, failures) = answered("${#fromUrl('http://127.0.0.1/')}", &refused);
    assert_eq!(value, json!("${#fromUrl('http://127.0.0.1/')}"));
    assert!(
        failures[0].contains("127.0.0.1 is a loopback address"),
        "{failures:?}"
    );
}

#[test]
fn our_own_documents_are_asked_for_by_name() {
    let table = [
        ("pipeline-id:my%20app/a%2Fb", Ok("\"id-1\"")),
        ("pipeline-id:other/p", Ok("null")),
        ("application:web", Ok(r#"{"name":"web","email":"a@b"}"#)),
        ("canary-config-id:web/c", Ok("\"cc\"")),
        ("ref://a/1", Ok("body")),
    ];
    let cases = [
        ("${#pipelineId('a/b')}", json!("id-1")),
        (
            "${#pipelineIdInApplication('p', 'other') ?: 'none'}",
            json!("none"),
        ),
        ("${#applicationMetadata('web').email}", json!("a@b")),
        ("${#canaryConfigNameToId('c', 'web')}", json!("cc")),
        ("${#fetchReference('ref://a/1')}", json!("body")),
        ("${#fetchReference('plain')}", json!("plain")),
    ];
    for (template, expected) in cases {
        assert_eq!(answered(template, &table).0, expected, "{template}");
    }
}

#[test]
fn everything_that_is_missing_is_asked_for_at_once() {
    let root = root();
    let answers = Answers::new();
    let scope = Scope {
        root: &root,
        now_ms: NOW,
        answers: &answers,
        place: "s/1",
    };
    let template = json!({
        "a": "${#fromUrl('http://x.example/1')}",
        "b": ["${#fromUrl('http://x.example/2')} and ${#fromUrl('http://x.example/3')}", "${1+1}"],
    });
    let evaluated = evaluate_with(&template, &scope, &Options::default());
    let urls: Vec<&str> = evaluated
        .needs
        .iter()
        .map(|need| need.url.as_str())
        .collect();
    assert_eq!(
        urls,
        [
            "http://x.example/1",
            "http://x.example/2",
            "http://x.example/3"
        ]
    );
    assert!(evaluated.failures.is_empty());
    assert_eq!(evaluated.value["b"][1], json!(2));
}

#[test]
fn keys_tell_places_and_positions_apart_and_do_not_change() {
    let root = root();
    let answers = Answers::new();
    let keys = |place, template: &str| {
        let scope = Scope {
            root: &root,
            now_ms: NOW,
            answers: &answers,
            place,
        };
        let needs = evaluate(&json!(template), &scope).needs;
        needs.into_iter().map(|need| need.key).collect::<Vec<_>>()
    };
    let one = "${#fromUrl('http://x.example/')}";
    assert_eq!(keys("s/1", one), keys("s/1", one));
    assert_ne!(keys("s/1", one), keys("s/2", one));
    assert_ne!(keys("s/1", one), keys("s/1", &format!("a{one}")));
    let looped = "${{'1','2'}.![#fromUrl('http://x.example/' + #this)]}";
    assert_eq!(
        keys("s/1", looped).len(),
        1,
        "the second is asked for when the first is known"
    );
}

#[test]
fn schemes_other_than_http_are_never_asked_for() {
    for url in ["file:///etc/passwd", "ftp://x", "jar:http://x!/y", "x"] {
        let template = format!("${{#fromUrl('{url}')}}");
        let evaluated = text(&template, &root());
        assert!(evaluated.needs.is_empty(), "{url}");
        assert_eq!(evaluated.failures.len(), 1, "{url}");
    }
}
