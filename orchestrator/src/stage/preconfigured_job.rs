//! `preconfiguredJob`: a `runJob` with fields that the operator set. Pipelines name
//! it as `alias`; their `type` is the entry of the settings, and each parameter goes
//! where its `mapping` says. Source: `orca: PreconfiguredJobStage`.

use orchestrator_core::{
    Description, PlanError, Settings, Stage, StageDefinition, StageView, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, configured, run_job, schema};

/// The type.
pub(super) static STAGE: PreconfiguredJob = PreconfiguredJob;

/// See the module.
#[derive(Debug)]
pub(super) struct PreconfiguredJob;

/// Puts a value at a path such as `env.VERSION` or `args.0`.
fn put(fields: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), PlanError> {
    let wrong = || format!("mapping \"{path}\" leads nowhere; the operator must correct it");
    let mut keys = path.split('.');
    let first = keys.next().unwrap_or_default();
    let mut at = fields.entry(first).or_insert(Value::Null);
    for key in keys {
        if at.is_null() {
            *at = json!({});
        }
        at = match at {
            Value::Object(map) => map.entry(key).or_insert(Value::Null),
            Value::Array(list) => {
                let place = key.parse().ok().and_then(|n: usize| list.get_mut(n));
                place.ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        };
    }
    *at = value;
    Ok(())
}

impl StageDefinition for PreconfiguredJob {
    fn kind(&self) -> &'static str {
        configured::JOB.section
    }

    fn describe(&self) -> Description {
        Description {
            label: "Preconfigured job",
            text: "Runs a job that the operator configured.",
            category: "deploy",
        }
    }

    fn prepare(
        &self,
        stage: StageView<'_>,
        settings: &Settings,
    ) -> Result<Map<String, Value>, PlanError> {
        let entry = configured::JOB.entry(stage.stage, settings)?;
        let mut changes = configured::fields(entry);
        let given = stage.stage.context.get("parameters");
        for (parameter, value) in configured::parameters(entry, given) {
            if let Some(Value::String(path)) = parameter.get("mapping") {
                put(&mut changes, path, value)?;
            }
        }
        Ok(changes)
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        run_job::STAGE.tasks(stage)
    }

    fn cancel_task(&self, stage: StageView<'_>) -> Option<&'static str> {
        run_job::STAGE.cancel_task(stage)
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        run_job::STAGE.prepare_restart(stage);
    }

    fn schema(&self) -> Value {
        let values = json!({"parameters": {"type": "object", "title": "Parameters"}});
        schema(&values, &[])
    }
}

impl StageType for PreconfiguredJob {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_go_where_their_mapping_says() {
        let start = json!({"imageId": "r/a:1", "args": ["x", "y"]});
        let mut fields = start.as_object().cloned().unwrap();
        put(&mut fields, "env.VERSION", json!("2")).unwrap();
        put(&mut fields, "args.1", json!("z")).unwrap();
        put(&mut fields, "imageId", json!("r/a:2")).unwrap();
        assert_eq!(
            Value::Object(fields.clone()),
            json!({"imageId": "r/a:2", "args": ["x", "z"], "env": {"VERSION": "2"}})
        );
        assert!(put(&mut fields, "args.7", json!(1)).is_err());
        assert!(put(&mut fields, "imageId.tag", json!(1)).is_err());
    }
}
