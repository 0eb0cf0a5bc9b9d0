//! `disableCluster`: takes the older server groups of a cluster out of traffic.
//! Source: `orca: DisableClusterStage`.
//!
//! Differs from Spinnaker: it does not run for at least 90 seconds; the operation
//! ends when the groups were seen to serve no more.

use serde_json::json;

use super::cluster_wide::ClusterWide;
use crate::task::cluster::{ClusterOperation, ClusterWait, number};
use crate::task::server_group;

/// The type.
pub(super) static STAGE: ClusterWide = ClusterWide {
    kind: "disableCluster",
    label: "Disable cluster",
    text: "Takes all but the newest server groups of a cluster out of traffic.",
    operation: &DISABLE,
    wait: &WAIT,
    monitor: "monitorDisableCluster",
    tasks: &[&DISABLE, &WAIT],
    properties: || {
        json!({
            "remainingEnabledServerGroups": {"type": "integer", "default": 1},
            "preferLargerOverNewer": {"type": "boolean"},
        })
    },
    before: |_| Vec::new(),
};

static DISABLE: ClusterOperation = ClusterOperation {
    kind: "disableCluster",
    operation: "disableServerGroup",
    guarded: "Disabling",
    choose: |ctx, members| {
        let keep = number(ctx, "remainingEnabledServerGroups", 1);
        members.serving_beyond(keep, ctx.flag("preferLargerOverNewer"))
    },
    absent_is_done: |ctx| ctx.flag("continueIfClusterNotFound"),
};

static WAIT: ClusterWait = ClusterWait {
    kind: "waitForClusterDisable",
    is_done: |ctx, group| {
        let interesting = server_group::interesting(ctx);
        interesting.as_ref().is_some_and(Vec::is_empty)
            || server_group::instances(group)
                .iter()
                .all(|i| server_group::is_down(i, interesting.as_deref()))
    },
};
