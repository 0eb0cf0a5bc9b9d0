//! `scaleDownCluster`: resizes the older server groups of a cluster to nothing.
//! Source: `orca: ScaleDownClusterStage`.

use serde_json::json;

use super::cluster_wide::ClusterWide;
use crate::task::cluster::{ClusterOperation, ClusterWait, number};
use crate::task::server_group;

/// The type.
pub(super) static STAGE: ClusterWide = ClusterWide {
    kind: "scaleDownCluster",
    label: "Scale down cluster",
    text: "Resizes all but the newest server groups of a cluster to nothing.",
    operation: &SCALE_DOWN,
    wait: &WAIT,
    monitor: "monitorScaleDownCluster",
    tasks: &[&SCALE_DOWN, &WAIT],
    properties: || {
        json!({
            "remainingFullSizeServerGroups": {"type": "integer", "default": 1},
            "allowScaleDownActive": {"type": "boolean"},
            "preferLargerOverNewer": {"type": "boolean"},
        })
    },
    before: |_| Vec::new(),
};

static SCALE_DOWN: ClusterOperation = ClusterOperation {
    kind: "scaleDownCluster",
    operation: "resizeServerGroup",
    guarded: "Scaling down",
    choose: |ctx, members| {
        let keep = number(ctx, "remainingFullSizeServerGroups", 1);
        let active_too = ctx.flag("allowScaleDownActive");
        members.beyond(keep, active_too, ctx.flag("preferLargerOverNewer"))
    },
    absent_is_done: |ctx| ctx.flag("continueIfClusterNotFound"),
};

static WAIT: ClusterWait = ClusterWait {
    kind: "waitForScaleDownCluster",
    is_done: |_, group| server_group::instances(group).is_empty(),
};
