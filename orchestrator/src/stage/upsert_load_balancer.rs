//! `upsertLoadBalancer`: one load balancer, made or changed.
//! Source: `orca: UpsertLoadBalancerStage`.

use super::upsert_load_balancers::{Submit, Upsert};

/// The type.
pub(super) static STAGE: Upsert = Upsert {
    kind: "upsertLoadBalancer",
    label: "Upsert load balancer",
    task: &SUBMIT,
    tasks: &[&SUBMIT],
};

static SUBMIT: Submit = Submit("upsertLoadBalancer");
