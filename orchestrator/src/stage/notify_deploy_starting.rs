//! `notifyDeployStarting`: tells a service of the operator's that a deployment begins.
//! Source: `orca: NotifyDeployStartingStage`.

use super::deployment_monitor::{Ask, Asking, Moment};

/// The type.
pub(super) static STAGE: Asking = Asking {
    kind: "notifyDeployStarting",
    label: "Notify deployment starting",
    text: "Tells a service of the operator's that a deployment begins.",
    task: &TASK,
    tasks: &[&TASK],
};

static TASK: Ask = Ask {
    kind: "notifyDeployStarting",
    path: "starting",
    moment: Moment::Starting,
};
