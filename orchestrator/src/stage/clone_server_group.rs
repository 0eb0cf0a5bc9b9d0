//! `cloneServerGroup`: a new server group like another one but for what the stage
//! says. Source: `orca: CloneServerGroupStage`.

use super::create_server_group::{NewServerGroup, deploy_input};
use crate::task::Submission;

/// The type.
pub(super) static STAGE: NewServerGroup = NewServerGroup {
    kind: "cloneServerGroup",
    label: "Clone server group",
    submission: &SUBMIT,
    tasks: &[&SUBMIT],
};

static SUBMIT: Submission = Submission {
    kind: "cloneServerGroup",
    operation: "cloneServerGroup",
    prepare: deploy_input,
};
