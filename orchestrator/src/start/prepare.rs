//! What a pipeline is completed with before it becomes an execution: its parameters, the
//! execution that started it, and the artifacts it expects. Every start passes here, by
//! whoever it is made.

use authorization::Permission;
use orchestrator_core::flow::{parent_reference, referred_parent};
use orchestrator_core::{Execution, context};
use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use crate::engine::Engine;
use crate::template;

/// A pipeline that is about to start.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// The pipeline with its trigger.
    pub(super) body: Value,
    /// Why it cannot begin: it is kept as one that failed, and whoever starts it is told.
    pub(super) failure: Option<String>,
    /// What stands in for artifacts that nearly came.
    pub(super) notices: Vec<String>,
    /// What is kept of the execution that started it, if the whole of it is in the trigger.
    pub(super) parent: Option<Value>,
}

impl Prepared {
    /// Brings what was found to the execution that was made of it.
    pub(super) fn complete(&self, execution: &mut Execution, now: i64) {
        if let Some(parent) = &self.parent {
            let trigger = execution.trigger.fields_mut();
            trigger.insert("parentExecution".to_owned(), parent.clone());
        }
        for message in &self.notices {
            execution.system_notifications.push(json!({
                "createdAt": now, "group": "artifacts", "message": message, "closed": false,
            }));
        }
        if let Some(failure) = &self.failure {
            execution.failure = Some(failure.clone());
        }
    }
}

/// For whom a pipeline starts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker<'a> {
    /// A stage, or the end of another execution.
    Engine,
    /// Somebody from outside, who may name as its parent only what they may read.
    User(&'a str),
}

/// The parameters of a trigger: what was given, else the pipeline's defaults.
fn with_parameters(mut body: Value) -> Value {
    let defaults: Vec<(String, Value)> = body
        .get("parameterConfig")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|p| {
            let default = p.get("default").cloned().unwrap_or_default();
            Some((p.get("name")?.as_str()?.to_owned(), default))
        })
        .collect();
    let Some(fields) = body.as_object_mut() else {
        return body;
    };
    if !fields.get("trigger").is_some_and(Value::is_object) {
        fields.insert("trigger".to_owned(), json!({}));
    }
    let trigger = fields.get_mut("trigger").and_then(Value::as_object_mut);
    if let Some(trigger) = trigger {
        trigger.entry("type").or_insert_with(|| "manual".into());
        let mut parameters = match trigger.get("parameters") {
            Some(Value::Object(given)) => given.clone(),
            _ => Map::new(),
        };
        for (name, default) in defaults {
            parameters.entry(name).or_insert(default);
        }
        trigger.insert("parameters".to_owned(), parameters.into());
    }
    body
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// Why a configuration of a template that is none of version 2 cannot run.
fn of_version_1(pipeline: &Map<String, Value>) -> Option<String> {
    let stages = pipeline.get("stages").and_then(Value::as_array);
    let is_one = text(pipeline, "type") == Some("templatedPipeline")
        && text(pipeline, "schema") != Some("v2")
        && stages.is_none_or(Vec::is_empty);
    is_one.then(|| {
        "templates of version 1 are not supported; write the template and its configuration for \
         schema v2"
            .to_owned()
    })
}

/// The trigger of a pipeline that `parent` started: what it does not say yet
/// (`orca: OperationsController`).
fn started_by(trigger: &mut Map<String, Value>, parent: &Execution) {
    for (key, value) in [
        ("isPipeline", json!(true)),
        ("parentPipelineId", json!(parent.id)),
        ("parentPipelineName", json!(parent.name)),
        ("parentPipelineApplication", json!(parent.application)),
        ("parentStatus", json!(parent.status)),
        ("receivedArtifacts", parent.all_artifacts().into()),
    ] {
        if trigger.get(key).is_none_or(Value::is_null) {
            trigger.insert(key.to_owned(), value);
        }
    }
    trigger.insert("parentExecution".to_owned(), parent.to_json());
}

/// One end of an execution starts each pipeline that waits for it once.
fn correlate(pipeline: &Map<String, Value>, trigger: &mut Map<String, Value>, parent: &Execution) {
    if text(trigger, "type") != Some("pipeline") || trigger.contains_key("correlationId") {
        return;
    }
    let stage = text(trigger, "parentPipelineStageId").unwrap_or("null");
    let (id, config) = (&parent.id, text(pipeline, "id").unwrap_or_default());
    let started = parent.start_time.unwrap_or_default();
    let correlation = format!("{id}_{stage}_{config}_{started}");
    trigger.insert("correlationId".to_owned(), correlation.into());
}

