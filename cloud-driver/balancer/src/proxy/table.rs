//! A plan as one worker serves it: routes, groups, and this worker's connections to each instance.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::Protocol;
use tokio::sync::Notify;

use super::access::Log;
use super::clock::now_ns;
use super::hold::{Holding, Queue};
use super::meter::Meter;
use super::pipe::Pipe;
use super::plan::{Limits, Plan, Turns};
use super::routes::{Route, Routes};
use super::shared::Pool;
use super::slow_start;
use super::sticky::{Mark, Sticky};
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
    /// What cookies say of it.
    pub(crate) mark: Mark,
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
    slow_start: Duration,
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

    /// Whether it has a share at all.
    pub(crate) fn gets_requests(&self) -> bool {
        self.weight > 0
    }

    /// Its instances.
    pub(crate) fn upstreams(&self) -> &[Rc<Upstream>] {
        &self.upstreams
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
        let may = |u: &&Rc<Upstream>| u.target.standing() == standing && !is_in(tried, u);
        let candidates = after.iter().chain(before).filter(may);
        if !self.slow_start.is_zero() {
            let now_ns = now_ns();
            let weighed = candidates.map(|upstream| {
                let age = upstream.target.age(now_ns);
                let share = slow_start::share(age, self.slow_start);
                (upstream, share, upstream.target.in_flight())
            });
            return slow_start::least(weighed, from);
        }
        let mut best: Option<(&Rc<Upstream>, u64)> = None;
        for upstream in candidates {
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
    pub(crate) sticky: Option<Sticky>,
    /// Those that wait, and how long they may.
    pub(crate) hold: Option<(Rc<Queue>, Holding)>,
}

impl Balancer {
    /// Chooses an instance that is not among `tried`, or one of these when no other is left; that of
    /// the `mark` a client came with, as long as it serves.
    ///
    /// A group without an instance that is in is left out and the others share its requests; when
    /// no group has one, suspended instances serve: a failing probe must not make an outage.
    pub(crate) fn choose(
        &self,
        tried: &[Rc<Upstream>],
        mark: Option<Mark>,
        from: usize,
    ) -> Option<(Rc<Group>, Rc<Upstream>)> {
        let nobody: &[Rc<Upstream>] = &[];
        let sticky = self.sticky.as_ref().zip(mark);
        for (standing, tried) in [
            (Standing::In, tried),
            (Standing::Fallback, tried),
            (Standing::In, nobody),
            (Standing::Fallback, nobody),
        ] {
            let own = sticky.and_then(|(sticky, mark)| sticky.instance(mark, standing));
            if let Some((group, upstream)) = own
                && !is_in(tried, upstream)
            {
                return Some((group.clone(), upstream.clone()));
            }
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

/// Everything one worker serves from.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) limits: Limits,
    /// What is written of requests.
    log: Option<Rc<Log>>,
    pub(crate) routes: Routes,
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
                    mark: Mark::of(&target.id),
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
                    slow_start: group.slow_start,
                    protocol: group.protocol,
                    upstreams: group.targets.iter().map(&mut upstream).collect(),
                    meter: meter(&group.meters),
                })
            });
            let queue = before
                .balancer(&balancer.name)
                .and_then(|b| b.hold.as_ref());
            let queue = queue.map(|(queue, _)| queue.clone()).unwrap_or_default();
            let groups: Vec<_> = groups.collect();
            let sticky = balancer.sticky.as_ref();
            balancers.push(Rc::new(Balancer {
                name: balancer.name.clone(),
                sticky: sticky.map(|sticky| Sticky::new(sticky, &groups)),
                turns: balancer.turns.clone(),
                groups,
                nobody: meter(&balancer.nobody),
                hold: balancer.hold.clone().map(|holding| (queue, holding)),
            }));
        }
        let mut table = Self {
            limits: plan.limits,
            log: plan.access.clone().map(|order| Rc::new(Log::new(order))),
            balancers,
            upstreams,
            ..Self::default()
        };
        table.routes = Routes::new(&plan.routes, worker, &table.balancers);
        table
    }

    /// Where a request of this route is written; none: nowhere.
    pub(crate) fn log(&self, route: Option<&Route>) -> Option<&Rc<Log>> {
        let balancer = route.map(|route| &*route.balancer.name);
        self.log.as_ref().filter(|log| log.wants(balancer))
    }

    /// A load balancer.
    pub(crate) fn balancer(&self, name: &str) -> Option<&Rc<Balancer>> {
        self.balancers.iter().find(|b| *b.name == *name)
    }

    /// Lets those that wait look again.
    pub(crate) fn tell_waiting(&self) {
        for (queue, _) in self.balancers.iter().filter_map(|b| b.hold.as_ref()) {
            queue.tell();
        }
    }

    /// The index of a load balancer.
    #[cfg(test)]
    pub(crate) fn position(&self, balancer: &Rc<Balancer>) -> Option<usize> {
        self.balancers.iter().position(|b| Rc::ptr_eq(b, balancer))
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

#[cfg(test)]
mod tests {
    use super::*;

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
            slow_start: Duration::ZERO,
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
                groups: vec![group(1, &[&a, &b]), group(1, &[&c])],
                ..super::super::plan::Balancer::default()
            }],
            ..Plan::default()
        };
        let table = Table::new(&plan, 0, &Table::default());
        let choose = |tried: &[&str]| {
            let tried: Vec<_> = tried
                .iter()
                .map(|id| table.upstreams[*id].clone())
                .collect();
            let chosen = table.balancers[0].choose(&tried, None, 0);
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
