//! What the real judge answered: see `tests/fixtures/README.md`.
//!
//! `CANARY_RECORDS` names another file of records, plain or compressed, of judgements, of tests, or of both.

use std::io::Read;

use judge::offline;
use serde_json::Value;

use crate::mann_whitney;

const FIXTURES: [&str; 2] = [
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/kayenta-visible.jsonl.gz"
    ),
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/mannwhitney-visible.jsonl.gz"
    ),
];

/// The records of one kind.
pub(crate) fn records(kind: &str) -> Vec<Value> {
    let files = std::env::var("CANARY_RECORDS")
        .map_or_else(|_| FIXTURES.map(str::to_owned).to_vec(), |file| vec![file]);
    let mut records = Vec::new();
    for path in files {
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut text = String::new();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut decoder = flate2::read::GzDecoder::new(bytes.as_slice());
            decoder.read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(bytes).unwrap();
        }
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        records.extend(lines.map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    records.retain(|record| record["kind"] == kind);
    records
}

/// A number of a record.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

/// Whether two numbers are one, to the last bit.
pub(crate) fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

/// Where `ours` differs from `theirs`: objects by name, lists in order, groups by name, numbers to the last bit.
fn differences(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let path = format!("{path}.{name}");
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => differences(a, b, &path, found),
                    (a, b) => found.push(format!("{path}: {a:?} instead of {b:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut lists = (a.clone(), b.clone());
            if path.ends_with(".groupScores") {
                lists.0.sort_by_key(|group| group["name"].to_string());
                lists.1.sort_by_key(|group| group["name"].to_string());
            }
            for (index, (a, b)) in lists.0.iter().zip(&lists.1).enumerate() {
                differences(a, b, &format!("{path}[{index}]"), found);
            }
        }
        (a, b) => {
            let equal = match (number(a), number(b)) {
                (Some(a), Some(b)) => same(a, b),
                _ => a == b,
            };
            if !equal {
                found.push(format!("{path}: {a} instead of {b}"));
            }
        }
    }
}

/// The texts that must be the original's own.
fn is_told_alike(message: &str) -> bool {
    message.starts_with("Could not find metric config for ")
        || message.starts_with("requirement failed: ")
}

/// Where our answer to a recorded question differs.
fn wrong(record: &Value) -> Vec<String> {
    let told = Value::Object(offline::answer(record.clone(), true));
    let mut found = Vec::new();
    if let Some(error) = record.get("error") {
        let message = error["message"].as_str().unwrap_or_default();
        let ours = told["error"]["message"].as_str();
        if ours.is_none() || (is_told_alike(message) && ours != Some(message)) {
            found.push(format!("{told} instead of {error}"));
        }
        return found;
    }
    differences(&told["result"], &record["result"], "result", &mut found);
    if record.get("trace").is_some() {
        differences(&told["trace"], &record["trace"], "trace", &mut found);
    }
    found
}

/// Every record of a kind is ours; `wrong` says where one is not.
fn all_are_ours(kind: &str, wrong: fn(&Value) -> Vec<String>) {
    let records = records(kind);
    let mut wrongs = Vec::new();
    for record in &records {
        let found = wrong(record);
        if !found.is_empty() {
            let (id, description) = (&record["id"], &record["description"]);
            wrongs.push(format!("{id} {description}:\n  {}", found.join("\n  ")));
        }
    }
    let (ours, all) = (records.len() - wrongs.len(), records.len());
    println!("{ours} of {all} records of {kind}");
    assert!(
        wrongs.is_empty(),
        "{} wrong:\n{}",
        wrongs.len(),
        wrongs.join("\n")
    );
    let asked = std::env::var("CANARY_RECORDS").is_ok();
    assert!(asked || all > 0, "no record of {kind}");
}

#[test]
fn every_recorded_judgement_is_ours_to_the_last_bit() {
    all_are_ours("judge", wrong);
}

#[test]
fn every_recorded_test_is_ours_to_the_last_bit() {
    all_are_ours("mannwhitney", mann_whitney::wrong);
}

#[test]
fn control_a_last_bit_and_a_missing_field_are_found() {
    let mut records = records("judge");
    let position = records.iter().position(|record| record["id"] == "v0038");
    let Some(record) = position.map(|position| records.swap_remove(position)) else {
        println!("skipped: the file has no record v0038");
        return;
    };
    assert!(wrong(&record).is_empty());
    let next = |value: &Value| Value::from(value.as_f64().unwrap().next_up());
    let mut other = record.clone();
    other["trace"][0]["estimate"] = next(&record["trace"][0]["estimate"]);
    assert_eq!(wrong(&other).len(), 1);
    let mut other = record.clone();
    let stats = &mut other["result"]["results"][0]["controlMetadata"]["stats"];
    stats["std"] = next(&stats["std"].clone());
    assert_eq!(wrong(&other).len(), 1);
    let mut other = record.clone();
    other["result"]["results"][0]["classificationReason"] = Value::from("");
    assert_eq!(wrong(&other).len(), 1);
    let mut other = record;
    other["error"] = serde_json::json!({"message": "requirement failed: x"});
    assert_eq!(wrong(&other).len(), 1);
}
