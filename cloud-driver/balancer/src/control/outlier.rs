//! Leaving out instances that requests fail at, never more than the group can spare.
//!
//! Two limits hold together: a share of the group, and its floor, the number of instances that stay
//! in whatever happens. Probes obey neither: an instance that says of itself that it cannot serve is
//! believed, until none of a load balancer is left; then all that are suspended serve.

use std::time::Instant;

use balancer::{Outlier, Role};

use super::plane::{GroupKey, Inner};
use super::tracked::Tracked;
use crate::fault::Fault;

/// What holds for ejections of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) outlier: Outlier,
    /// Instances that stay in.
    pub(crate) floor: u32,
}

impl Rules {
    /// Those of a group.
    pub(crate) fn of(group: &balancer::Group) -> Self {
        Self {
            outlier: group.outlier.clone().unwrap_or_default(),
            floor: group.floor,
        }
    }
}

/// A group's instances that are meant to serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Standings {
    all: usize,
    serving: usize,
    ejected: usize,
}

impl Standings {
    /// Why one that serves must not be left out.
    fn forbid(self, rules: &Rules) -> Option<String> {
        let percent = rules.outlier.max_ejection_percent;
        if (self.ejected + 1) * 100 > self.all * percent as usize {
            return Some(format!("at most {percent} % of its group may be left out"));
        }
        let floor = rules.floor as usize;
        let stays = self.serving.saturating_sub(1) < floor && !Fault::NoFloor.is_on();
        (stays && floor > 0).then(|| format!("{floor} of its group must stay in"))
    }
}

/// Why requests say that an instance does not work.
fn complaint(tracked: &Tracked) -> Option<String> {
    let failures = tracked.target.failures();
    if failures >= tracked.rules.outlier.consecutive_failures {
        return Some(format!("{failures} requests in a row failed at it"));
    }
    let most = tracked.rules.outlier.consecutive_5xx?;
    let errors = tracked.target.server_errors();
    (errors >= most).then(|| format!("{errors} of its answers in a row were 5xx"))
}

impl Inner {
    /// Leaves out instances that requests fail at.
    pub(crate) fn eject(&mut self, now: Instant) {
        let mut failing = Vec::new();
        for (id, tracked) in &self.tracked {
            let serves = tracked.role == Some(Role::Serve) && !tracked.is_ejected();
            if let Some(why) = complaint(tracked).filter(|_| serves) {
                failing.push((id.clone(), why));
            }
        }
        for (id, why) in failing {
            let Some((key, serves)) = self.tracked.get(&id).map(|t| (t.key(), t.healthy)) else {
                continue;
            };
            let standings = self.standings(&key);
            let Some(tracked) = self.tracked.get_mut(&id) else {
                continue;
            };
            let forbidden = standings.forbid(&tracked.rules).filter(|_| serves);
            if let Some(forbidden) = forbidden {
                tracked.reason = Some(format!("{why}; it goes on serving: {forbidden}"));
                continue;
            }
            tracked.target.forget_failures();
            tracked.eject(now, why);
        }
    }

    /// A group below its floor waits for no ejection's time to be over: who passes its probes comes
    /// back.
    pub(crate) fn recall(&mut self, now: Instant) {
        let ejected = self.tracked.values().filter(|t| t.is_ejected());
        let short: Vec<GroupKey> = ejected
            .filter(|t| self.standings(&t.key()).serving < t.rules.floor as usize)
            .map(Tracked::key)
            .collect();
        for tracked in self.tracked.values_mut() {
            if tracked.is_ejected() && short.contains(&tracked.key()) {
                tracked.recall(now);
            }
        }
    }

