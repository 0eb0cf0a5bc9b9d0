//! Stages of an execution.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::execution::without_nulls;
use crate::ids::{RefId, StageId, TaskId};
use crate::status::Status;
use crate::task::Task;

/// Which side of its parent a synthetic stage is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Owner {
    /// Runs before its parent's tasks.
    StageBefore,
    /// Runs after them, or after their failure.
    StageAfter,
}

fn no(flag: &bool) -> bool {
    !flag
}

fn zero(number: &u32) -> bool {
    *number == 0
}

/// A stage as stored and served (`orca: StageExecution`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stage {
    /// Unique in the execution.
    pub id: StageId,
    /// Its place in the graph.
    pub ref_id: RefId,
    /// Key of its definition.
    #[serde(rename = "type")]
    pub kind: String,
    /// What people see.
    pub name: String,
    /// Where it stands.
    pub status: Status,
    /// First start, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<i64>,
    /// End, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<i64>,
    /// It is skipped if it would start later, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time_expiry: Option<i64>,
    /// When an execution window opens, ms since the epoch; informational.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<i64>,
    /// Inputs and what its tasks learned.
    pub context: Map<String, Value>,
    /// What downstream stages see.
    pub outputs: Map<String, Value>,
    /// Made when the stage starts.
    pub tasks: Vec<Task>,
    /// Absent for a stage of the user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic_stage_owner: Option<Owner>,
    /// The stage that planned it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_stage_id: Option<StageId>,
    /// Stages that must be over before it starts.
    pub requisite_stage_ref_ids: Vec<RefId>,
    /// Who changed it last: `{user, allowedAccounts, lastModifiedTime}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<Value>,
    /// How often it was restarted. Engine's own, not served.
    #[serde(rename = "_attempt", skip_serializing_if = "zero")]
    pub attempt: u32,
    /// What this attempt does outside is being undone. Engine's own, not served.
    #[serde(rename = "_undone", skip_serializing_if = "no")]
    pub undone: bool,
    /// What only a newer version knows: it is kept when this one writes.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Stage {
    /// Planned by another stage.
    pub fn is_synthetic(&self) -> bool {
        self.parent_stage_id.is_some()
    }

    /// A task by id.
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.iter().find(|t| t.id == *id)
    }

    /// A task by id, to change it.
    pub fn task_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|t| t.id == *id)
    }

    /// The task after this one.
    pub fn task_after(&self, id: &TaskId) -> Option<&Task> {
        let at = self.tasks.iter().position(|t| t.id == *id)?;
        self.tasks.get(at + 1)
    }

    /// A flag of its own context, `true` or `"true"`.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.context.get(key)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Value::Null
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }

    /// A whole number of its own context; texts are not numbers here.
    pub fn number(&self, key: &str) -> Option<i64> {
        self.context.get(key)?.as_i64()
    }

    /// The definition it is looked up by: `alias` before `type`.
    pub fn definition(&self) -> &str {
        self.context
            .get("alias")
            .and_then(Value::as_str)
            .unwrap_or(&self.kind)
    }

    /// What a failure of this stage becomes (`orca: StageExecution.failureStatus`).
    pub fn failure_status(&self, default: Status) -> Status {
        if self.flag("continuePipeline") == Some(true) {
            Status::FailedContinue
        } else if self.flag("failPipeline").unwrap_or(true) {
            default
        } else {
            Status::Stopped
        }
    }

    /// Moves a value of the run before into `restartDetails`: what a restart keeps of it.
    pub fn keep_for_restart(&mut self, key: &str, name: &str) {
        let Some(kept) = self.context.shift_remove(key) else {
            return;
        };
        let details = self
            .context
            .entry("restartDetails")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(details) = details.as_object_mut() {
            details.insert(name.to_owned(), kept);
        }
    }

    /// The stage as clients see it: without nulls and the engine's own fields.
    pub fn to_json(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        strip(&mut value);
        without_nulls(&mut value);
        if let Some(tasks) = value.get_mut("tasks").and_then(Value::as_array_mut) {
            tasks.iter_mut().for_each(strip);
        }
        value
    }
}

fn strip(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|key, _| !key.starts_with('_'));
    }
}
