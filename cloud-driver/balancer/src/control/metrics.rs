//! The figures as Prometheus' text. Errors of instances and errors of the balancer itself are told
//! apart by the label `by`.

use std::fmt::Write;

use balancer::Observed;

use super::plane::{NOBODY, Plane};
use crate::proxy::meter::{Meter, Times};
use crate::proxy::worker::Handle;

/// Upper ends of the histograms' buckets, microseconds.
const BUCKETS_US: [u64; 12] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 5_000_000,
    30_000_000,
];

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const METHODS: [&str; 2] = ["read", "write"];

/// Text under construction. Writing to a string cannot fail.
pub(super) struct Text(String);

impl Text {
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) {
        self.0.push_str(name);
        let mut open = '{';
        for (label, value) in labels {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.0, "{open}{label}=\"{value}\"");
            open = ',';
        }
        if open == ',' {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], times: &Times) {
        for us in BUCKETS_US {
            let le = seconds(us);
            let labels: Vec<_> = labels
                .iter()
                .copied()
                .chain([("le", le.as_str())])
                .collect();
            self.sample(&format!("{name}_bucket"), &labels, times.within(us));
        }
        let labels_inf: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        self.sample(&format!("{name}_bucket"), &labels_inf, times.count());
        self.sample(&format!("{name}_count"), labels, times.count());
        self.sample(&format!("{name}_sum"), labels, seconds(times.sum_us));
    }
}

fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Plane {
    /// All figures.
    pub(crate) fn metrics(&self) -> String {
        let mut text = Text(String::new());
        self.requests(&mut text);
        self.instances(&mut text);
        self.totals(&mut text);
        self.listener_metrics(&mut text);
        text.0
    }

    fn requests(&self, text: &mut Text) {
        let inner = self.inner.borrow();
        text.family("balancer_requests_total", "counter", "Answered requests.");
        let mut sum = |labels: &[(&str, &str)],
                       of: &dyn Fn(&Meter) -> u64,
                       meters: &[std::sync::Arc<Meter>]| {
            let value = meters.iter().map(|m| of(m)).sum::<u64>();
            if value > 0 {
                text.sample("balancer_requests_total", labels, value);
            }
        };
        let unrouted: Vec<_> = self.workers.iter().map(|w| w.nobody.clone()).collect();
        let nobody = (NOBODY.to_owned(), NOBODY.to_owned());
        let groups = inner.meters.iter().chain([(&nobody, &unrouted)]);
        for ((balancer, group), meters) in groups {
            for (m, method) in METHODS.iter().enumerate() {
                for (c, code) in CLASSES.iter().enumerate() {
                    let labels = |by| {
                        [
                            ("load_balancer", balancer.as_str()),
                            ("server_group", group.as_str()),
                            ("code", *code),
                            ("method", *method),
                            ("by", by),
                        ]
                    };
                    sum(
                        &labels("instance"),
                        &|meter| meter.status[m][c].get(),
                        meters,
                    );
                    sum(&labels("balancer"), &|meter| meter.own[m][c].get(), meters);
                }
            }
        }
        for (name, help, of) in [
            (
                "balancer_request_seconds",
                "Time to the end of the answer.",
                (|m: &Meter, t: &mut Times| m.total.add_to(t)) as fn(&Meter, &mut Times),
            ),
            (
                "balancer_first_byte_seconds",
                "Time to the answer's head.",
                |m, t| m.first.add_to(t),
            ),
        ] {
            text.family(name, "histogram", help);
            for ((balancer, group), meters) in &inner.meters {
                let mut times = Times::default();
                meters.iter().for_each(|meter| of(meter, &mut times));
                let labels = [
                    ("load_balancer", balancer.as_str()),
                    ("server_group", group.as_str()),
                ];
                if group != NOBODY {
                    text.histogram(name, &labels, &times);
                }
            }
        }
    }

    fn instances(&self, text: &mut Text) {
        let state = self.state();
        text.family(
            "balancer_inflight",
            "gauge",
            "Requests and tunnels in flight.",
        );
        for i in &state.instances {
            for (kind, value) in [
                ("request", i.in_flight.requests),
                ("tunnel", i.in_flight.tunnels),
            ] {
                let labels = [
                    ("load_balancer", i.load_balancer.as_str()),
                    ("server_group", &i.group),
                    ("instance", &i.id),
                    ("kind", kind),
                ];
                text.sample("balancer_inflight", &labels, value);
            }
        }
        text.family(
            "balancer_upstream_connections",
            "gauge",
            "Connections to instances.",
        );
        for i in &state.instances {
            let in_use = i.connections.open.saturating_sub(i.connections.idle);
            for (kind, value) in [("in_use", in_use), ("idle", i.connections.idle)] {
                let labels = [
                    ("load_balancer", i.load_balancer.as_str()),
                    ("server_group", &i.group),
                    ("instance", &i.id),
                    ("state", kind),
                ];
                text.sample("balancer_upstream_connections", &labels, value);
            }
        }
        text.family(
            "balancer_weight_effective",
            "gauge",
            "Weight that counts now.",
        );
        for g in &state.groups {
            let labels = [
                ("load_balancer", g.load_balancer.as_str()),
                ("server_group", &g.name),
            ];
            text.sample(
                "balancer_weight_effective",
                &labels,
                u64::from(g.weight_effective),
            );
        }
        text.family("balancer_capacity", "gauge", "Serving instances.");
        for g in &state.groups {
            let labels = [
                ("load_balancer", g.load_balancer.as_str()),
                ("server_group", &g.name),
            ];
            text.sample("balancer_capacity", &labels, u64::from(g.capacity));
        }
        text.family(
            "balancer_suspended",
            "gauge",
            "Instances left out by their health.",
        );
        let suspended = state
            .instances
            .iter()
            .filter(|i| i.state == Observed::Suspended)
            .count();
        text.sample("balancer_suspended", &[], suspended as u64);
        text.family(
            "balancer_config_generation",
            "gauge",
            "Configuration in force.",
        );
        text.sample("balancer_config_generation", &[], state.applied.generation);
        text.family("balancer_clients", "gauge", "Connections of clients.");
        text.sample("balancer_clients", &[], state.clients);
        text.family(
            "balancer_suspensions_total",
            "counter",
            "Suspensions because requests failed.",
        );
        text.sample(
            "balancer_suspensions_total",
            &[],
            self.inner.borrow().suspensions,
        );
    }

    fn totals(&self, text: &mut Text) {
        let sum = |of: fn(&Handle) -> u64| self.workers.iter().map(of).sum::<u64>();
        text.family(
            "balancer_retries_total",
            "counter",
            "Requests sent again, by reason.",
        );
        for (reason, value) in [
            ("connect", sum(|w| w.totals.retried_connect.get())),
            ("unsent", sum(|w| w.totals.retried_unsent.get())),
            ("closed", sum(|w| w.totals.retried_closed.get())),
        ] {
            text.sample("balancer_retries_total", &[("reason", reason)], value);
        }
        text.family("balancer_cut_total", "counter", "Requests and tunnels cut.");
        for (kind, value) in [
            ("request", sum(|w| w.totals.cut_requests.get())),
            ("tunnel", sum(|w| w.totals.cut_tunnels.get())),
        ] {
            text.sample("balancer_cut_total", &[("kind", kind)], value);
        }
        for (name, help, value) in [
            (
                "balancer_not_repeated_total",
                "Requests lost that must not be sent again.",
                sum(|w| w.totals.not_repeated.get()),
            ),
            (
                "balancer_no_instance_total",
                "Requests without an instance to choose.",
                sum(|w| w.totals.no_instance.get()),
            ),
            (
                "balancer_own_errors_total",
                "Answers of the balancer itself with 502, 503 and 504.",
                sum(|w| w.totals.own_errors.get()),
            ),
            (
                "balancer_retry_budget_exhausted_total",
                "Repeats refused because there were too many.",
                sum(|w| w.totals.over_budget.get()),
            ),
            (
                "balancer_client_gone_total",
                "Clients that left before the answer's end.",
                sum(|w| w.totals.client_gone.get()),
            ),
            (
                "balancer_broken_total",
                "Answers that an instance broke off.",
                sum(|w| w.totals.broken.get()),
            ),
            (
                "balancer_clients_refused_total",
                "Connections refused because there were too many.",
                sum(|w| w.totals.refused_clients.get()),
            ),
        ] {
            text.family(name, "counter", help);
            text.sample(name, &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_seconds() {
        for (us, text) in [
            (0, "0"),
            (250, "0.00025"),
            (1_000_000, "1"),
            (2_500_000, "2.5"),
        ] {
            assert_eq!(seconds(us), text);
        }
    }
}
