//! All figures of the process: read here once, written as Prometheus' text or for OTLP.
//!
//! Errors of instances and errors of the balancer itself are told apart by the label `by`. A group's
//! and a route's series go away when they leave the configuration; what must outlive them is counted
//! by the process.

pub(crate) mod export;
mod figures;
mod limits;
mod listeners;
mod otlp;
mod text;

use balancer::Observed;

pub(crate) use figures::Metered;
use figures::{Family, Figures, Kind};

use super::plane::{NOBODY, Plane};
use crate::proxy::answer::Own;
use crate::proxy::meter::{Counter, Meter, Repeat, RouteMeter, Statuses, Times};
use crate::proxy::worker::Handle;

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const METHODS: [&str; 2] = ["read", "write"];

/// Why an instance was left out, as the label `reason` names it; by [`Ejection`].
const EJECTIONS: [&str; 2] = ["requests", "probes"];

/// Why an instance was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ejection {
    /// Requests to it failed.
    Requests,
    /// Its probes failed.
    Probes,
}

/// How often instances of one group were left out, by [`Ejection`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ejections([u64; 2]);

impl Ejections {
    /// One more.
    pub(crate) fn add(&mut self, why: Ejection) {
        self.0[why as usize] += 1;
    }

    /// How many there were.
    #[cfg(test)]
    pub(crate) fn of(self, why: Ejection) -> u64 {
        self.0[why as usize]
    }
}

