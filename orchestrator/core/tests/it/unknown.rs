//! Fields that only a newer version knows survive an older one that writes the document again.

use orchestrator_core::{Execution, PipelineGate, Stage};
use serde_json::{Value, json};

fn written() -> Value {
    json!({
        "type": "PIPELINE", "id": "E", "application": "a", "status": "RUNNING",
        "later": {"x": [1.50, null]}, "_laterOwn": 7,
        "stages": [{
            "id": "S", "refId": "1", "type": "wait", "name": "w", "_later": true, "seen": "yes",
            "tasks": [{"id": "1", "name": "t", "implementingClass": "wait", "_later": [1], "seen": 2}],
        }],
    })
}

#[test]
fn what_a_newer_version_wrote_is_still_there_when_it_is_written_again() {
    let text = written().to_string();
    let read: Execution = serde_json::from_str(&text).unwrap();
    assert_eq!(
        serde_json::from_value::<Execution>(written()).unwrap(),
        read
    );
    let again = serde_json::to_value(&read).unwrap();
    for path in [
        "/later",
        "/_laterOwn",
        "/stages/0/_later",
        "/stages/0/seen",
        "/stages/0/tasks/0/_later",
        "/stages/0/tasks/0/seen",
    ] {
        assert!(again.pointer(path).is_some(), "{path}");
        assert_eq!(again.pointer(path), written().pointer(path), "{path}");
    }
    // As parts in the store, too.
    let stages = read.stages.iter().cloned().collect();
    let header = read.header_json().to_string();
    assert_eq!(
        Execution::from_parts(&header, stages).unwrap().more,
        read.more
    );
    let gate: PipelineGate =
        serde_json::from_value(json!({"pipelineConfigId": "P", "later": 1})).unwrap();
    assert_eq!(gate.to_json()["later"], 1);
}

#[test]
fn clients_see_of_it_what_is_not_the_engines_own() {
    let read: Execution = serde_json::from_value(written()).unwrap();
    let served = read.to_json();
    assert_eq!(served["later"], json!({"x": [1.50, null]}));
    assert_eq!(served["stages"][0]["seen"], "yes");
    assert_eq!(served["stages"][0]["tasks"][0]["seen"], 2);
    assert!(!served.to_string().contains("ater\":true") && served.get("_laterOwn").is_none());
}

#[test]
fn known_fields_are_read_as_ever() {
    let escaped = "{\"i\\u0064\": \"S\", \"refId\": \"1\", \"context\": {\"a\": 1.50}}";
    let stage: Stage = serde_json::from_str(escaped).unwrap();
    assert_eq!((stage.id.as_str(), stage.more.len()), ("S", 0));
    assert_eq!(stage.context["a"].to_string(), "1.50");
    let twice = serde_json::from_str::<Stage>(r#"{"id": "S", "id": "T"}"#);
    assert!(twice.unwrap_err().to_string().contains("duplicate field"));
    assert!(serde_json::from_str::<Stage>(r#"{"status": "ODD"}"#).is_err());
}
