//! What the stages that the operator configured share: the entry that a stage names
//! by its type, the fields it puts over the stage's own, and who may run it.
//! Source: `orca: PreconfiguredWebhookStage`, `PreconfiguredJobStage`.

use authorization::Permission;
use orchestrator_core::{PlanError, Settings, Stage, TaskError};
use serde_json::{Map, Value, json};

use crate::services::Services;
use crate::task::{TaskContext, failed};

/// Fields of an entry that are about it, not about the stage.
const ABOUT: [&str; 6] = [
    "enabled",
    "type",
    "label",
    "description",
    "parameters",
    "permissions",
];

/// A kind of entries: the type of stage, which is its section, and what one is called.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(super) section: &'static str,
    pub(super) called: &'static str,
}

/// Stages that send a request.
pub(crate) const WEBHOOK: Kind = Kind {
    section: "preconfiguredWebhook",
    called: "webhook stage",
};

/// Stages that run a job.
pub(crate) const JOB: Kind = Kind {
    section: "preconfiguredJob",
    called: "job stage",
};

fn entries<'a>(
    settings: &'a Settings,
    section: &str,
) -> impl Iterator<Item = &'a Map<String, Value>> {
    let listed = settings.stages.get(section).and_then(Value::as_array);
    let entries = listed.into_iter().flatten().filter_map(Value::as_object);
    entries.filter(|entry| entry.get("enabled") != Some(&Value::Bool(false)))
}

fn text<'a>(entry: &'a Map<String, Value>, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl Kind {
    /// The entry that a stage names.
    pub(super) fn entry<'a>(
        &self,
        stage: &Stage,
        settings: &'a Settings,
    ) -> Result<&'a Map<String, Value>, PlanError> {
        let found = entries(settings, self.section).find(|e| text(e, "type") == stage.kind);
        found.ok_or_else(|| {
            let known: Vec<_> = entries(settings, self.section)
                .map(|e| text(e, "type"))
                .collect();
            let known = if known.is_empty() {
                "none is".to_owned()
            } else {
                known.join(", ")
            };
            format!(
                "{} \"{}\" is not configured by the operator; correct its type (configured: \
                 {known})",
                self.called, stage.kind
            )
        })
    }

    /// Fails unless the acting user may run the stage, where it is one of this kind.
    pub(crate) async fn permit(&self, ctx: &TaskContext<'_>) -> Result<(), TaskError> {
        if ctx.stage.definition() != self.section {
            return Ok(());
        }
        let entry = self.entry(ctx.stage, ctx.services.settings());
        let entry = entry.map_err(TaskError::user)?;
        let access = ctx.services.access();
        let asked = permitted(access, ctx.user(), self, entry, Permission::Write);
        asked.await.map_err(failed)
    }
}

async fn permitted(
    access: &dyn crate::services::Access,
    user: &str,
    kind: &Kind,
    entry: &Map<String, Value>,
    permission: Permission,
) -> Result<(), proto::status::Failure> {
    let asked = entry.get("permissions").filter(|p| **p != json!({}));
    let Some(permissions) = asked.filter(|p| !p.is_null()) else {
        return Ok(());
    };
    let what = format!("{} {}", kind.called, text(entry, "type"));
    access.permitted(user, &what, permissions, permission).await
}

/// What an entry puts over a stage: its fields that are not null.
pub(super) fn fields(entry: &Map<String, Value>) -> Map<String, Value> {
    let own = |(key, value): &(&String, &Value)| !ABOUT.contains(&key.as_str()) && !value.is_null();
    let fields = entry.iter().filter(own);
    fields.map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// What the user gave for the parameters of an entry, with what stands in for the rest.
pub(super) fn parameters<'a>(
    entry: &'a Map<String, Value>,
    given: Option<&'a Value>,
) -> impl Iterator<Item = (&'a Map<String, Value>, Value)> {
    let listed = entry.get("parameters").and_then(Value::as_array);
    let listed = listed.into_iter().flatten().filter_map(Value::as_object);
    listed.filter_map(move |parameter| {
        let own = given.and_then(|g| g.get(text(parameter, "name")));
        let own = own.filter(|value| !value.is_null() && **value != json!(""));
        let value = own.or_else(|| parameter.get("defaultValue"))?;
        (!value.is_null()).then(|| (parameter, value.clone()))
    })
}

/// The entries of a kind as forms see them, those that the user may see.
pub(crate) async fn visible(services: &dyn Services, user: &str, section: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    for entry in entries(services.settings(), section) {
        let kind = if section == WEBHOOK.section {
            &WEBHOOK
        } else {
            &JOB
        };
        let asked = permitted(services.access(), user, kind, entry, Permission::Read);
        if asked.await.is_ok() {
            seen.push(shown(section, entry));
        }
    }
    seen
}

/// Fields that only a stage which waits for an end has a use for.
const OF_WAITING: [&str; 7] = [
    "statusUrlResolution",
    "statusUrlJsonPath",
    "statusJsonPath",
    "progressJsonPath",
    "successStatuses",
    "canceledStatuses",
    "terminalStatuses",
];

fn shown(section: &str, entry: &Map<String, Value>) -> Value {
    let key = |key: &str| entry.get(key).cloned().unwrap_or_default();
    let fields = fields(entry);
    if section == MONITOR {
        return json!({
            "id": key("id"), "name": key("name"), "supportContact": key("supportContact"),
            "stable": key("stable"),
        });
    }
    let mut shown = json!({
        "type": key("type"), "label": key("label"), "description": key("description"),
        "parameters": key("parameters"), "waitForCompletion": key("waitForCompletion"),
    });
    if section == JOB.section {
        shown["noUserConfigurableFields"] = true.into();
        shown["producesArtifacts"] = false.into();
        shown["uiType"] = "BASIC".into();
        return shown;
    }
    let waits = fields.get("waitForCompletion") == Some(&Value::Bool(true));
    let mut needed = vec![
        "url",
        "method",
        "customHeaders",
        "payload",
        "waitForCompletion",
    ];
    if waits {
        needed.extend(OF_WAITING);
    }
    let all = needed.iter().all(|key| fields.contains_key(*key));
    shown["noUserConfigurableFields"] = all.into();
    shown["preconfiguredProperties"] = fields.keys().cloned().collect();
    shown["parameterData"] = key("parameterData");
    shown
}

/// The section of services that judge deployments.
pub(super) const MONITOR: &str = "deploymentMonitor";
