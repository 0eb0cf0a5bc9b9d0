//! Somebody who kills and stops one process after another, as a seed says.
//!
//! What is done at a tick is a function of the seed and of what runs ([`Schedule`]); the rest sends signals.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::replicas;

/// From one kill to the next.
pub const TICK: Duration = Duration::from_millis(200);
/// A worker is stopped every so many ticks, for a time that is longer than its leases (3 s).
const WORKER: (u64, u64) = (15, 22);
/// So many ticks after it went on it is not killed: what it does late is to be seen.
const SPARED: u64 = 5;
/// Redis is stopped every so many ticks, for so many at the most.
const REDIS: (u64, u64) = (50, 8);
/// Who is stopped half of the time; otherwise it is anybody.
const WORKERS: &str = "orchestrator";

/// What is done to one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL.
    Kill(i32),
    /// SIGSTOP.
    Stop(i32),
    /// SIGCONT.
    Continue(i32),
}

impl Act {
    fn perform(self) {
        let (pid, signal) = match self {
            Self::Kill(pid) => (pid, Signal::KILL),
            Self::Stop(pid) => (pid, Signal::STOP),
            Self::Continue(pid) => (pid, Signal::CONT),
        };
        if let Some(pid) = Pid::from_raw(pid) {
            // It may have ended meanwhile.
            let _gone = kill_process(pid, signal);
        }
    }
}

/// How much was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Processes killed, by service.
    pub kills: BTreeMap<&'static str, usize>,
    /// Processes stopped past their leases.
    pub stops: usize,
    /// How often Redis was stopped.
    pub redis: usize,
}

impl Done {
    /// Processes killed.
    pub fn killed(&self) -> usize {
        self.kills.values().sum()
    }
}

/// What is done when.
#[derive(Debug)]
pub struct Schedule {
    random: StdRng,
    redis: Option<i32>,
    tick: u64,
    /// When who was stopped goes on.
    stopped: BTreeMap<i32, u64>,
    /// Until when who is not killed.
    spared: BTreeMap<i32, u64>,
    done: Done,
}

impl Schedule {
    /// Of a seed; with a process of Redis it is stopped now and then.
    pub fn new(seed: u64, redis: Option<i32>) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            redis,
            tick: 0,
            stopped: BTreeMap::new(),
            spared: BTreeMap::new(),
            done: Done::default(),
        }
    }

    /// What is done at the next tick to these processes, by service.
    pub fn next(&mut self, running: &BTreeMap<&'static str, Vec<i32>>) -> Vec<Act> {
        self.tick += 1;
        let now = self.tick;
        let mut acts = self.continued(|due| due <= now);
        self.spared.retain(|_, until| *until > now);
        let spared = &self.spared;
        let of = |service: &'static str, pids: &[i32]| -> Vec<(&'static str, i32)> {
            let free = pids.iter().filter(|pid| !spared.contains_key(pid));
            free.map(|pid| (service, *pid)).collect()
        };
        let mut free: Vec<_> = running.iter().flat_map(|(s, pids)| of(s, pids)).collect();
        if now.is_multiple_of(WORKER.0) {
            let only = self.random.random_bool(0.5);
            let fits = |(service, _): &&(&str, i32)| !only || *service == WORKERS;
            let candidates: Vec<_> = free.iter().filter(fits).copied().collect();
            if let Some((_, pid)) = self.one(&candidates) {
                free.retain(|(_, other)| *other != pid);
                self.stopped.insert(pid, now + WORKER.1);
                self.spared.insert(pid, now + WORKER.1 + SPARED);
                self.done.stops += 1;
                acts.push(Act::Stop(pid));
            }
        }
        if let Some(redis) = self.redis
            && now.is_multiple_of(REDIS.0)
        {
            let ticks = self.random.random_range(1..=REDIS.1);
            self.stopped.insert(redis, now + ticks);
            self.done.redis += 1;
            acts.push(Act::Stop(redis));
        }
        if let Some((service, pid)) = self.one(&free) {
            *self.done.kills.entry(service).or_default() += 1;
            acts.push(Act::Kill(pid));
        }
        acts
    }

    /// Lets everybody go on that was stopped.
    pub fn end(&mut self) -> Vec<Act> {
        self.continued(|_| true)
    }

    fn continued(&mut self, due: impl Fn(u64) -> bool) -> Vec<Act> {
        let over = self.stopped.extract_if(.., |_, at| due(*at));
        over.map(|(pid, _)| Act::Continue(pid)).collect()
    }

    fn one(&mut self, of: &[(&'static str, i32)]) -> Option<(&'static str, i32)> {
        let index = self.random.random_range(0..of.len().max(1));
        of.get(index).copied()
    }
}

/// A schedule that is being carried out.
pub struct Havoc {
    stop: watch::Sender<bool>,
    task: JoinHandle<Done>,
}

impl Havoc {
    /// Begins with the replicas of a supervisor.
    pub fn begin(supervisor: i32, mut schedule: Schedule) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = stopped.changed() => break,
                }
                let acts = schedule.next(&replicas::of(supervisor));
                acts.into_iter().for_each(Act::perform);
            }
            schedule.end().into_iter().for_each(Act::perform);
            schedule.done
        });
        Self { stop, task }
    }

    /// Ends it and lets everybody go on; answers what was done.
    ///
    /// # Errors
    /// It failed.
    pub async fn end(self) -> Result<Done> {
        self.stop.send_replace(true);
        self.task.await.context("whoever kills and stops failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS_PID: i32 = 99;

    fn running() -> BTreeMap<&'static str, Vec<i32>> {
        [
            ("orchestrator", vec![1, 2, 3]),
            ("gateway", vec![4, 5, 6]),
            ("trigger", vec![7]),
        ]
        .into()
    }

    fn play(seed: u64, ticks: u64) -> (Vec<Vec<Act>>, Schedule) {
        let mut schedule = Schedule::new(seed, Some(REDIS_PID));
        let acts = (0..ticks).map(|_| schedule.next(&running())).collect();
        (acts, schedule)
    }

    #[test]
    fn the_same_seed_does_the_same_and_another_something_else() {
        assert_eq!(play(7, 200).0, play(7, 200).0);
        assert_ne!(play(7, 200).0, play(8, 200).0);
    }

    #[test]
    fn somebody_is_killed_at_every_tick_and_never_who_is_stopped_or_just_went_on() {
        for seed in 0..20 {
            let (acts, mut schedule) = play(seed, 300);
            let mut stopped: BTreeMap<i32, usize> = BTreeMap::new();
            for (tick, acts) in acts.iter().enumerate() {
                let kills = acts.iter().filter(|act| matches!(act, Act::Kill(_)));
                assert_eq!(kills.count(), 1, "{acts:?}");
                for act in acts {
                    match act {
                        Act::Stop(pid) => assert_eq!(stopped.insert(*pid, tick), None),
                        Act::Continue(pid) => assert!(stopped.remove(pid).is_some()),
                        Act::Kill(pid) => {
                            assert!(!stopped.contains_key(pid) && *pid != REDIS_PID);
                        }
                    }
                }
            }
            let left: Vec<Act> = stopped.into_keys().map(Act::Continue).collect();
            assert_eq!(schedule.end(), left);
            assert_eq!((schedule.done.killed(), schedule.done.redis), (300, 6));
            assert!(schedule.done.stops >= 15, "{:?}", schedule.done);
        }
    }
}
