//! Pipelines and stages as JSON.

use serde_json::{Map, Value, json};

/// A stage: type, name, `refId`, the stages it waits for, and its own fields.
pub fn stage(kind: &str, name: &str, ref_id: &str, after: &[&str], fields: Value) -> Value {
    let mut stage = Map::new();
    stage.insert("type".to_owned(), json!(kind));
    stage.insert("name".to_owned(), json!(name));
    stage.insert("refId".to_owned(), json!(ref_id));
    stage.insert("requisiteStageRefIds".to_owned(), json!(after));
    if let Value::Object(fields) = fields {
        stage.extend(fields);
    }
    Value::Object(stage)
}

/// A pipeline of these stages, without triggers.
pub fn pipeline(application: &str, name: &str, stages: &[Value]) -> Value {
    json!({
        "application": application,
        "name": name,
        "keepWaitingPipelines": false,
        "limitConcurrent": false,
        "triggers": [],
        "stages": stages,
    })
}

/// A stage that sends a request and takes any 2xx for success.
pub fn webhook(name: &str, ref_id: &str, after: &[&str], url: &str) -> Value {
    let fields = json!({ "url": url, "method": "POST", "payload": { "stage": ref_id } });
    stage("webhook", name, ref_id, after, fields)
}

/// A chain of webhook stages, `refId`s from 1.
pub fn webhook_chain(application: &str, name: &str, url: &str, length: usize) -> Value {
    let stages: Vec<Value> = (1..=length)
        .map(|number| {
            let before = (number - 1).to_string();
            let after: &[&str] = if number == 1 { &[] } else { &[&before] };
            webhook(&format!("Call {number}"), &number.to_string(), after, url)
        })
        .collect();
    pipeline(application, name, &stages)
}
