//! A plan as one worker serves it: routes, groups, and this worker's connections to each instance.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::Protocol;
use tokio::sync::Notify;

use super::access::Log;
use super::meter::{Meter, RouteMeter};
use super::pipe::Pipe;
use super::plan::{Limits, Plan, Turns};
use super::shared::Pool;
use super::target::{Standing, Target};

/// Connections one worker keeps to one instance.
const MOST_IDLE: usize = 256;

/// How long a connection is kept without use.
const IDLE: Duration = Duration::from_secs(60);

/// One instance in one worker.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// What all workers share of it.
    pub(crate) target: Arc<Target>,
    idle: RefCell<Vec<Pipe>>,
    /// Connections that requests share.
    pub(crate) shared: Pool,
    /// Grows with each cut: whoever began under a smaller one ends.
    pub(crate) cuts: Cell<u32>,
    /// Tells its tunnels of a cut.
    pub(crate) cut: Notify,
}

impl Upstream {
    /// A kept connection that is still open.
    pub(crate) fn take(&self) -> Option<Pipe> {
        loop {
            let mut pipe = self.idle.borrow_mut().pop()?;
            self.target.unkeep();
            if pipe.is_usable() {
                return Some(pipe);
            }
        }
    }

    /// Keeps a connection for the next request; a draining instance's is closed.
    pub(crate) fn keep(&self, mut pipe: Pipe, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if !self.target.is_draining() && idle.len() < MOST_IDLE && pipe.rest(now) {
            self.target.keep();
            idle.push(pipe);
        }
    }

    /// Closes kept connections that ended or were not used for long; all when the instance drains.
    pub(crate) fn sweep(&self, now: Instant) {
        let drains = self.target.is_draining();
        self.shared.sweep(drains, now.checked_sub(IDLE));
        let mut closed = Vec::new();
        {
            let mut idle = self.idle.borrow_mut();
            let mut at = 0;
            while at < idle.len() {
                let old = drains || now.duration_since(idle[at].since()) > IDLE;
                if old || !idle[at].is_usable() {
                    closed.push(idle.remove(at));
                    self.target.unkeep();
                } else {
                    at += 1;
                }
            }
        }
        drop(closed);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        for _ in self.idle.get_mut().drain(..) {
            self.target.unkeep();
        }
    }
}

/// A server group in one worker.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: Arc<str>,
    weight: u32,
    protocol: Protocol,
    upstreams: Vec<Rc<Upstream>>,
    pub(crate) meter: Arc<Meter>,
}

impl Group {
    /// Whether a request goes to its instances in HTTP/2.
    pub(crate) fn speaks_http2(&self, grpc: bool) -> bool {
        match self.protocol {
            Protocol::Auto => grpc,
            Protocol::Http1 => false,
            Protocol::Http2 => true,
        }
    }

    fn has(&self, standing: Standing, tried: &[Rc<Upstream>]) -> bool {
        let mut upstreams = self.upstreams.iter();
        upstreams.any(|u| u.target.standing() == standing && !is_in(tried, u))
    }

    /// The least loaded instance of this standing; among equals the first from `from` on.
    fn least(
        &self,
        standing: Standing,
        tried: &[Rc<Upstream>],
        from: usize,
    ) -> Option<&Rc<Upstream>> {
        let count = self.upstreams.len();
        let start = from.checked_rem(count)?;
        let (after, before) = (&self.upstreams[start..], &self.upstreams[..start]);
        let mut best: Option<(&Rc<Upstream>, u64)> = None;
        for upstream in after.iter().chain(before) {
            if upstream.target.standing() != standing || is_in(tried, upstream) {
                continue;
            }
            let load = upstream.target.in_flight();
            if best.is_none_or(|(_, least)| load < least) {
                best = Some((upstream, load));
                if load == 0 {
                    break;
                }
            }
        }
        best.map(|(upstream, _)| upstream)
    }
}

fn is_in(tried: &[Rc<Upstream>], upstream: &Rc<Upstream>) -> bool {
    tried.iter().any(|t| Rc::ptr_eq(t, upstream))
}

/// A load balancer in one worker.
#[derive(Debug)]
pub(crate) struct Balancer {
    pub(crate) name: Arc<str>,
    turns: Arc<Turns>,
    groups: Vec<Rc<Group>>,
    pub(crate) nobody: Arc<Meter>,
}

