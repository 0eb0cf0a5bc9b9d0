//! A pipeline that starts: which of its expected artifacts concern this start, and what
//! its trigger holds then (`orca: ArtifactUtils.resolveArtifacts`).

use serde_json::{Map, Value};

use crate::matching::fits;
use crate::resolve::{Finding, Unresolved, finding, resolve};
use crate::shape::{artifacts, distinct, expected};

fn list<'a>(map: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    match map.get(key) {
        Some(Value::Array(items)) => items,
        _ => &[],
    }
}

fn id(expected: &Value) -> &Value {
    expected.get("id").unwrap_or(&Value::Null)
}

/// What a start received, each artifact once.
pub fn received(trigger: &Map<String, Value>) -> Vec<Value> {
    let passed_on = artifacts(trigger.get("receivedArtifacts"));
    let own = artifacts(trigger.get("artifacts"));
    distinct(passed_on.into_iter().chain(own))
}

/// The expected artifacts that concern a start: those its trigger names, and those that
/// something can stand in for. The others are none of its business.
pub fn considered<'a>(
    pipeline: &'a Map<String, Value>,
    trigger: &'a Map<String, Value>,
) -> impl Iterator<Item = &'a Value> {
    let wanted = list(trigger, "expectedArtifactIds");
    list(pipeline, "expectedArtifacts")
        .iter()
        .filter(move |raw| {
            let shaped = expected(raw);
            let is = |key: &str| shaped[key] == Value::Bool(true);
            wanted.contains(id(raw)) || is("useDefaultArtifact") || is("usePriorArtifact")
        })
}

/// Whether a start needs the artifacts of the pipeline's last execution.
pub fn needs_prior(pipeline: &Map<String, Value>, trigger: &Map<String, Value>) -> bool {
    let received = received(trigger);
    considered(pipeline, trigger).any(|raw| {
        let shaped = expected(raw);
        shaped["usePriorArtifact"] == Value::Bool(true)
            && !received.iter().any(|a| fits(&shaped, a))
    })
}

/// Puts into the trigger what the pipeline that starts expects: `artifacts`,
/// `expectedArtifacts` and `resolvedExpectedArtifacts`. Once more changes nothing.
///
/// # Errors
/// The first expected artifact that nothing, or more than one thing, fits; the trigger
/// then holds what it received.
pub fn at_start(
    pipeline: &Map<String, Value>,
    trigger: &mut Map<String, Value>,
    prior: &[Value],
) -> Result<Vec<Finding>, Unresolved> {
    let received = received(trigger);
    let bound = resolve(considered(pipeline, trigger), &received, prior, true);
    let (resolved, more, outcome) = match bound {
        Ok(bound) => (bound.resolved, bound.artifacts, Ok(bound.report)),
        Err(unresolved) => (Vec::new(), Vec::new(), Err(unresolved)),
    };
    let all = distinct(received.into_iter().chain(more));
    for (key, value) in [
        ("artifacts", all),
        ("expectedArtifacts", resolved.clone()),
        ("resolvedExpectedArtifacts", resolved),
    ] {
        trigger.insert(key.to_owned(), value.into());
    }
    outcome
}

/// What would become of each expected artifact that concerns a start, as far as what came
/// and defaults decide it; one that the last execution may still give is bound to nothing.
pub fn report(
    pipeline: &Map<String, Value>,
    trigger: &Map<String, Value>,
    received: &[Value],
) -> Vec<Finding> {
    let one = |raw| match resolve([raw], received, &[], true) {
        Ok(bound) => bound.report,
        Err(unresolved) => unresolved.report,
    };
    considered(pipeline, trigger).flat_map(one).collect()
}

/// The ids that a trigger of the pipeline names, if the execution of `parent` is what it
/// waits for.
pub fn wanted_ids(pipeline: &Map<String, Value>, parent: &str) -> Vec<Value> {
    let is = |trigger: &&Map<String, Value>| {
        let text = |key: &str| trigger.get(key).and_then(Value::as_str);
        text("type") == Some("pipeline") && text("pipeline") == Some(parent)
    };
    let mut triggers = list(pipeline, "triggers")
        .iter()
        .filter_map(Value::as_object);
    let ids = triggers.find(is).map(|t| list(t, "expectedArtifactIds"));
    ids.unwrap_or_default().to_vec()
}

/// The ids that concern a child: those that are listed, and those of every expected
/// artifact that one of the received ones is.
pub fn expected_ids(
    pipeline: &Map<String, Value>,
    listed: Vec<Value>,
    received: &[Value],
) -> Vec<Value> {
    let came = list(pipeline, "expectedArtifacts").iter().filter(|raw| {
        let shaped = expected(raw);
        received.iter().any(|artifact| fits(&shaped, artifact))
    });
    distinct(listed.into_iter().chain(came.map(|raw| id(raw).clone())))
}

