//! Figures of routes with limits or mirrors, and of load balancers that hold requests.

use balancer::RouteState;

use super::figures::{Figures, Kind};
use crate::control::plane::Plane;

/// Why a request was refused or ended, and how often.
fn refusals(route: &RouteState) -> [(&'static str, u64); 5] {
    [
        ("in_flight", route.refused_in_flight),
        ("rate", route.refused_rate),
        ("body", route.body_too_large),
        ("request_timeout", route.request_timeouts),
        ("idle_timeout", route.idle_timeouts),
    ]
}

/// What became of copies of requests, and how often.
fn copies(route: &RouteState) -> [(&'static str, u64); 4] {
    [
        ("answered", route.mirrored),
        ("failed", route.mirror_failed),
        ("full", route.mirror_full),
        ("too_long", route.mirror_too_long),
    ]
}

impl Plane {
    /// Adds those of routes.
    pub(super) fn limits(&self, figures: &mut Figures) {
        let routes = self.inner.borrow().gates.states();
        let name = "balancer_route_refused_total";
        let help = "Requests refused or ended by a limit of their route.";
        figures.family(name, Kind::Counter, help);
        for route in &routes {
            for (reason, count) in refusals(route) {
                let labels = [("route", route.name.as_str()), ("reason", reason)];
                figures.sample(&labels, count);
            }
        }
        let name = "balancer_mirrored_total";
        let help = "Copies of requests, and requests not copied.";
        figures.family(name, Kind::Counter, help);
        for route in &routes {
            for (outcome, count) in copies(route) {
                let labels = [("route", route.name.as_str()), ("outcome", outcome)];
                figures.sample(&labels, count);
            }
        }
    }

    /// Adds those of load balancers that hold requests.
    pub(super) fn holds(&self, figures: &mut Figures) {
        let states = self.inner.borrow().holds.states();
        let name = "balancer_held";
        figures.family(name, Kind::Gauge, "Requests that wait for an instance.");
        for state in &states {
            figures.sample(&[("load_balancer", state.name.as_str())], state.held);
        }
        let name = "balancer_held_total";
        let help = "Requests that waited for an instance.";
        figures.family(name, Kind::Counter, help);
        for state in &states {
            figures.sample(&[("load_balancer", state.name.as_str())], state.held_total);
        }
        let name = "balancer_hold_refused_total";
        let help = "Requests answered with 503 because none came, or too many waited.";
        figures.family(name, Kind::Counter, help);
        for state in &states {
            for (reason, count) in [("timeout", state.hold_timeouts), ("full", state.hold_full)] {
                let labels = [("load_balancer", state.name.as_str()), ("reason", reason)];
                figures.sample(&labels, count);
            }
        }
    }
}