impl Balancer {
    /// Chooses an instance that is not among `tried`, or one of these when no other is left.
    ///
    /// A group without an instance that is in is left out and the others share its requests; when
    /// no group has one, suspended instances serve: a failing probe must not make an outage.
    pub(crate) fn choose(
        &self,
        tried: &[Rc<Upstream>],
        from: usize,
    ) -> Option<(Rc<Group>, Rc<Upstream>)> {
        let nobody: &[Rc<Upstream>] = &[];
        for (standing, tried) in [
            (Standing::In, tried),
            (Standing::Fallback, tried),
            (Standing::In, nobody),
            (Standing::Fallback, nobody),
        ] {
            let group = match &self.groups[..] {
                [only] => (only.weight > 0).then_some(only),
                groups => {
                    let weight = |g: &Rc<Group>| if g.has(standing, tried) { g.weight } else { 0 };
                    let turn = self.turns.next(groups.iter().map(weight));
                    turn.and_then(|at| groups.get(at))
                }
            };
            let chosen = group.and_then(|g| Some((g, g.least(standing, tried, from)?)));
            if let Some((group, upstream)) = chosen {
                return Some((group.clone(), upstream.clone()));
            }
        }
        None
    }
}

/// A route in one worker.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its name in figures.
    pub(crate) name: Arc<str>,
    /// Path prefix without its last `/`.
    path: String,
    /// Where its requests go.
    pub(crate) balancer: Rc<Balancer>,
    pub(crate) meter: Arc<RouteMeter>,
}

/// Everything one worker serves from.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) limits: Limits,
    /// What is written of requests.
    log: Option<Rc<Log>>,
    /// Per host, routes, those with the longest path first.
    hosts: HashMap<String, Vec<Rc<Route>>>,
    any_host: Vec<Rc<Route>>,
    balancers: Vec<Rc<Balancer>>,
    upstreams: HashMap<String, Rc<Upstream>>,
}

impl Table {
    /// The table of a plan; an instance that stays keeps its connections.
    pub(crate) fn new(plan: &Plan, worker: usize, before: &Self) -> Self {
        let mut upstreams: HashMap<String, Rc<Upstream>> = HashMap::new();
        let mut upstream = |target: &Arc<Target>| {
            let known = before.upstreams.get(&target.id);
            let known = known.filter(|u| Arc::ptr_eq(&u.target, target)).cloned();
            let upstream = known.unwrap_or_else(|| {
                Rc::new(Upstream {
                    target: target.clone(),
                    idle: RefCell::default(),
                    shared: Pool::new(target.clone()),
                    cuts: Cell::new(0),
                    cut: Notify::new(),
                })
            });
            upstreams.insert(target.id.clone(), upstream.clone());
            upstream
        };
        let meter = |meters: &[Arc<Meter>]| meters.get(worker).cloned().unwrap_or_default();
        let mut balancers = Vec::new();
        for balancer in &plan.balancers {
            let groups = balancer.groups.iter().map(|group| {
                Rc::new(Group {
                    name: group.name.clone(),
                    weight: group.weight,
                    protocol: group.protocol,
                    upstreams: group.targets.iter().map(&mut upstream).collect(),
                    meter: meter(&group.meters),
                })
            });
            balancers.push(Rc::new(Balancer {
                name: balancer.name.clone(),
                turns: balancer.turns.clone(),
                groups: groups.collect(),
                nobody: meter(&balancer.nobody),
            }));
        }
        let mut table = Self {
            limits: plan.limits,
            log: plan.access.clone().map(|order| Rc::new(Log::new(order))),
            balancers,
            upstreams,
            ..Self::default()
        };
        for route in &plan.routes {
            let Some(balancer) = table.balancers.get(route.balancer) else {
                continue;
            };
            let list = match &route.host {
                None => &mut table.any_host,
                Some(host) => table.hosts.entry(host.clone()).or_default(),
            };
            list.push(Rc::new(Route {
                name: route.name.clone(),
                path: route.path.clone(),
                balancer: balancer.clone(),
                meter: route.meters.get(worker).cloned().unwrap_or_default(),
            }));
        }
        let lists = table.hosts.values_mut().chain([&mut table.any_host]);
        for list in lists {
            // Stable: of equal paths the first written counts.
            list.sort_by_key(|route| std::cmp::Reverse(route.path.len()));
        }
        table
    }

