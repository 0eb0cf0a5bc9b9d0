//! What Orca itself answered: see `tests/fixtures/README.md`.

use std::collections::BTreeMap;

use expression::Offline;
use serde_json::{Map, Value, json};

use crate::world::{NOW, alike, unprinted};

const RECORDS: &str = include_str!("../fixtures/orca-visible.jsonl");

/// Records we answer otherwise, each with its reason. The aim is none.
const KNOWN: &[(&str, &str)] = &[];

/// Records whose message differs, with the reason. Success, failure, class and key
/// are compared for all of them.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("spel-362", "the text is Jackson's own"),
    ("spel-365", "the text is SnakeYAML's own"),
];

fn records() -> Vec<Value> {
    RECORDS
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The recorded execution and its stage; the application had no pipelines.
fn world() -> Offline {
    let fixture = records()
        .into_iter()
        .find(|r| r["kind"] == "spel-fixture")
        .unwrap();
    let stage = fixture["stage"].as_str().unwrap();
    Offline::new(&fixture["execution"], stage).unwrap()
}

#[test]
fn every_recorded_expression_gives_what_orca_gave() {
    let world = world();
    let known: BTreeMap<&str, &str> = KNOWN.iter().copied().collect();
    let (mut passed, mut wrong) = (0, Vec::new());
    for record in records().iter().filter(|r| r["kind"] == "spel") {
        let id = record["id"].as_str().unwrap();
        let expression = record["expression"].as_str().unwrap();
        let (result, detail) = world.ask(expression, NOW);
        let failed = record["response"]
            .get("detail")
            .is_some_and(|d| d != &json!({}));
        let right = failed != detail.is_empty()
            && alike(
                &unprinted(&result),
                &unprinted(&record["response"]["result"]),
            );
        match (right, known.get(id)) {
            (true, None) => passed += 1,
            (true, Some(_)) => wrong.push(format!("{id} is right now: remove it from KNOWN")),
            (false, Some(reason)) => println!("known: {id} {expression}: {reason}"),
            (false, None) => {
                let expected = &record["response"];
                wrong.push(format!(
                    "{id} {expression}\n  is {result} {detail:?}\n  not {expected}"
                ));
            }
        }
    }
    println!(
        "{passed} recorded expressions right, {} known to differ",
        known.len()
    );
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(passed >= 189, "only {passed} were right");
}

#[test]
fn failures_have_the_key_the_words_the_class_and_the_level_that_orca_gave() {
    let world = world();
    let words: BTreeMap<&str, &str> = OTHER_WORDS.iter().copied().collect();
    let (mut same, mut wrong) = (0, Vec::new());
    for record in records().iter().filter(|r| r["kind"] == "spel") {
        let Some(expected) = record["response"].get("detail").and_then(Value::as_object) else {
            continue;
        };
        let id = record["id"].as_str().unwrap();
        let (_, detail) = world.ask(record["expression"].as_str().unwrap(), NOW);
        let told = |detail: &Map<String, Value>| -> Vec<Value> {
            let entries = detail.iter().flat_map(|(key, list)| {
                list.as_array()
                    .unwrap()
                    .iter()
                    .map(move |entry| (key, entry))
            });
            entries
                .map(|(key, entry)| {
                    let description = if words.contains_key(id) {
                        &Value::Null
                    } else {
                        &entry["description"]
                    };
                    json!([key, description, entry["exceptionType"], entry["level"]])
                })
                .collect()
        };
        if told(&detail) == told(expected) {
            same += 1;
        } else {
            wrong.push(format!(
                "{id}\n  {:?}\n  {:?}",
                told(&detail),
                told(expected)
            ));
        }
    }
    println!("{same} recorded failures told as Orca tells them");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
