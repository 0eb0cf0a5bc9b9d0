//! The fields of an artifact and of an expected one (`kork: Artifact`, `ExpectedArtifact`).

use serde_json::{Map, Value, json};

/// Fields that are text.
const TEXTS: [&str; 8] = [
    "type",
    "name",
    "version",
    "location",
    "reference",
    "artifactAccount",
    "provenance",
    "uuid",
];

fn scalar(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) => Some(value.clone()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(flag) => Some(flag.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn flag(fields: &Map<String, Value>, key: &str) -> bool {
    match fields.get(key) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => false,
    }
}

/// An artifact with its own fields only: what it does not know is in its metadata. What
/// is no object is an artifact without any field.
pub fn artifact(value: &Value) -> Value {
    let empty = Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    let mut shaped = Map::new();
    for key in TEXTS {
        if let Some(text) = fields.get(key).and_then(scalar) {
            shaped.insert(key.to_owned(), text);
        }
    }
    shaped.insert("customKind".to_owned(), flag(fields, "customKind").into());
    let mut metadata = match fields.get("metadata") {
        Some(Value::Object(metadata)) => metadata.clone(),
        _ => Map::new(),
    };
    for (key, value) in fields {
        let own = matches!(key.as_str(), "customKind" | "metadata" | "kind");
        if !own && !TEXTS.contains(&key.as_str()) && !value.is_null() {
            metadata.entry(key).or_insert_with(|| value.clone());
        }
    }
    shaped.insert("metadata".to_owned(), metadata.into());
    shaped.into()
}

/// An expected artifact with its own fields only; what it asks for is everything if it
/// does not say.
pub fn expected(value: &Value) -> Value {
    let empty = Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    let id = fields
        .get("id")
        .and_then(scalar)
        .unwrap_or_else(|| "".into());
    let wanted = artifact(fields.get("matchArtifact").unwrap_or(&Value::Null));
    let mut shaped = json!({
        "id": id,
        "matchArtifact": wanted,
        "usePriorArtifact": flag(fields, "usePriorArtifact"),
        "useDefaultArtifact": flag(fields, "useDefaultArtifact"),
    });
    for key in ["defaultArtifact", "boundArtifact"] {
        if let Some(found) = fields.get(key).filter(|found| found.is_object()) {
            shaped[key] = artifact(found);
        }
    }
    shaped
}

/// The artifacts in a list, each once; what is no object is none.
pub fn artifacts(list: Option<&Value>) -> Vec<Value> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    distinct(items.filter(|item| item.is_object()).map(artifact))
}

/// Each artifact once, in order.
pub fn distinct(all: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for artifact in all {
        if !found.contains(&artifact) {
            found.push(artifact);
        }
    }
    found
}

/// What people call an artifact.
pub fn name(artifact: &Value) -> &str {
    ["reference", "name", "type"]
        .iter()
        .filter_map(|key| artifact.get(*key)?.as_str())
        .find(|text| !text.is_empty())
        .unwrap_or("one without a name")
}

/// What people call several, the first of them.
pub fn names(artifacts: &[Value]) -> String {
    const TOLD: usize = 5;
    let mut told: Vec<&str> = artifacts.iter().take(TOLD).map(name).collect();
    if artifacts.len() > TOLD {
        told.push("…");
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_artifact_does_not_know_is_metadata() {
        let found = artifact(&json!({
            "type": "jenkins/file", "name": "a.jar", "reference": null, "kind": "base64", "version": 7,
            "fileName": "a.jar", "metadata": {"id": 1, "fileName": "b.jar"},
        }));
        let shaped = json!({
            "type": "jenkins/file", "name": "a.jar", "version": "7", "customKind": false,
            "metadata": {"id": 1, "fileName": "b.jar"},
        });
        assert_eq!(found, shaped);
        assert_eq!(artifact(&found), found, "twice is once");
        assert_eq!(
            artifact(&json!(5)),
            json!({"customKind": false, "metadata": {}})
        );
    }

    #[test]
    fn an_expected_artifact_keeps_its_own_fields() {
        let found = expected(&json!({
            "displayName": "d", "id": "e", "matchArtifact": {"name": "app"}, "useDefaultArtifact": true,
            "defaultArtifact": {"name": "app", "reference": "app:1"}, "boundArtifact": null,
        }));
        let app = json!({"name": "app", "customKind": false, "metadata": {}});
        assert_eq!(found["matchArtifact"], app);
        assert_eq!(found["defaultArtifact"]["reference"], "app:1");
        let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
        for gone in ["displayName", "boundArtifact"] {
            assert!(!keys.iter().any(|key| *key == gone), "{keys:?}");
        }
        assert_eq!(expected(&found), found, "twice is once");
    }

    #[test]
    fn one_artifact_sent_twice_is_one() {
        let sent = json!([{"name": "a"}, {"name": "a", "metadata": {}}, 5, {"name": "b"}]);
        assert_eq!(names(&artifacts(Some(&sent))), "a, b");
        assert!(artifacts(None).is_empty());
    }
}