    fn standings(&self, key: &GroupKey) -> Standings {
        let mut standings = Standings::default();
        for tracked in self.tracked.values() {
            if tracked.role == Some(Role::Serve) && tracked.is_of(key) {
                standings.all += 1;
                standings.serving += usize::from(tracked.healthy);
                standings.ejected += usize::from(tracked.is_ejected());
            }
        }
        standings
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::control::metrics::Ejection;
    use crate::proxy::target::Target;

    /// A group of so many instances that serve.
    fn group(count: usize, rules: &Rules, now: Instant) -> Inner {
        let mut inner = Inner::default();
        for n in 0..count {
            let id = format!("i{n}");
            let address = ([127, 0, 0, 1], 1).into();
            let target = Arc::new(Target::new(id.clone(), address, Arc::default()));
            let mut tracked = Tracked::new(target, "b", "g", 0);
            tracked.follow(rules);
            tracked.give(Some(Role::Serve));
            tracked.probe_passed(now);
            tracked.probe_passed(now);
            inner.tracked.insert(id, tracked);
        }
        inner.look();
        inner
    }

    fn key() -> GroupKey {
        ("b".into(), "g".into())
    }

    /// What came of a sequence.
    #[derive(Debug, Default)]
    struct Played {
        ejections: u64,
        kept: u64,
        returned: u64,
        /// Ejections that left fewer than the floor, or left out more than the share.
        wrong: Vec<String>,
    }

    /// Plays a random sequence of failures, 5xx, good answers, probes, roles and time under `rules`,
    /// and judges each ejection by `floor`.
    fn play(seed: u64, count: usize, rules: &Rules, floor: usize, played: &mut Played) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut now = Instant::now();
        let mut inner = group(count, rules, now);
        for step in 0..200 {
            let id = format!("i{}", random.random_range(0..count));
            let tracked = inner.tracked.get_mut(&id).unwrap();
            let before = tracked.is_ejected();
            match random.random_range(0..20) {
                0..=7 => tracked.target.failed(),
                8..=10 => tracked.target.answered(500),
                11 => tracked.target.answered(200),
                12..=15 => tracked.probe_passed(now),
                16 => tracked.probe_failed("sick".into()),
                17 => tracked.give(Some(Role::Drain)),
                18 => tracked.give(Some(Role::Serve)),
                _ => now += Duration::from_millis(random.random_range(0..3_000)),
            }
            let returned = before && !inner.tracked[&id].is_ejected();
            played.returned += u64::from(returned);
            let before = inner.standings(&key());
            inner.eject(now);
            let after = inner.standings(&key());
            played.ejections += (after.ejected - before.ejected) as u64;
            let kept = |t: &&Tracked| t.healthy && t.reason.is_some();
            played.kept += inner.tracked.values().filter(kept).count() as u64;
            let most = after.all * rules.outlier.max_ejection_percent as usize;
            let fell = after.serving < before.serving;
            if fell && (after.serving < floor || after.ejected * 100 > most) {
                let what = format!("seed {seed}, step {step}: {before:?}, then {after:?}");
                played.wrong.push(what);
            }
            inner.look();
        }
    }

    fn rules(floor: u32, percent: u32) -> Rules {
        Rules {
            outlier: Outlier {
                consecutive_5xx: Some(2),
                max_ejection_percent: percent,
                ..Outlier::default()
            },
            floor,
        }
    }

    #[test]
    fn no_ejection_leaves_fewer_than_the_floor_or_takes_more_than_the_share() {
        let mut played = Played::default();
        for seed in 0..300 {
            let mut random = StdRng::seed_from_u64(seed + 1_000_000);
            let count = random.random_range(1..9);
            let floor = random.random_range(0..u32::try_from(count).unwrap() + 2);
            let rules = rules(floor, *[0, 30, 50, 100].get(seed as usize % 4).unwrap());
            play(seed, count, &rules, floor as usize, &mut played);
        }
        assert_eq!(played.wrong, Vec::<String>::new());
        let all = [played.ejections, played.kept, played.returned];
        assert!(all.iter().all(|times| *times > 100), "{played:?}");
    }

    #[test]
    fn control_without_its_floor_a_group_falls_below_it() {
        let mut played = Played::default();
        for seed in 0..20 {
            play(seed, 4, &rules(0, 100), 3, &mut played);
        }
        assert!(!played.wrong.is_empty());
    }

    #[test]
    fn a_group_below_its_floor_takes_back_who_passes_its_probes() {
        let now = Instant::now();
        let mut inner = group(3, &rules(2, 50), now);
        for _ in 0..3 {
            inner.tracked["i0"].target.failed();
        }
        inner.eject(now);
        inner.look();
        let ejected = inner.standings(&key()).ejected;
        let told = inner.ejections[&key()];
        assert_eq!((ejected, told.of(Ejection::Requests)), (1, 1));
        let reason = inner.tracked["i0"].reason.clone().unwrap();
        assert_eq!(reason, "3 requests in a row failed at it");
        let pass = |inner: &mut Inner| {
            for _ in 0..2 {
                let first = inner.tracked.get_mut("i0").unwrap();
                first.probe_passed(Instant::now());
            }
            inner.look();
            inner.standings(&key())
        };
        assert_eq!(pass(&mut inner).serving, 2, "its time is not over");
        // Another one says itself that it cannot serve: one is left.
        for _ in 0..3 {
            let other = inner.tracked.get_mut("i1").unwrap();
            other.probe_failed("sick".into());
        }
        inner.look();
        let now = pass(&mut inner);
        assert_eq!((now.serving, now.ejected), (2, 0));
    }
}
