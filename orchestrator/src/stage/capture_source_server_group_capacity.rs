//! `captureSourceServerGroupCapacity`: keeps the size of the group that is rolled
//! back. Planned by rollbacks. Source: `orca: CaptureSourceServerGroupCapacityStage`.

use orchestrator_core::{Description, PlanError, StageDefinition, StageView, TaskSpec};
use serde_json::{Map, Value};

use super::{StageType, accounts_of};
use crate::task::{SNAPSHOT_SOURCE_SERVER_GROUP, Task};

/// The type.
pub(super) static STAGE: CaptureSourceServerGroupCapacity = CaptureSourceServerGroupCapacity;

/// See the module.
#[derive(Debug)]
pub(super) struct CaptureSourceServerGroupCapacity;

impl StageDefinition for CaptureSourceServerGroupCapacity {
    fn kind(&self) -> &'static str {
        "captureSourceServerGroupCapacity"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Capture source server group capacity",
            text: "Keeps the size of the server group that is rolled back.",
            category: "internal",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(
            "snapshotSourceServerGroup",
            SNAPSHOT_SOURCE_SERVER_GROUP.kind(),
        )])
    }
}

impl StageType for CaptureSourceServerGroupCapacity {
    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}
