//! What is known of one instance: the role it was given, what its probes said, and what follows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::{Health, Observed, Role};
use tokio::task::AbortHandle;

use super::outlier::Rules;
use super::plane::GroupKey;
use crate::fault::Fault;
use crate::proxy::target::{Standing, Target};

/// Serving for so long makes the next suspension a first one.
const FORGIVEN: Duration = Duration::from_secs(60);

/// An instance as the control side tracks it.
#[derive(Debug)]
pub(crate) struct Tracked {
    pub(crate) target: Arc<Target>,
    pub(crate) balancer: String,
    pub(crate) group: String,
    pub(crate) health: Health,
    pub(crate) rules: Rules,
    /// None once it left the configuration.
    pub(crate) role: Option<Role>,
    pub(crate) state: Observed,
    pub(crate) since_ms: i64,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) healthy: bool,
    /// It served when the process began: it goes on serving until a probe says no.
    pub(crate) trusted: bool,
    /// It has served in this role: unhealthy, it is suspended.
    pub(crate) has_served: bool,
    pub(crate) reason: Option<String>,
    pub(crate) first_served: Option<u64>,
    /// Every worker, of this process and of its predecessors, has confirmed the role `drain`.
    pub(crate) confirmed: bool,
    suspended_until: Option<Instant>,
    suspension: Duration,
    suspended_at: Option<Instant>,
    pub(crate) probe: Option<AbortHandle>,
}

impl Tracked {
    pub(crate) fn new(target: Arc<Target>, balancer: &str, group: &str, now_ms: i64) -> Self {
        Self {
            target,
            balancer: balancer.to_owned(),
            group: group.to_owned(),
            health: Health::default(),
            rules: Rules::default(),
            role: None,
            state: Observed::Unknown,
            since_ms: now_ms,
            passed: 0,
            failed: 0,
            healthy: false,
            trusted: false,
            has_served: false,
            reason: None,
            first_served: None,
            confirmed: false,
            suspended_until: None,
            suspension: Duration::ZERO,
            suspended_at: None,
            probe: None,
        }
    }

    /// Whether it gets nothing new.
    pub(crate) fn drains(&self) -> bool {
        matches!(self.role, None | Some(Role::Drain))
    }

    /// Gives it a role; the count's side of a drain is told at once.
    pub(crate) fn give(&mut self, role: Option<Role>) {
        if self.role == role && self.target.is_draining() == self.drains() {
            return;
        }
        let drained = self.drains() && self.target.is_draining();
        self.role = role;
        if self.drains() {
            // Only removed now: what was confirmed and seen stays so.
            if !drained {
                self.confirmed = false;
            }
            self.target.set_draining(true);
            self.trusted = false;
            self.stop_probing();
        } else {
            if self.target.is_draining() {
                (self.passed, self.failed, self.healthy) = (0, 0, false);
                self.state = Observed::Unknown;
                self.target.set_draining(false);
            }
            self.confirmed = false;
            self.first_served = None;
            self.target.forget();
        }
        self.has_served = false;
    }

    /// Takes its group's rules over.
    pub(crate) fn follow(&mut self, rules: &Rules) {
        let outlier = &rules.outlier;
        self.target
            .report(outlier.consecutive_failures, outlier.consecutive_5xx);
        self.rules.clone_from(rules);
    }

    /// Its group.
    pub(crate) fn key(&self) -> GroupKey {
        (self.balancer.clone(), self.group.clone())
    }

    /// Whether this is its group.
    pub(crate) fn is_of(&self, key: &GroupKey) -> bool {
        self.balancer == key.0 && self.group == key.1
    }

    pub(crate) fn stop_probing(&mut self) {
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
    }

    /// A probe passed.
    pub(crate) fn probe_passed(&mut self, now: Instant) {
        (self.passed, self.failed) = (self.passed.saturating_add(1), 0);
        let suspended = self.suspended_until.is_some_and(|until| now < until);
        if self.passed >= self.health.healthy_threshold && !suspended {
            self.healthy = true;
            self.suspended_until = None;
            self.reason = None;
        }
    }

    /// A probe failed.
    pub(crate) fn probe_failed(&mut self, why: String) {
        (self.passed, self.failed) = (0, self.failed.saturating_add(1));
        if self.trusted {
            self.trusted = false;
            self.has_served = true;
        }
        if self.failed >= self.health.unhealthy_threshold {
            self.healthy = false;
        }
        self.reason = Some(why);
    }

    /// Requests failed at it: it is left out for a while, and until its probes pass.
    pub(crate) fn eject(&mut self, now: Instant, why: String) {
        let ms = Duration::from_millis;
        let (base, most) = (
            ms(self.rules.outlier.base_ejection_ms),
            ms(self.rules.outlier.max_ejection_ms),
        );
        let forgiven = self
            .suspended_at
            .is_none_or(|at| now.duration_since(at) > FORGIVEN);
        self.suspension = if forgiven {
            base
        } else {
            (self.suspension * 2).clamp(base, most)
        };
        self.suspended_at = Some(now);
        self.suspended_until = Some(now + self.suspension);
        (self.healthy, self.passed, self.trusted) = (false, 0, false);
        self.has_served = true;
        self.reason = Some(why);
    }

