//! `notifyDeployCompleted`: tells a service of the operator's how a deployment ended.
//! Source: `orca: NotifyDeployCompletedStage`.

use super::deployment_monitor::{Ask, Asking, Moment};

/// The type.
pub(super) static STAGE: Asking = Asking {
    kind: "notifyDeployCompleted",
    label: "Notify deployment completed",
    text: "Tells a service of the operator's how a deployment ended.",
    task: &TASK,
    tasks: &[&TASK],
};

static TASK: Ask = Ask {
    kind: "notifyDeployCompleted",
    path: "completed",
    moment: Moment::Completed,
};
