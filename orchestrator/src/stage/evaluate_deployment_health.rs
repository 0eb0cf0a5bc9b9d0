//! `evaluateDeploymentHealth`: asks a service of the operator's whether a deployment may go on.
//! Source: `orca: EvaluateDeploymentHealthStage`.

use super::deployment_monitor::{Ask, Asking, Moment};

/// The type.
pub(super) static STAGE: Asking = Asking {
    kind: "evaluateDeploymentHealth",
    label: "Evaluate deployment health",
    text: "Asks a service of the operator's whether a deployment may go on.",
    task: &TASK,
    tasks: &[&TASK],
};

static TASK: Ask = Ask {
    kind: "evaluateDeploymentHealth",
    path: "evaluateHealth",
    moment: Moment::Health,
};