    /// Whether it is left out because requests failed at it.
    pub(crate) fn is_ejected(&self) -> bool {
        self.suspended_until.is_some()
    }

    /// It may come back as soon as its probes pass.
    pub(crate) fn recall(&mut self, now: Instant) {
        self.suspended_until = self.suspended_until.map(|until| until.min(now));
    }

    /// What it is, given whether predecessors have nothing of it any more.
    pub(crate) fn observe(&self, predecessors_drained: bool) -> Observed {
        match self.role {
            None | Some(Role::Drain) => {
                let empty = self.target.counts().is_zero() && predecessors_drained;
                let latched = self.state == Observed::Drained;
                if latched || self.confirmed && (empty || Fault::DrainAtOnce.is_on()) {
                    Observed::Drained
                } else {
                    Observed::Draining
                }
            }
            Some(Role::Warm) if self.healthy => Observed::Ready,
            Some(Role::Serve) if self.healthy => Observed::Serving,
            Some(Role::Serve) if self.has_served => Observed::Suspended,
            Some(Role::Warm | Role::Serve) if self.passed + self.failed == 0 => Observed::Unknown,
            Some(Role::Warm | Role::Serve) => Observed::Warming,
        }
    }

    /// Whether it may be chosen, in this state.
    pub(crate) fn standing(&self, state: Observed) -> Standing {
        match state {
            Observed::Serving => Standing::In,
            Observed::Suspended => Standing::Fallback,
            Observed::Unknown | Observed::Warming
                if self.trusted && self.role == Some(Role::Serve) =>
            {
                Standing::In
            }
            Observed::Unknown
            | Observed::Warming
            | Observed::Ready
            | Observed::Draining
            | Observed::Drained => Standing::Out,
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.stop_probing();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUSPENSION: Duration = Duration::from_secs(1);

    fn tracked() -> Tracked {
        let target = Target::new("i".into(), ([127, 0, 0, 1], 1).into(), Arc::default());
        Tracked::new(Arc::new(target), "b", "g", 0)
    }

    fn see(tracked: &mut Tracked) -> Observed {
        tracked.state = tracked.observe(true);
        tracked.state
    }

    #[test]
    fn an_instance_serves_when_it_is_asked_to_and_its_probes_passed() {
        let mut it = tracked();
        let now = Instant::now();
        it.give(Some(Role::Warm));
        assert_eq!(see(&mut it), Observed::Unknown);
        it.probe_failed("refused".into());
        assert_eq!(see(&mut it), Observed::Warming);
        it.probe_passed(now);
        assert_eq!(see(&mut it), Observed::Warming);
        it.probe_passed(now);
        assert_eq!(see(&mut it), Observed::Ready);
        it.give(Some(Role::Serve));
        assert_eq!(see(&mut it), Observed::Serving);
    }

    #[test]
    fn drained_needs_confirmation_and_nothing_left_and_stays() {
        let mut it = tracked();
        it.give(Some(Role::Serve));
        assert!(it.target.enter());
        it.give(Some(Role::Drain));
        assert_eq!(see(&mut it), Observed::Draining);
        it.target.leave();
        assert_eq!(see(&mut it), Observed::Draining, "not confirmed");
        it.confirmed = true;
        assert_eq!(
            it.observe(false),
            Observed::Draining,
            "a predecessor has some"
        );
        it.target.open();
        assert_eq!(see(&mut it), Observed::Draining, "a connection is open");
        it.target.close();
        assert_eq!(see(&mut it), Observed::Drained);
        it.give(None);
        assert_eq!(it.observe(false), Observed::Drained, "latched");
        it.give(Some(Role::Serve));
        assert_eq!(see(&mut it), Observed::Unknown, "begins anew");
    }

    #[test]
    fn an_unhealthy_instance_that_served_is_suspended_and_comes_back_after_its_time() {
        let mut it = tracked();
        let now = Instant::now();
        it.give(Some(Role::Serve));
        it.has_served = true;
        it.probe_passed(now);
        it.probe_passed(now);
        assert_eq!(see(&mut it), Observed::Serving);
        it.eject(now, "refused".into());
        assert_eq!(see(&mut it), Observed::Suspended);
        assert_eq!(it.standing(it.state), Standing::Fallback);
        for _ in 0..5 {
            it.probe_passed(now);
        }
        assert_eq!(see(&mut it), Observed::Suspended, "its time is not over");
        it.probe_passed(now + SUSPENSION);
        assert_eq!(see(&mut it), Observed::Serving);
        it.eject(now + SUSPENSION * 2, "refused".into());
        it.probe_passed(now + SUSPENSION * 3);
        assert_eq!(see(&mut it), Observed::Suspended, "twice as long");
    }

    #[test]
    fn what_served_before_a_restart_serves_until_a_probe_says_no() {
        let mut it = tracked();
        it.give(Some(Role::Serve));
        it.trusted = true;
        let state = see(&mut it);
        assert_eq!(
            (state, it.standing(state)),
            (Observed::Unknown, Standing::In)
        );
        it.probe_failed("refused".into());
        let state = see(&mut it);
        assert_eq!(
            (state, it.standing(state)),
            (Observed::Suspended, Standing::Fallback)
        );
    }
}