/// A kind of counters by status, and whose they are.
type Of<T> = (fn(&T) -> &Statuses, &'static str);

/// A histogram by its name and its help.
type Timing = (
    &'static str,
    &'static str,
    fn(&Meter) -> &crate::proxy::meter::Histogram,
);

/// A counter of the process by its name and its help.
type Total = (&'static str, &'static str, fn(&Handle) -> &Counter);

impl Plane {
    /// All figures as text.
    pub(crate) fn metrics(&self) -> String {
        text::text(&self.families())
    }

    /// All figures.
    fn families(&self) -> Vec<Family> {
        let mut figures = Figures::new(self.began_ms);
        self.groups(&mut figures);
        self.routes(&mut figures);
        self.instances(&mut figures);
        self.ejections(&mut figures);
        self.totals(&mut figures);
        self.limits(&mut figures);
        self.holds(&mut figures);
        self.listeners(&mut figures);
        self.keeping(&mut figures);
        figures.families()
    }

    fn groups(&self, figures: &mut Figures) {
        let inner = self.inner.borrow();
        let name = "balancer_requests_total";
        figures.family(name, Kind::Counter, "Answered requests.");
        let unrouted = Metered {
            each: self.workers.iter().map(|w| w.nobody.clone()).collect(),
            since_ms: self.began_ms,
        };
        let nobody = (NOBODY.to_owned(), NOBODY.to_owned());
        let groups = || inner.meters.iter().chain([(&nobody, &unrouted)]);
        for ((balancer, group), meters) in groups() {
            let labels = [
                ("load_balancer", balancer.as_str()),
                ("server_group", group.as_str()),
            ];
            let of: [Of<Meter>; 2] = [(|m| &m.status, "instance"), (|m| &m.own, "balancer")];
            statuses(figures, &labels, meters, of);
        }
        let name = "balancer_errors_total";
        let help = "Answers of the balancer itself, by the name of the error.";
        figures.family(name, Kind::Counter, help);
        for ((balancer, group), meters) in groups() {
            for (at, own) in Own::ALL.into_iter().enumerate() {
                let value = meters.sum(|m| m.errors.get(at).map_or(0, Counter::get));
                let labels = [
                    ("load_balancer", balancer.as_str()),
                    ("server_group", group.as_str()),
                    ("error", own.status().1),
                ];
                if value > 0 {
                    figures.sample_since(&labels, meters.since_ms, value);
                }
            }
        }
        let real = || {
            inner
                .meters
                .iter()
                .filter(|((_, group), _)| group != NOBODY)
        };
        let name = "balancer_sent_total";
        figures.family(name, Kind::Counter, "Requests sent to an instance.");
        for ((balancer, group), meters) in real() {
            let labels = [
                ("load_balancer", balancer.as_str()),
                ("server_group", group.as_str()),
            ];
            figures.sample_since(&labels, meters.since_ms, meters.sum(|m| m.sent.get()));
        }
        let name = "balancer_group_retries_total";
        figures.family(name, Kind::Counter, "Requests of a group sent again.");
        for ((balancer, group), meters) in real() {
            for (why, reason) in Repeat::ALL {
                let of = |m: &Meter| m.repeats.get(why as usize).map_or(0, Counter::get);
                let labels = [
                    ("load_balancer", balancer.as_str()),
                    ("server_group", group.as_str()),
                    ("reason", reason),
                ];
                figures.sample_since(&labels, meters.since_ms, meters.sum(of));
            }
        }
        let timings: [Timing; 2] = [
            (
                "balancer_request_seconds",
                "Time to the end of the answer.",
                |m| &m.total,
            ),
            (
                "balancer_first_byte_seconds",
                "Time to the answer's head.",
                |m| &m.first,
            ),
        ];
        for (name, help, of) in timings {
            figures.family(name, Kind::Histogram, help);
            for ((balancer, group), meters) in real() {
                let labels = [
                    ("load_balancer", balancer.as_str()),
                    ("server_group", group.as_str()),
                ];
                let times = meters.times(|m, t: &mut Times| of(m).add_to(t));
                figures.times(&labels, meters.since_ms, times);
            }
        }
    }

    fn routes(&self, figures: &mut Figures) {
        let inner = self.inner.borrow();
        let each = || {
            inner
                .route_meters
                .iter()
                .map(|((route, balancer), meters)| {
                    let labels = [
                        ("route", route.as_str()),
                        ("load_balancer", balancer.as_str()),
                    ];
                    (labels, meters)
                })
        };
        let name = "balancer_route_requests_total";
        figures.family(name, Kind::Counter, "Answered requests, by route.");
        for (labels, meters) in each() {
            let of: [Of<RouteMeter>; 2] = [(|m| &m.status, "instance"), (|m| &m.own, "balancer")];
            statuses(figures, &labels, meters, of);
        }
        let name = "balancer_route_request_seconds";
        let help = "Time to the end of an instance's answer, by route.";
        figures.family(name, Kind::Histogram, help);
        for (labels, meters) in each() {
            let times = meters.times(|m, t: &mut Times| m.total.add_to(t));
            figures.times(&labels, meters.since_ms, times);
        }
        let name = "balancer_route_retries_total";
        figures.family(name, Kind::Counter, "Requests sent again, by route.");
        for (labels, meters) in each() {
            let value = meters.sum(|m| m.retries.get());
            figures.sample_since(&labels, meters.since_ms, value);
        }
        let name = "balancer_route_inflight";
        let help = "Requests and tunnels under way, by route.";
        figures.family(name, Kind::Gauge, help);
        for (labels, meters) in each() {
            figures.sample(&labels, meters.sum(RouteMeter::in_flight));
        }
    }

    fn instances(&self, figures: &mut Figures) {
        let state = self.state();
        let name = "balancer_inflight";
        figures.family(name, Kind::Gauge, "Requests and tunnels in flight.");
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
                figures.sample(&labels, value);
            }
        }
        let name = "balancer_upstream_connections";
        figures.family(name, Kind::Gauge, "Connections to instances.");
        for i in &state.instances {
            let in_use = i.connections.open.saturating_sub(i.connections.idle);
            for (kind, value) in [("in_use", in_use), ("idle", i.connections.idle)] {
                let labels = [
                    ("load_balancer", i.load_balancer.as_str()),
                    ("server_group", &i.group),
                    ("instance", &i.id),
                    ("state", kind),
                ];
                figures.sample(&labels, value);
            }
        }
        for (name, help, of) in [
            (
                "balancer_weight_effective",
                "Weight that counts now.",
                (|g| g.weight_effective) as fn(&balancer::GroupState) -> u32,
            ),
            ("balancer_capacity", "Serving instances.", |g| g.capacity),
        ] {
            figures.family(name, Kind::Gauge, help);
            for g in &state.groups {
                let labels = [
                    ("load_balancer", g.load_balancer.as_str()),
                    ("server_group", &g.name),
                ];
                figures.sample(&labels, of(g));
            }
        }
        let suspended = state.instances.iter();
        let suspended = suspended.filter(|i| i.state == Observed::Suspended).count();
        for (name, help, value) in [
            (
                "balancer_suspended",
                "Instances left out by their health.",
                suspended as u64,
            ),
            (
                "balancer_config_generation",
                "Configuration in force.",
                state.applied.generation,
            ),
            ("balancer_clients", "Connections of clients.", state.clients),
        ] {
            figures.family(name, Kind::Gauge, help);
            figures.sample(&[], value);
        }
    }

    fn ejections(&self, figures: &mut Figures) {
        let inner = self.inner.borrow();
        let name = "balancer_suspensions_total";
        let help = "Instances left out, by what failed: requests to them or their probes.";
        figures.family(name, Kind::Counter, help);
        for (key, meters) in &inner.meters {
            let ejections = inner.ejections.get(key).copied().unwrap_or_default();
            for (reason, value) in EJECTIONS.into_iter().zip(ejections.0) {
                let labels = [
                    ("load_balancer", key.0.as_str()),
                    ("server_group", key.1.as_str()),
                    ("reason", reason),
                ];
                if key.1 != NOBODY {
                    figures.sample_since(&labels, meters.since_ms, value);
                }
            }
        }
    }

    fn totals(&self, figures: &mut Figures) {
        let sum = |of: fn(&Handle) -> &Counter| -> u64 {
            self.workers.iter().map(|worker| of(worker).get()).sum()
        };
        let name = "balancer_retries_total";
        figures.family(name, Kind::Counter, "Requests sent again, by reason.");
        for (reason, value) in [
            ("connect", sum(|w| &w.totals.retried_connect)),
            ("unsent", sum(|w| &w.totals.retried_unsent)),
            ("closed", sum(|w| &w.totals.retried_closed)),
        ] {
            figures.sample(&[("reason", reason)], value);
        }
        let name = "balancer_cut_total";
        figures.family(name, Kind::Counter, "Requests and tunnels cut.");
        for (kind, value) in [
            ("request", sum(|w| &w.totals.cut_requests)),
            ("tunnel", sum(|w| &w.totals.cut_tunnels)),
        ] {
            figures.sample(&[("kind", kind)], value);
        }
        let totals: [Total; 7] = [
            (
                "balancer_not_repeated_total",
                "Requests lost that must not be sent again.",
                |w| &w.totals.not_repeated,
            ),
            (
                "balancer_no_instance_total",
                "Requests without an instance to choose.",
                |w| &w.totals.no_instance,
            ),
            (
                "balancer_own_errors_total",
                "Answers of the balancer itself with 502, 503 and 504.",
                |w| &w.totals.own_errors,
            ),
            (
                "balancer_retry_budget_exhausted_total",
                "Repeats refused because there were too many.",
                |w| &w.totals.over_budget,
            ),
            (
                "balancer_client_gone_total",
                "Clients that left before the answer's end.",
                |w| &w.totals.client_gone,
            ),
            (
                "balancer_broken_total",
                "Answers that an instance broke off.",
                |w| &w.totals.broken,
            ),
            (
                "balancer_clients_refused_total",
                "Connections refused because there were too many.",
                |w| &w.totals.refused_clients,
            ),
        ];
        for (name, help, of) in totals {
            figures.family(name, Kind::Counter, help);
            figures.sample(&[], sum(of));
        }
    }

    /// Figures about what the process keeps of its figures.
    fn keeping(&self, figures: &mut Figures) {
        let inner = self.inner.borrow();
        let name = "balancer_history_lost_total";
        let help = "Seconds of history that were not as written, or could not be written.";
        figures.family(name, Kind::Counter, help);
        let unwritten = inner.archive.as_ref().map_or(0, |archive| archive.lost());
        for (reason, value) in [("damaged", inner.damaged), ("unwritten", unwritten)] {
            figures.sample(&[("reason", reason)], value);
        }
        let name = "balancer_access_log_lines_total";
        figures.family(name, Kind::Counter, "Lines of the access log.");
        figures.sample(&[], self.lines.lines());
        let name = "balancer_access_log_dropped_total";
        let help = "Lines that are missing in the access log: no room to wait, or not written.";
        figures.family(name, Kind::Counter, help);
        let full: u64 = self
            .workers
            .iter()
            .map(|w| w.totals.lines_dropped.get())
            .sum();
        for (reason, value) in [("full", full), ("unwritten", self.lines.lost())] {
            figures.sample(&[("reason", reason)], value);
        }
        let name = "balancer_otlp_exports_total";
        figures.family(name, Kind::Counter, "Rounds of figures sent by OTLP.");
        for (result, value) in [
            ("taken", inner.exports.taken),
            ("failed", inner.exports.failed),
        ] {
            figures.sample(&[("result", result)], value);
        }
        let name = "balancer_otlp_rejected_total";
        figures.family(
            name,
            Kind::Counter,
            "Series that an OTLP receiver rejected.",
        );
        figures.sample(&[], inner.exports.rejected);
    }
}

/// Counters by class of status and kind of method; those that are zero are left out.
fn statuses<T>(
    figures: &mut Figures,
    labels: &[(&'static str, &str); 2],
    meters: &Metered<T>,
    of: [Of<T>; 2],
) {
    for (m, method) in METHODS.into_iter().enumerate() {
        for (c, code) in CLASSES.into_iter().enumerate() {
            for (table, by) in of {
                let value = meters.sum(|one| table(one)[m][c].get());
                let [first, second] = *labels;
                let labels = [
                    first,
                    second,
                    ("code", code),
                    ("method", method),
                    ("by", by),
                ];
                if value > 0 {
                    figures.sample_since(&labels, meters.since_ms, value);
                }
            }
        }
    }
}