    /// The route for a host (with or without port) and a path.
    pub(crate) fn route(&self, host: &str, path: &str) -> Option<&Rc<Route>> {
        let host = without_port(host);
        let own = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            self.hosts.get(&host.to_ascii_lowercase())
        } else {
            self.hosts.get(host)
        };
        let lists = own.into_iter().chain([&self.any_host]);
        let mut routes = lists.flatten();
        routes.find(|route| fits(&route.path, path))
    }

    /// Where a request of this route is written; none: nowhere.
    pub(crate) fn log(&self, route: Option<&Route>) -> Option<&Rc<Log>> {
        let balancer = route.map(|route| &*route.balancer.name);
        self.log.as_ref().filter(|log| log.wants(balancer))
    }

    /// This worker's side of an instance.
    pub(crate) fn upstream(&self, id: &str) -> Option<&Rc<Upstream>> {
        self.upstreams.get(id)
    }

    /// Closes what should not be kept.
    pub(crate) fn sweep(&self, now: Instant) {
        for upstream in self.upstreams.values() {
            upstream.sweep(now);
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        // In `[::1]` the last colon belongs to the address.
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    }
}

fn fits(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with('?'))
        || prefix.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_of_the_requests_host_counts_and_any_host_last() {
        let route = |host: Option<&str>, path: &str, balancer| super::super::plan::Route {
            host: host.map(str::to_owned),
            path: path.to_owned(),
            balancer,
            ..super::super::plan::Route::default()
        };
        let plan = Plan {
            routes: vec![
                route(None, "", 0),
                route(Some("a.test"), "", 1),
                route(Some("a.test"), "/staging", 2),
                route(Some("a.test"), "/staging", 3),
                route(None, "/only", 4),
                route(Some("[::1]"), "", 5),
            ],
            balancers: (0..6)
                .map(|_| super::super::plan::Balancer {
                    name: Arc::default(),
                    turns: Arc::default(),
                    groups: Vec::new(),
                    nobody: Vec::new(),
                })
                .collect(),
            ..Plan::default()
        };
        let table = Table::new(&plan, 0, &Table::default());
        for (host, path, expected) in [
            ("b.test", "/", 0),
            ("a.test", "/", 1),
            ("A.Test:8080", "/staging", 2),
            ("a.test", "/staging/x", 2),
            ("a.test", "/stagingx", 1),
            ("b.test", "/only/x", 4),
            ("[::1]:80", "/", 5),
            ("[::1]", "/", 5),
            ("", "*", 0),
        ] {
            let found = table.route(host, path).unwrap();
            assert!(
                Rc::ptr_eq(&found.balancer, &table.balancers[expected]),
                "{host}{path}"
            );
        }
    }

    #[test]
    fn the_least_loaded_instance_of_the_groups_that_serve_is_chosen() {
        let news = Arc::default();
        let target = |id: &str, standing| {
            let target = Target::new(id.into(), ([127, 0, 0, 1], 1).into(), Arc::clone(&news));
            target.set_standing(standing);
            Arc::new(target)
        };
        let group = |weight, targets: &[&Arc<Target>]| super::super::plan::Group {
            name: Arc::default(),
            weight,
            protocol: Protocol::Auto,
            targets: targets.iter().map(|t| Arc::clone(t)).collect(),
            meters: Vec::new(),
        };
        let (a, b, c) = (
            target("a", Standing::In),
            target("b", Standing::In),
            target("c", Standing::Fallback),
        );
        let plan = Plan {
            balancers: vec![super::super::plan::Balancer {
                name: Arc::default(),
                turns: Arc::default(),
                groups: vec![group(1, &[&a, &b]), group(1, &[&c])],
                nobody: Vec::new(),
            }],
            ..Plan::default()
        };
        let table = Table::new(&plan, 0, &Table::default());
        let choose = |tried: &[&str]| {
            let tried: Vec<_> = tried
                .iter()
                .map(|id| table.upstreams[*id].clone())
                .collect();
            let chosen = table.balancers[0].choose(&tried, 0);
            chosen.map(|(_, u)| u.target.id.clone())
        };
        assert!(a.enter());
        assert_eq!(
            choose(&[]).as_deref(),
            Some("b"),
            "the other has one in flight"
        );
        assert_eq!(choose(&["b"]).as_deref(), Some("a"));
        assert_eq!(
            choose(&["b", "a"]).as_deref(),
            Some("c"),
            "rather than one just tried"
        );
        a.set_standing(Standing::Out);
        b.set_standing(Standing::Out);
        assert_eq!(choose(&[]).as_deref(), Some("c"), "all are suspended");
        c.set_standing(Standing::Out);
        assert_eq!(choose(&[]), None);
    }
}
