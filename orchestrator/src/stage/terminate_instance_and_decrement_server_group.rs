//! `terminateInstanceAndDecrementServerGroup`: takes one instance down, and its group
//! is smaller by it. Source: `orca: TerminateInstanceAndDecrementServerGroupStage`.

use super::terminate_instances::{Submit, Terminate};

/// The type.
pub(super) static STAGE: Terminate = Terminate {
    kind: "terminateInstanceAndDecrementServerGroup",
    label: "Terminate instance and shrink server group",
    text: "Takes an instance down; its server group is smaller by it.",
    key: "instance",
    task: &SUBMIT,
    tasks: &[&SUBMIT],
};

static SUBMIT: Submit = Submit {
    kind: "terminateInstanceAndDecrementServerGroup",
    decrement: true,
};
