//! `cloneServerGroup`: a new server group like another one but for what the stage
//! says. Source: `orca: CloneServerGroupStage`.

use super::create_server_group::{CreateTask, NewServerGroup};

/// The type.
pub(super) static STAGE: NewServerGroup = NewServerGroup {
    kind: "cloneServerGroup",
    label: "Clone server group",
    task: &CLONE,
    tasks: &[&CLONE],
};

static CLONE: CreateTask = CreateTask("cloneServerGroup");
