//! `shrinkCluster`: destroys the oldest server groups of a cluster.
//! Source: `orca: ShrinkClusterStage`.

use orchestrator_core::{NewStage, StageView};
use serde_json::json;

use super::cluster_wide::ClusterWide;
use crate::task::cluster::{ClusterOperation, ClusterWait, number};
use crate::task::server_group::whole;

/// The type.
pub(super) static STAGE: ClusterWide = ClusterWide {
    kind: "shrinkCluster",
    label: "Shrink cluster",
    text: "Destroys all but the newest server groups of a cluster.",
    operation: &SHRINK,
    wait: &WAIT,
    monitor: "monitorShrinkCluster",
    tasks: &[&SHRINK, &WAIT],
    properties: || {
        json!({
            "shrinkToSize": {"type": "integer", "default": 1},
            "allowDeleteActive": {"type": "boolean"},
            "retainLargerOverNewer": {"type": "boolean"},
        })
    },
    before: disable_first,
};

static SHRINK: ClusterOperation = ClusterOperation {
    kind: "shrinkCluster",
    operation: "destroyServerGroup",
    guarded: "Destroying",
    choose: |ctx, members| {
        let keep = number(ctx, "shrinkToSize", 1);
        let (active_too, larger) = (
            ctx.flag("allowDeleteActive"),
            ctx.flag("retainLargerOverNewer"),
        );
        members.beyond(keep, active_too, larger)
    },
    absent_is_done: |ctx| {
        ctx.flag("continueIfClusterNotFound") || number(ctx, "shrinkToSize", 1) == 0
    },
};

static WAIT: ClusterWait = ClusterWait {
    kind: "waitForClusterShrink",
    is_done: |_, _| false,
};

/// Groups that serve are drained before they go.
fn disable_first(stage: StageView<'_>) -> Vec<NewStage> {
    let stage = stage.stage;
    let wanted = stage.flag("allowDeleteActive") == Some(true)
        && stage.flag("runDisableClusterStep") != Some(false);
    if !wanted {
        return Vec::new();
    }
    let keep = stage
        .context
        .get("shrinkToSize")
        .and_then(whole)
        .unwrap_or(1);
    let mut context = stage.context.clone();
    let larger = stage.flag("retainLargerOverNewer") == Some(true);
    context.insert("remainingEnabledServerGroups".to_owned(), keep.into());
    context.insert("preferLargerOverNewer".to_owned(), larger.into());
    let absent = keep == 0 || stage.flag("continueIfClusterNotFound") == Some(true);
    context.insert("continueIfClusterNotFound".to_owned(), absent.into());
    vec![NewStage::new("disableCluster", "disableCluster", context)]
}
