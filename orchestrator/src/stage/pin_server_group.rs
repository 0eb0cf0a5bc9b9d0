//! `pinServerGroup`: keeps a server group from shrinking, or lets it shrink again.
//! Planned by strategies. Source: `orca: PinServerGroupStage`.

use orchestrator_core::{Description, PlanError, StageDefinition, StageView, TaskSpec};
use serde_json::{Map, Value};

use super::resize_server_group::RESIZE;
use super::{StageType, accounts_of};
use crate::task::{CANCEL_OPERATION, MONITOR_OPERATION, Task};

/// The type.
pub(super) static STAGE: PinServerGroup = PinServerGroup;

/// See the module.
#[derive(Debug)]
pub(super) struct PinServerGroup;

impl StageDefinition for PinServerGroup {
    fn kind(&self) -> &'static str {
        "pinServerGroup"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Pin server group",
            text: "Keeps a server group from shrinking while another takes over.",
            category: "internal",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![
            TaskSpec::new("resizeServerGroup", RESIZE.kind()),
            TaskSpec::new("monitorServerGroup", MONITOR_OPERATION.kind()),
        ])
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }
}

impl StageType for PinServerGroup {
    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}
