//! `preconfiguredWebhook`: a `webhook` with fields that the operator set. Pipelines
//! name it as `alias`; their `type` is the entry of the settings.
//! Source: `orca: PreconfiguredWebhookStage`.

use orchestrator_core::{
    Description, PlanError, Settings, Stage, StageDefinition, StageView, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, configured, schema, webhook};

/// The type.
pub(super) static STAGE: PreconfiguredWebhook = PreconfiguredWebhook;

/// See the module.
#[derive(Debug)]
pub(super) struct PreconfiguredWebhook;

impl StageDefinition for PreconfiguredWebhook {
    fn kind(&self) -> &'static str {
        configured::WEBHOOK.section
    }

    fn describe(&self) -> Description {
        Description {
            label: "Preconfigured webhook",
            text: "Sends a request that the operator configured.",
            category: "integration",
        }
    }

    fn prepare(
        &self,
        stage: StageView<'_>,
        settings: &Settings,
    ) -> Result<Map<String, Value>, PlanError> {
        let entry = configured::WEBHOOK.entry(stage.stage, settings)?;
        let mut changes = configured::fields(entry);
        if let Some(Value::String(text)) = changes.get("payload")
            && let Ok(json) = serde_json::from_str::<Value>(text)
        {
            changes.insert("payload".to_owned(), json);
        }
        let own = stage.stage.context.get("parameterValues");
        let mut values = own.and_then(Value::as_object).cloned().unwrap_or_default();
        for (parameter, value) in configured::parameters(entry, own) {
            if let Some(Value::String(name)) = parameter.get("name") {
                values.insert(name.clone(), value);
            }
        }
        if let Some(Value::Object(fixed)) = changes.get("parameterValues") {
            values.extend(fixed.clone());
        }
        changes.insert("parameterValues".to_owned(), values.into());
        Ok(changes)
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        webhook::STAGE.tasks(stage)
    }

    fn cancel_task(&self, stage: StageView<'_>) -> Option<&'static str> {
        webhook::STAGE.cancel_task(stage)
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        webhook::STAGE.prepare_restart(stage);
    }

    fn schema(&self) -> Value {
        let values = json!({"parameterValues": {"type": "object", "title": "Parameters"}});
        schema(&values, &[])
    }
}

impl StageType for PreconfiguredWebhook {}