/// Whether a trigger that waits for artifacts got one of them.
///
/// # Errors
/// What became of each that it waits for.
pub fn received_one(
    pipeline: &Map<String, Value>,
    trigger: &Map<String, Value>,
    received: &[Value],
) -> Result<(), Vec<Finding>> {
    let wanted = list(trigger, "expectedArtifactIds");
    if wanted.is_empty() {
        return Ok(());
    }
    let listed = list(pipeline, "expectedArtifacts")
        .iter()
        .filter(|raw| wanted.contains(id(raw)));
    let mut missed = Vec::new();
    for raw in listed {
        let shaped = expected(raw);
        if received.iter().any(|artifact| fits(&shaped, artifact)) {
            return Ok(());
        }
        missed.push(finding(raw, received));
    }
    Err(missed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn pipeline() -> Map<String, Value> {
        object(&json!({
            "expectedArtifacts": [
                {"id": "image", "matchArtifact": {"name": "app"}},
                {"id": "chart", "matchArtifact": {"name": "chart"}, "useDefaultArtifact": true,
                 "defaultArtifact": {"name": "chart", "version": "1"}},
            ],
            "triggers": [
                {"type": "pipeline", "pipeline": "other", "expectedArtifactIds": ["x"]},
                {"type": "pipeline", "pipeline": "p", "expectedArtifactIds": ["chart"]},
            ],
        }))
    }

    #[test]
    fn what_is_not_named_is_not_resolved_and_defaults_always_are() {
        let mut trigger =
            object(&json!({"artifacts": [{"name": "app"}, {"name": "app", "version": "2"}]}));
        at_start(&pipeline(), &mut trigger, &[]).unwrap();
        assert_eq!(trigger["artifacts"].as_array().unwrap().len(), 3);
        assert_eq!(trigger["resolvedExpectedArtifacts"][0]["id"], "chart");
        assert_eq!(
            trigger["expectedArtifacts"],
            trigger["resolvedExpectedArtifacts"]
        );
        let once = trigger.clone();
        at_start(&pipeline(), &mut trigger, &[]).unwrap();
        assert_eq!(trigger, once);
    }

    #[test]
    fn what_was_passed_on_counts_and_what_fails_keeps_what_came() {
        let mut trigger = object(&json!({
            "expectedArtifactIds": ["image"], "receivedArtifacts": [{"name": "app"}],
            "artifacts": [{"name": "app"}],
        }));
        at_start(&pipeline(), &mut trigger, &[]).unwrap();
        assert_eq!(
            trigger["resolvedExpectedArtifacts"][0]["boundArtifact"]["name"],
            "app"
        );
        let mut lacking =
            object(&json!({"expectedArtifactIds": ["image"], "artifacts": [{"name": "b"}]}));
        let failed = at_start(&pipeline(), &mut lacking, &[]).unwrap_err();
        assert!(
            failed.message.contains("b came, but its name is \"b\""),
            "{failed:?}"
        );
        assert_eq!(lacking["artifacts"][0]["name"], "b");
        assert_eq!(lacking["resolvedExpectedArtifacts"], json!([]));
    }

    #[test]
    fn a_child_expects_what_its_trigger_names_and_what_came() {
        let ids = wanted_ids(&pipeline(), "p");
        assert_eq!(ids, ["chart"]);
        assert!(wanted_ids(&pipeline(), "nobody").is_empty());
        let received = [json!({"name": "app"})];
        assert_eq!(
            expected_ids(&pipeline(), ids, &received),
            ["chart", "image"]
        );
    }

    #[test]
    fn a_trigger_that_waits_for_artifacts_needs_one_of_them() {
        let waits = object(&json!({"expectedArtifactIds": ["image", "chart"]}));
        let came = [json!({"name": "app", "version": "1"})];
        assert_eq!(received_one(&pipeline(), &waits, &came), Ok(()));
        assert_eq!(received_one(&pipeline(), &Map::new(), &[]), Ok(()));
        let missed = received_one(&pipeline(), &waits, &[json!({"name": "apple"})]).unwrap_err();
        assert_eq!(missed.len(), 2);
        assert_eq!(missed[0].near.as_ref().unwrap().misses[0].field, "name");
    }

    #[test]
    fn the_last_execution_is_read_only_where_it_may_count() {
        let prior = object(&json!({"expectedArtifacts": [
            {"id": "a", "matchArtifact": {"name": "app"}, "usePriorArtifact": true}]}));
        assert!(needs_prior(&prior, &Map::new()));
        let came = object(&json!({"artifacts": [{"name": "app"}]}));
        assert!(!needs_prior(&prior, &came));
        assert!(!needs_prior(&pipeline(), &Map::new()));
    }
}
