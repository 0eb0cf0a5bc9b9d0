//! `pipeline`: an execution of another pipeline ended. Source: `orca:
//! DependentPipelineExecutionListener`.

use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use super::{Origin, Source, needs};
use crate::event::Event;
use crate::refusal::Refusal;

/// The trigger type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pipeline;

/// How an execution can end, as triggers write it.
const WORDS: [&str; 4] = ["successful", "failed", "canceled", "suspended"];

/// The word of a final status in a trigger's `status`.
pub(crate) fn word(status: &str) -> &'static str {
    match status {
        "SUCCEEDED" => "successful",
        "CANCELED" => "canceled",
        "SUSPENDED" => "suspended",
        _ => "failed",
    }
}

impl Source for Pipeline {
    fn kind(&self) -> &'static str {
        "pipeline"
    }

    fn is_posted(&self) -> bool {
        false
    }

    fn brings_artifacts(&self) -> bool {
        false
    }

    fn concerns(&self, trigger: &Map<String, Value>, event: &Event) -> bool {
        trigger.get("pipeline").and_then(Value::as_str) == Some(event.text("pipelineConfigId"))
    }

    fn parse(&self, _origin: &Origin<'_>, _body: &[u8]) -> Result<Vec<Event>, Failure> {
        let text = "events of type pipeline come from executions that end; nobody posts them";
        Err(Failure::new(Kind::Invalid, text))
    }

    fn standing(&self, trigger: &Map<String, Value>) -> Result<(), Refusal> {
        needs(trigger, &["pipeline"])?;
        let listed = trigger.get("status").and_then(Value::as_array);
        let listed = listed.into_iter().flatten().filter_map(Value::as_str);
        let listed: Vec<&str> = listed.collect();
        if listed.iter().any(|word| WORDS.contains(word)) {
            return Ok(());
        }
        let (expected, actual) = (WORDS.join(", "), listed.join(", "));
        let message = format!("status lists \"{actual}\", none of {expected}");
        Err(Refusal::new(
            "status",
            &expected,
            &actual,
            &message,
            "list one of them",
        ))
    }

    fn matches(&self, trigger: &Map<String, Value>, event: &Event) -> Result<(), Refusal> {
        let wanted = trigger
            .get("pipeline")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if wanted.is_empty() {
            return Err(Refusal::absent("pipeline"));
        }
        if wanted != event.text("pipelineConfigId") {
            return Err(Refusal::differs(
                "pipeline",
                wanted,
                event.text("pipelineConfigId"),
            ));
        }
        let came = word(event.text("status"));
        let listed = trigger.get("status").and_then(Value::as_array);
        let listed: Vec<&str> = listed
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if listed.contains(&came) {
            Ok(())
        } else {
            Err(Refusal::differs("status", &listed.join(", "), came))
        }
    }

    fn fired(&self, trigger: &Map<String, Value>, event: &Event) -> Map<String, Value> {
        let mut fired = trigger.clone();
        let parent = event
            .content
            .get("parentExecution")
            .cloned()
            .unwrap_or_default();
        let user = parent.pointer("/trigger/user").and_then(Value::as_str);
        let user = user.unwrap_or("[anonymous]").to_owned();
        let configured = trigger.get("runAsUser").and_then(Value::as_str);
        if configured.is_none_or(str::is_empty) {
            fired.insert("user".to_owned(), user.into());
        }
        for (key, value) in [
            (
                "parentPipelineId",
                parent.get("id").cloned().unwrap_or_default(),
            ),
            (
                "parentPipelineName",
                parent.get("name").cloned().unwrap_or_default(),
            ),
            (
                "parentPipelineApplication",
                parent.get("application").cloned().unwrap_or_default(),
            ),
            ("parentPipelineStageId", Value::Null),
            (
                "parentStatus",
                parent.get("status").cloned().unwrap_or_default(),
            ),
            ("isPipeline", json!(true)),
            ("strategy", json!(false)),
        ] {
            fired.insert(key.to_owned(), value);
        }
        // A dry run must not start anything in earnest.
        if parent.pointer("/trigger/dryRun") == Some(&Value::Bool(true)) {
            fired.insert("dryRun".to_owned(), json!(true));
        }
        fired.insert("parentExecution".to_owned(), parent);
        fired
    }
}
