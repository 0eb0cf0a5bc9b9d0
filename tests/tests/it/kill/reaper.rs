//! Sees the log of every control plane of a world, and kills it after so many marks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tests::redis::CommandLog;

/// How the lines are recognised after which a kill may come.
pub(crate) const MARKS: [(Kind, &str); 3] = [
    (Kind::Commit, "committed"),
    (Kind::Step, "operation step"),
    (Kind::Generation, "generation applied"),
];
/// Marks whose commits are lost where commits are lost.
pub(crate) const LOST: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Commit,
    Step,
    Generation,
}

fn kind(line: &str) -> Option<Kind> {
    MARKS
        .iter()
        .find(|(_, mark)| line.contains(mark))
        .map(|(kind, _)| *kind)
}

/// Sees the log of every control plane of a world, and kills it after so many marks.
#[derive(Default)]
pub(crate) struct Reaper {
    /// Marks seen since the run began; `None` between runs.
    pub(crate) seen: Option<Vec<Kind>>,
    /// The numbers of marks after which to kill, ascending.
    pub(crate) kills: Vec<usize>,
    /// How many kills were done.
    pub(crate) done: usize,
    /// Do not kill, but count: somebody else is killed at these points.
    pub(crate) spare: bool,
    /// The size that Redis's log of commands had some marks before a kill.
    pub(crate) cut: Option<(CommandLog, u64)>,
}

impl Reaper {
    pub(crate) fn see(&mut self, pid: Pid, line: &str) {
        let (Some(kind), Some(seen)) = (kind(line), &mut self.seen) else {
            return;
        };
        seen.push(kind);
        if let Some((log, size)) = &mut self.cut
            && self
                .kills
                .first()
                .is_some_and(|at| seen.len() + LOST == *at)
        {
            *size = log.size().unwrap_or_default();
        }
        if self.kills.first().is_some_and(|at| seen.len() > *at) {
            self.kills.remove(0);
            self.done += 1;
            if !self.spare {
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
    }
}

pub(crate) fn lock(reaper: &Mutex<Reaper>) -> MutexGuard<'_, Reaper> {
    reaper.lock().unwrap_or_else(PoisonError::into_inner)
}
