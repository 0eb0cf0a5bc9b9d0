//! What workers share of load balancers that hold requests; it outlives configurations.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use balancer::{LoadBalancer, LoadBalancerState};

use crate::proxy::hold::{Held, Holding};

/// The counts of all load balancers that hold requests.
#[derive(Debug, Default)]
pub(crate) struct Holds(BTreeMap<String, Arc<Held>>);

impl Holds {
    /// Keeps the counts of these load balancers.
    pub(crate) fn follow(&mut self, balancers: &[LoadBalancer]) {
        let mut before = std::mem::take(&mut self.0);
        for balancer in balancers.iter().filter(|b| b.hold_requests.is_some()) {
            let held = before.remove(&balancer.name).unwrap_or_default();
            self.0.insert(balancer.name.clone(), held);
        }
    }

    /// How a load balancer holds requests, if it does.
    pub(crate) fn of(&self, balancer: &LoadBalancer) -> Option<Holding> {
        let hold = balancer.hold_requests?;
        Some(Holding {
            time: Duration::from_millis(hold.max_ms),
            most: hold.max_requests.into(),
            held: self.0.get(&balancer.name)?.clone(),
        })
    }

    /// Whether a request waits.
    pub(crate) fn hold_any(&self) -> bool {
        self.0.values().any(|held| held.waiting() > 0)
    }

    /// What was observed of load balancers that hold requests.
    pub(crate) fn states(&self) -> Vec<LoadBalancerState> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let states = self.0.iter().map(|(name, held)| LoadBalancerState {
            name: name.clone(),
            held: held.waiting(),
            held_total: of(&held.total),
            hold_timeouts: of(&held.timeouts),
            hold_full: of(&held.full),
        });
        states.collect()
    }
}
