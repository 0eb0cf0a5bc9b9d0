//! `ad hoc`: somebody starts a pipeline that need not be stored.
//!
//! Pure. What cannot run becomes an execution that says so, so nothing is refused here but what the
//! original refuses: an artifact that nothing gives. Source: `orca: OperationsController.orchestrate`.

use proto::status::{Failure, Kind};
use serde_json::{Map, Value};

use crate::artifacts;

fn received(trigger: &Map<String, Value>) -> &[Value] {
    match trigger.get("artifacts") {
        Some(Value::Array(received)) => received,
        _ => &[],
    }
}

/// Whether the start needs the artifacts of the pipeline's last execution.
pub(crate) fn needs_prior(pipeline: &Map<String, Value>) -> bool {
    let trigger = pipeline.get("trigger").and_then(Value::as_object);
    trigger.is_some_and(|t| artifacts::needs_prior(pipeline, t, received(t)))
}

/// The pipeline with its trigger's artifacts bound. `prior` are those of the pipeline's last execution.
///
/// # Errors
/// `Invalid` when an expected artifact is unresolved.
pub(crate) fn prepare(mut pipeline: Map<String, Value>, prior: &[Value]) -> Result<Value, Failure> {
    let mut trigger = match pipeline.get("trigger") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(trigger)) => trigger.clone(),
        // Shown as it is in the execution that cannot run.
        Some(_) => return Ok(Value::Object(pipeline)),
    };
    let bound = artifacts::resolve(&pipeline, &trigger, received(&trigger), prior)
        .map_err(|reason| Failure::new(Kind::Invalid, reason))?;
    trigger.insert("artifacts".to_owned(), bound.artifacts.into());
    trigger.insert(
        "resolvedExpectedArtifacts".to_owned(),
        bound.resolved.into(),
    );
    pipeline.insert("trigger".to_owned(), Value::Object(trigger));
    Ok(Value::Object(pipeline))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prepared(pipeline: Value, prior: &[Value]) -> Result<Value, Failure> {
        let Value::Object(pipeline) = pipeline else {
            panic!("no object");
        };
        prepare(pipeline, prior)
    }

    fn image(version: &str) -> Value {
        json!({"type": "docker/image", "name": "h/a", "reference": format!("h/a:{version}")})
    }

    fn expecting(more: &Value, artifacts: &[Value]) -> Value {
        let mut expected =
            json!({"id": "e", "matchArtifact": {"type": "docker/image", "name": "h/a"}});
        expected
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({
            "expectedArtifacts": [expected],
            "trigger": {"expectedArtifactIds": ["e"], "artifacts": artifacts},
        })
    }

    #[test]
    fn an_artifact_is_the_triggers_the_prior_one_or_the_default() {
        let bound = |more: Value, artifacts: &[Value], prior: &[Value]| {
            let started = prepared(expecting(&more, artifacts), prior).unwrap();
            started["trigger"]["resolvedExpectedArtifacts"][0]["boundArtifact"].clone()
        };
        assert_eq!(bound(json!({}), &[image("1")], &[]), image("1"));
        let default = json!({"useDefaultArtifact": true, "defaultArtifact": image("2")});
        assert_eq!(bound(default, &[], &[]), image("2"));
        let prior = json!({"usePriorArtifact": true});
        assert_eq!(bound(prior, &[], &[image("3")]), image("3"));
    }

    #[test]
    fn only_an_unresolved_artifact_is_refused() {
        let nothing = prepared(expecting(&json!({}), &[]), &[]).unwrap_err();
        assert!(
            nothing.to_string().contains("could not be resolved"),
            "{nothing}"
        );
        let two = prepared(expecting(&json!({}), &[image("1"), image("2")]), &[]).unwrap_err();
        assert!(two.to_string().contains("more than one"), "{two}");
        for odd in [
            json!({"trigger": 5}),
            json!({"trigger": {"artifacts": 5}}),
            json!({}),
        ] {
            assert!(prepared(odd, &[]).is_ok());
        }
    }
}
