//! What workers share of routes with limits or mirrors. It outlives configurations, so that what is in
//! flight under one counts under the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use balancer::{Route, RouteState};

use crate::proxy::gate::{Allowance, Gate};
use crate::proxy::mirror::Rate;

/// The gates of all routes with limits or mirrors.
#[derive(Debug, Default)]
pub(crate) struct Gates(BTreeMap<String, Kept>);

#[derive(Debug)]
struct Kept {
    name: String,
    allowance: Option<Allowance>,
    gate: Arc<Gate>,
}

/// What makes a route the same one in the next configuration.
fn key(route: &Route) -> String {
    match &route.name {
        Some(name) => name.clone(),
        None => {
            let label = route.label();
            format!("{label} {:?} {:?}", route.methods, route.headers)
        }
    }
}

impl Gates {
    /// Keeps the gates of these routes.
    pub(crate) fn follow(&mut self, routes: &[Route]) {
        let mut before = std::mem::take(&mut self.0);
        for route in routes {
            let allowance = Allowance::of(&route.limits);
            if allowance.is_none() && route.mirror.is_none() {
                continue;
            }
            let key = key(route);
            let gate = match before.remove(&key) {
                Some(kept) => {
                    if kept.allowance != allowance {
                        kept.gate.forget_rate();
                    }
                    kept.gate
                }
                None => Arc::default(),
            };
            self.0.entry(key).or_insert_with(|| Kept {
                name: route.label(),
                allowance,
                gate,
            });
        }
    }

    /// A route's gate and what it allows; none without limits.
    pub(crate) fn of(&self, route: &Route) -> Option<(Arc<Gate>, Allowance)> {
        let allowance = Allowance::of(&route.limits)?;
        let kept = self.0.get(&key(route))?;
        Some((kept.gate.clone(), allowance))
    }

    /// How many copies of a route's requests are made; none without a mirror.
    pub(crate) fn mirror(&self, route: &Route) -> Option<Rate> {
        let mirror = route.mirror.as_ref()?;
        Some(Rate {
            percent: mirror.percent,
            most: mirror.max_in_flight.into(),
            lane: self.0.get(&key(route))?.gate.lane.clone(),
        })
    }

    /// What was observed of routes with limits or mirrors.
    pub(crate) fn states(&self) -> Vec<RouteState> {
        let states = self.0.values().map(|kept| {
            let refused = &kept.gate.refused;
            let lane = &kept.gate.lane;
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            RouteState {
                name: kept.name.clone(),
                in_flight: kept.gate.in_flight(),
                refused_in_flight: of(&refused.in_flight),
                refused_rate: of(&refused.rate),
                body_too_large: of(&refused.body),
                request_timeouts: of(&refused.time),
                idle_timeouts: of(&refused.idle),
                mirrored: of(&lane.answered),
                mirror_failed: of(&lane.failed),
                mirror_full: of(&lane.full),
                mirror_too_long: of(&lane.too_long),
            }
        });
        states.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str, most: u32) -> Route {
        serde_json::from_value(serde_json::json!({
            "path": path, "loadBalancer": "a", "limits": {"maxInFlight": most},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_in_flight_counts_under_the_next_configuration_too() {
        let mut gates = Gates::default();
        gates.follow(&[route("/", 1), route("/x", 1)]);
        let (gate, allowance) = gates.of(&route("/", 1)).unwrap();
        let pass = gate.enter(&allowance, 0).unwrap();
        gates.follow(&[route("/", 2), route("/y", 1)]);
        let (again, allowance) = gates.of(&route("/", 2)).unwrap();
        assert!(Arc::ptr_eq(&gate, &again));
        let second = again.enter(&allowance, 0).unwrap();
        assert!(again.enter(&allowance, 0).is_err());
        assert_eq!(gates.states()[0].in_flight, 2);
        drop((pass, second));
        assert!(gates.of(&route("/x", 1)).is_none());
        assert!(
            gates
                .of(&Route {
                    path: "/".into(),
                    ..Route::default()
                })
                .is_none()
        );
    }
}
