//! Nothing an author writes takes long, takes much or ends the process.

use expression::{Evaluated, Options, parse_check};
use serde_json::json;

use crate::world::{evaluate, evaluate_in, object, text};

fn refused(template: &str) -> Evaluated {
    let list: Vec<u32> = (0..2_000).collect();
    let root = object(
        json!({"l": list, "t": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "big": "x".repeat(200_000)}),
    );
    let evaluated = text(template, &root);
    assert_eq!(evaluated.value, json!(template), "{template}");
    assert_eq!(evaluated.failures.len(), 1, "{template}");
    assert_eq!(evaluated.failures[0].level.as_str(), "ERROR");
    evaluated
}

#[test]
fn work_and_sizes_are_bounded_and_the_error_names_the_limit() {
    let cases = [
        ("${l.![#root.l.![#root.l.size()]]}", "steps"),
        ("${l.![#root.l.![#root.l]]}", "steps"),
        ("${l.![#root.l.contains(#this)]}", "steps"),
        ("${'ab' * 2000000}", "bytes of text"),
        ("${'ab'.repeat(2000000)}", "bytes of text"),
        ("${big.replace('x', 'yyyyyyyyyyyy')}", "bytes of text"),
        ("${big.replaceAll('x', 'yyyyyyyyyyyy')}", "bytes of text"),
        (
            r"${t.matches('((a|aa)+)\1[^!]')}",
            "steps of a regular expression",
        ),
        ("${T(String).format('%99999d', 1)}", "Conversion"),
    ];
    for (template, limit) in cases {
        let evaluated = refused(template);
        let description = &evaluated.failures[0].description;
        assert!(description.contains(limit), "{template}: {description}");
    }
}

#[test]
fn deep_nesting_is_an_error_and_long_chains_are_not() {
    for (open, close) in [
        ("(", ")"),
        ("{", "}"),
        ("a[", "]"),
        ("!", ""),
        ("- ", ""),
        ("a ? b : ", ""),
    ] {
        let template = format!("${{{}1{}}}", open.repeat(1_000), close.repeat(1_000));
        let error = parse_check(&template).unwrap_err();
        assert!(error.to_string().contains("nested deeper"), "{error}");
        refused(&template);
    }
    let chain = |n| format!("${{{}1}}", "a == 2 ? b : ".repeat(n));
    assert_eq!(text(&chain(150), &object(json!({"a": 1}))).value, json!(1));
    let sum = format!("${{1{}}}", "+1".repeat(4_000));
    assert_eq!(text(&sum, &object(json!({}))).value, json!(4_001));
    let path = format!("${{a{}}}", "?.b".repeat(3_000));
    assert_eq!(text(&path, &object(json!({}))).failures.len(), 1);
}

#[test]
fn an_expression_beyond_ten_thousand_characters_is_refused_and_a_text_around_one_is_not() {
    let long = "x".repeat(20_000);
    let around = format!("{long}${{1}}");
    assert_eq!(parse_check(&around), Ok(()));
    let evaluated = text(&around, &object(json!({})));
    assert_eq!(evaluated.value, json!(format!("{long}1")));
    let template = format!("${{'{long}'}}");
    assert!(parse_check(&template).is_err());
    let evaluated = text(&template, &object(json!({})));
    assert_eq!(evaluated.value, json!(template));
    let description = &evaluated.failures[0].description;
    assert!(
        description.contains("threshold of '10,000'"),
        "{description}"
    );
    let longer = Options {
        longest: Some(30_000),
        ..Options::default()
    };
    let evaluated = evaluate_in(&json!(template), &object(json!({})), &longer);
    assert_eq!(evaluated.value, json!(long));
}

#[test]
fn a_template_of_many_costly_texts_ends() {
    let list: Vec<u32> = (0..600).collect();
    let root = object(json!({"l": list}));
    let texts = vec!["${l.![#root.l.![#this + 1]].size()}"; 100];
    let evaluated = evaluate(&json!(texts), &root);
    assert!(evaluated.failures.len() > 50, "all share one budget");
}

#[test]
fn a_stage_that_waits_for_itself_does_not_hang() {
    let root = object(json!({"execution": {"id": "e", "stages": [
        {"id": "1", "refId": "1", "requisiteStageRefIds": ["2"], "context": {}, "outputs": {"a": 1}},
        {"id": "2", "refId": "2", "requisiteStageRefIds": ["1"], "context": {}, "parentStageId": "2"},
        {"refId": "3", "requisiteStageRefIds": ["3"], "context": {}},
    ]}}));
    assert_eq!(
        text("${execution.stages[0].context.none ?: 'no'}", &root).value,
        json!("no")
    );
    assert_eq!(
        text("${execution.stages[2].context.none ?: 'no'}", &root).value,
        json!("no")
    );
    assert_eq!(text("${execution.context.a}", &root).value, json!(1));
}

#[test]
fn the_deepest_nesting_that_parses_also_evaluates() {
    let nested = |open: &str, middle: &str, close: &str| {
        let depth = (1..100)
            .take_while(|n| {
                let text = format!("${{{}{middle}{}}}", open.repeat(*n), close.repeat(*n));
                parse_check(&text).is_ok()
            })
            .count();
        assert!((20..60).contains(&depth), "{open}: {depth}");
        let text = format!("${{{}{middle}{}}}", open.repeat(depth), close.repeat(depth));
        crate::world::text(&text, &object(json!({"l": [0], "t": true})))
    };
    assert_eq!(nested("(", "1", ")").value, json!(1));
    assert_eq!(nested("!", "t", "").failures, []);
    assert_eq!(nested("l[", "0", "]").value, json!(0));
    assert_eq!(nested("t ? ", "1", " : 2").value, json!(1));
    assert_eq!(nested("#root.l.![", "1", "]").failures, []);
    assert_eq!(nested("{'a'.concat(", "'b'", ")}").failures, []);
    assert_eq!(nested("#toBoolean(", "1", ")").failures, []);
}
