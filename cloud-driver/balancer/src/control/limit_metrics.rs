//! Figures of routes with limits or mirrors.

use balancer::RouteState;

use super::metrics::Text;
use super::plane::Plane;

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

impl Plane {
    /// Writes them.
    pub(super) fn limits(&self, text: &mut Text) {
        let routes = self.inner.borrow().gates.states();
        let name = "balancer_route_refused_total";
        let help = "Requests refused or ended by a limit of their route.";
        text.family(name, "counter", help);
        for route in &routes {
            for (reason, count) in refusals(route) {
                let labels = [("route", route.name.as_str()), ("reason", reason)];
                text.sample(name, &labels, count);
            }
        }
        let name = "balancer_mirrored_total";
        text.family(
            name,
            "counter",
            "Copies of requests, and requests not copied.",
        );
        for route in &routes {
            for (outcome, count) in [
                ("answered", route.mirrored),
                ("failed", route.mirror_failed),
                ("full", route.mirror_full),
                ("too_long", route.mirror_too_long),
            ] {
                let labels = [("route", route.name.as_str()), ("outcome", outcome)];
                text.sample(name, &labels, count);
            }
        }
        let name = "balancer_route_inflight";
        text.family(name, "gauge", "Requests and tunnels of routes with limits.");
        for route in &routes {
            text.sample(name, &[("route", route.name.as_str())], route.in_flight);
        }
    }
}