/// A child expects what its trigger names and whatever else came for it
/// (`orca: DependentPipelineStarter`).
fn with_expected_ids(pipeline: &Map<String, Value>, trigger: &mut Map<String, Value>) {
    let is_child = text(trigger, "type") == Some("pipeline")
        && trigger.get("parentExecution").is_some_and(Value::is_object);
    if !is_child {
        return;
    }
    let listed = trigger.get("expectedArtifactIds").and_then(Value::as_array);
    let mut listed = listed.cloned().unwrap_or_default();
    let config = trigger
        .get("parentExecution")
        .and_then(|p| p.get("pipelineConfigId"));
    if let Some(config) = config.and_then(Value::as_str) {
        listed.extend(artifact::wanted_ids(pipeline, config));
    }
    let ids = artifact::expected_ids(pipeline, listed, &artifact::received(trigger));
    trigger.insert("expectedArtifactIds".to_owned(), ids.into());
}

impl Engine {
    /// A pipeline with everything that is known at its start.
    ///
    /// # Errors
    /// When something cannot be read, or the asker may not read the parent it names.
    pub(super) async fn prepared(
        &self,
        body: Value,
        asker: Asker<'_>,
    ) -> Result<Prepared, Failure> {
        let definitions = self.inner.services.definitions();
        let body = with_parameters(template::expanded(definitions, body).await?);
        let Value::Object(mut pipeline) = body else {
            return Ok(Prepared {
                body,
                ..Prepared::default()
            });
        };
        let Some(Value::Object(mut trigger)) = pipeline.shift_remove("trigger") else {
            return Err(Failure::internal("a pipeline has no trigger"));
        };
        let mut prepared = Prepared {
            failure: of_version_1(&pipeline),
            ..Prepared::default()
        };
        if let Some(parent) = self.parent(&pipeline, &trigger, asker).await? {
            started_by(&mut trigger, &parent);
            correlate(&pipeline, &mut trigger, &parent);
            prepared.parent = Some(parent_reference(&parent.to_json()));
        }
        with_expected_ids(&pipeline, &mut trigger);
        let prior = match text(&pipeline, "id") {
            Some(id) if artifact::needs_prior(&pipeline, &trigger) => {
                let application = text(&pipeline, "application").unwrap_or_default();
                let last = self
                    .executions()
                    .last_started(application.trim(), id)
                    .await?;
                last.map(|last| last.all_artifacts()).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        match artifact::at_start(&pipeline, &mut trigger, &prior) {
            Ok(report) => {
                prepared.notices = report
                    .iter()
                    .filter_map(artifact::Finding::notice)
                    .collect();
            }
            Err(unresolved) => {
                prepared.failure.get_or_insert(unresolved.message);
            }
        }
        pipeline.insert("trigger".to_owned(), trigger.into());
        if let Some(version) = self.inner.config.spel_version_override {
            pipeline.insert("spelEvaluator".to_owned(), version.as_str().into());
        }
        prepared.body = pipeline.into();
        Ok(prepared)
    }

    /// The execution that started a pipeline, if it has to be read: to find out what the
    /// trigger does not say, because an expression speaks of it, or to know whether the
    /// asker may name it.
    async fn parent(
        &self,
        pipeline: &Map<String, Value>,
        trigger: &Map<String, Value>,
        asker: Asker<'_>,
    ) -> Result<Option<Execution>, Failure> {
        let given = trigger.get("parentExecution").filter(|p| p.is_object());
        let id = match given {
            // Somebody's own account of it: nothing is read.
            Some(_) => referred_parent(trigger),
            None => text(trigger, "parentPipelineId"),
        };
        let Some(id) = id else {
            return Ok(None);
        };
        let is_known = given.is_some() && trigger.contains_key("receivedArtifacts");
        if matches!(asker, Asker::Engine) && is_known && !context::speaks_of_parent(pipeline) {
            return Ok(None);
        }
        let parent = match self.executions().get(id, None).await {
            Ok(parent) => parent,
            Err(failure) if failure.kind == Kind::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        if let Asker::User(user) = asker {
            let access = self.inner.services.access();
            access
                .application(user, &parent.application, Permission::Read)
                .await?;
        }
        Ok(Some(parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_version_1_is_told_apart() {
        let of = |pipeline: Value| of_version_1(pipeline.as_object().unwrap());
        let old = json!({"type": "templatedPipeline", "config": {"schema": "1"}});
        assert!(of(old).is_some());
        let new = json!({"type": "templatedPipeline", "schema": "v2"});
        assert_eq!(of(new), None);
        assert_eq!(of(json!({"stages": []})), None);
    }

    #[test]
    fn parameters_are_given_or_defaults() {
        let body = with_parameters(json!({
            "parameterConfig": [{"name": "a", "default": "x"}, {"name": "b", "default": "y"}, {"name": "c"}],
            "trigger": {"parameters": {"b": null, "more": 1}},
        }));
        let expected = json!({"a": "x", "b": null, "c": null, "more": 1});
        assert_eq!(body["trigger"]["parameters"], expected);
        assert_eq!(body["trigger"]["type"], "manual");
        assert_eq!(
            with_parameters(json!({}))["trigger"]["parameters"],
            json!({})
        );
    }
}
