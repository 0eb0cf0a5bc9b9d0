//! Keeps the size of the group before, and has the new one made as large while
//! both run. Source: `orca: CaptureSourceServerGroupCapacityTask`.
//!
//! With `useSourceCapacity` the new group's minimum is raised to what is desired,
//! so that nothing shrinks it before it has taken over; `restoreMinCapacity`
//! lowers it again.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};
use serde_json::{Value, json};

use super::server_group::{self, Capacity};
use super::{Task, TaskContext};

/// The task.
pub static SNAPSHOT_SOURCE_SERVER_GROUP: SnapshotSourceServerGroup = SnapshotSourceServerGroup;

/// The size that was kept.
pub(crate) const SNAPSHOT: &str = "sourceServerGroupCapacitySnapshot";

/// See the module.
#[derive(Debug)]
pub struct SnapshotSourceServerGroup;

#[async_trait]
impl Task for SnapshotSourceServerGroup {
    fn kind(&self) -> &'static str {
        "snapshotSourceServerGroup"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy {
            backoff_ms: 2_000,
            timeout_ms: Some(300_000),
            overridable: false,
        }
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let source = ctx.own("source");
        let name = source.and_then(|s| s.get("serverGroupName")?.as_str());
        let Some(name) = name.filter(|_| ctx.own(SNAPSHOT).is_none()) else {
            return Ok(TaskResult::succeeded());
        };
        let Some(group) = server_group::live(ctx, name).await? else {
            return Ok(TaskResult::succeeded());
        };
        let size = server_group::capacity(&group);
        let mut result = TaskResult::succeeded().with_context(SNAPSHOT, size.to_json());
        if ctx.flag("useSourceCapacity") {
            let pinned = Capacity {
                min: size.desired,
                ..size
            };
            let mut source = source.cloned().unwrap_or_else(|| json!({}));
            if let Some(source) = source.as_object_mut() {
                source.insert("useSourceCapacity".to_owned(), Value::Bool(false));
            }
            result = result
                .with_context("capacity", pinned.to_json())
                .with_context("useSourceCapacity", false)
                .with_context("source", source);
        }
        Ok(result)
    }
}
