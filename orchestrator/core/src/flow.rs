//! What executions hand on: their artifacts, in the order in which others look for
//! them, and themselves as the one that started another.

use serde_json::{Map, Value, json};

use crate::execution::Execution;
use crate::stage::Stage;

/// Executions that started one another and are still told of one by one.
pub const MOST_PARENTS: usize = 20;
/// The longest text of a trigger that goes along with a reference.
const MOST_TEXT: usize = 1_024;

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn distinct<'a>(all: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for artifact in all {
        if !found.contains(artifact) {
            found.push(artifact.clone());
        }
    }
    found
}

impl Execution {
    /// All stages, each after those it requires; what is left of a cycle last.
    pub fn in_order(&self) -> Vec<&Stage> {
        let mut left: Vec<&Stage> = self.stages.iter().collect();
        let mut ordered: Vec<&Stage> = Vec::new();
        loop {
            let done: Vec<_> = ordered.iter().map(|stage| &stage.ref_id).collect();
            let is_ready = |stage: &&Stage| {
                let mut requisites = stage.requisite_stage_ref_ids.iter();
                requisites.all(|id| done.contains(&id))
            };
            let (ready, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(is_ready);
            if ready.is_empty() {
                ordered.extend(rest);
                return ordered;
            }
            ordered.extend(ready);
            left = rest;
        }
    }

    /// Everything it had: what its stages put out, the last one's first, then what it
    /// was started with (`orca: ArtifactUtils.getAllArtifacts`).
    pub fn all_artifacts(&self) -> Vec<Value> {
        let mut made: Vec<&Value> = Vec::new();
        for stage in self.in_order() {
            made.extend(list(stage.outputs.get("artifacts")));
        }
        made.reverse();
        distinct(made.into_iter().chain(list(self.trigger.get("artifacts"))))
    }

    /// What a stage can use: its own context's, what its ancestors put out, the nearest
    /// first, then what the execution was started with.
    pub fn visible_artifacts(&self, stage: &Stage) -> Vec<Value> {
        let ancestors = self.ancestors(stage);
        let made = ancestors.iter().map(|a| a.outputs.get("artifacts"));
        let all = std::iter::once(stage.context.get("artifacts"))
            .chain(made)
            .chain(std::iter::once(self.trigger.get("artifacts")));
        distinct(all.flat_map(list))
    }

    /// What an expected artifact was bound to, as a stage sees it. Its account is the
    /// expectation's, if it has none.
    pub fn bound_artifact(&self, stage: &Stage, id: &str) -> Option<Value> {
        const KEY: &str = "resolvedExpectedArtifacts";
        let ancestors = self.ancestors(stage);
        let made = ancestors.iter().map(|a| a.outputs.get(KEY));
        let expected = std::iter::once(stage.context.get(KEY))
            .chain(made)
            .chain(std::iter::once(self.trigger.get(KEY)))
            .flat_map(list)
            .find(|expected| expected.get("id").and_then(Value::as_str) == Some(id))?;
        let mut bound = expected
            .get("boundArtifact")
            .filter(|b| b.is_object())?
            .clone();
        let has_account = |of: &Value| {
            let account = of.get("artifactAccount").and_then(Value::as_str);
            account.filter(|a| !a.is_empty()).map(ToOwned::to_owned)
        };
        if has_account(&bound).is_none()
            && let Some(account) = expected.get("matchArtifact").and_then(has_account)
            && let Some(fields) = bound.as_object_mut()
        {
            fields.insert("artifactAccount".to_owned(), account.into());
        }
        Some(bound)
    }
}

/// What an execution keeps of the one that started it: who and what it was, and how that
/// one was started in turn. Stages, and what is large, are read when somebody asks.
pub fn parent_reference(parent: &Value) -> Value {
    reference(parent, MOST_PARENTS)
}

fn reference(parent: &Value, above: usize) -> Value {
    let mut kept = Map::new();
    for key in [
        "type",
        "id",
        "rootId",
        "application",
        "name",
        "status",
        "pipelineConfigId",
        "buildTime",
        "startTime",
        "endTime",
        "authentication",
    ] {
        if let Some(value) = parent.get(key) {
            kept.insert(key.to_owned(), value.clone());
        }
    }
    let mut trigger = Map::new();
    let fields = parent.get("trigger").and_then(Value::as_object);
    for (key, value) in fields.into_iter().flatten() {
        let is_small = match value {
            Value::String(text) => text.len() <= MOST_TEXT,
            Value::Bool(_) | Value::Number(_) => true,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        if is_small {
            trigger.insert(key.clone(), value.clone());
        }
    }
    let grandparent = fields.and_then(|fields| fields.get("parentExecution"));
    if let Some(grandparent) = grandparent.filter(|_| above > 1) {
        let grandparent = reference(grandparent, above - 1);
        trigger.insert("parentExecution".to_owned(), grandparent);
    }
    kept.insert("trigger".to_owned(), trigger.into());
    kept.into()
}

/// The id of the execution that started this one, if all that is kept of it is a reference.
pub fn referred_parent(trigger: &Map<String, Value>) -> Option<&str> {
    let parent = trigger.get("parentExecution")?;
    let whole = parent.get("stages").is_some();
    parent.get("id")?.as_str().filter(|_| !whole)
}

/// A reference as clients see it when its execution is there no more.
pub fn without_stages(trigger: &mut Map<String, Value>) {
    let parent = trigger.get_mut("parentExecution");
    if let Some(Value::Object(parent)) = parent {
        parent.insert("stages".to_owned(), json!([]));
        if let Some(Value::Object(above)) = parent.get_mut("trigger") {
            without_stages(above);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(value: Value) -> Execution {
        serde_json::from_value(value).unwrap()
    }

    fn sample() -> Execution {
        let stage = |id: &str, requires: Value, outputs: Value| json!({"id": id, "refId": id, "requisiteStageRefIds": requires, "outputs": outputs});
        execution(json!({
            "trigger": {"artifacts": [{"name": "t"}, {"name": "c"}],
                "resolvedExpectedArtifacts": [{"id": "e", "boundArtifact": {"name": "t"}}]},
            "stages": [
                stage("10", json!(["2"]), json!({"artifacts": [{"name": "c"}]})),
                stage("2", json!([]), json!({"artifacts": [{"name": "a"}, {"name": "b"}],
                    "resolvedExpectedArtifacts": [{"id": "e", "boundArtifact": {"name": "a"},
                        "matchArtifact": {"artifactAccount": "hub"}}]})),
                stage("9", json!(["2"]), json!({"artifacts": [{"name": "d"}]})),
                {"id": "11", "refId": "11", "requisiteStageRefIds": ["10"], "context": {"artifacts": [{"name": "own"}]}},
            ],
        }))
    }

    fn names(artifacts: &[Value]) -> String {
        let names = artifacts.iter().map(|a| a["name"].as_str().unwrap());
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn all_artifacts_are_the_last_stages_first() {
        assert_eq!(names(&sample().all_artifacts()), "d c b a t");
    }

    #[test]
    fn a_stage_sees_its_own_then_the_nearest_ones() {
        let execution = sample();
        let stage = execution.stages.last().unwrap();
        assert_eq!(names(&execution.visible_artifacts(stage)), "own c a b t");
        let bound = execution.bound_artifact(stage, "e").unwrap();
        assert_eq!(bound, json!({"name": "a", "artifactAccount": "hub"}));
        let first = execution.stages.get(2).unwrap();
        let first = &Stage {
            requisite_stage_ref_ids: Vec::new(),
            ..first.clone()
        };
        assert_eq!(execution.bound_artifact(first, "e").unwrap()["name"], "t");
        assert_eq!(execution.bound_artifact(first, "f"), None);
    }

    #[test]
    fn a_reference_is_small_and_tells_who_started_whom() {
        let mut parent =
            json!({"id": "0", "stages": [], "trigger": {"type": "git", "hash": "abc"}});
        for number in 1..40 {
            parent = json!({"id": number.to_string(), "name": "p", "stages": [{"context": {"x": "y".repeat(9_999)}}],
                "authentication": {"user": "ann"},
                "trigger": {"type": "pipeline", "payload": {"x": 1}, "text": "z".repeat(2_000), "parentExecution": parent}});
        }
        let kept = parent_reference(&parent);
        assert!(kept.to_string().len() < 5_000, "{}", kept.to_string().len());
        assert_eq!(kept["trigger"]["parentExecution"]["id"], "38");
        assert_eq!(parent_reference(&kept), kept);
        let mut depth = 0;
        let mut at = Some(&kept);
        while let Some(parent) = at {
            depth += 1;
            at = parent.pointer("/trigger/parentExecution");
        }
        assert_eq!(depth, MOST_PARENTS);
        let mut trigger = json!({"parentExecution": kept})
            .as_object()
            .unwrap()
            .clone();
        assert_eq!(referred_parent(&trigger), Some("39"));
        without_stages(&mut trigger);
        assert_eq!(referred_parent(&trigger), None);
    }
}
