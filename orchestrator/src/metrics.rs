//! What the engine counts, in Prometheus' text format. Labels are closed sets.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use orchestrator_core::Reason;

/// Counters of one process.
#[derive(Debug, Default)]
pub struct Metrics {
    conflicts: AtomicU64,
    commits: AtomicU64,
    messages: AtomicU64,
    runs: AtomicU64,
    ignored: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

impl Metrics {
    pub(crate) fn committed(&self, messages: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let messages = u64::try_from(messages).unwrap_or(u64::MAX);
        self.messages.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn conflicted(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ran(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ignored(&self, message: &'static str, reason: Reason) {
        let mut ignored = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        *ignored.entry((message, reason.as_str())).or_default() += 1;
    }

    /// All of them.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, help, counter) in [
            ("engine_commits_total", "turns committed", &self.commits),
            ("engine_messages_total", "messages handled", &self.messages),
            (
                "engine_commit_conflicts_total",
                "turns taken again",
                &self.conflicts,
            ),
            ("task_runs_total", "tasks run", &self.runs),
        ] {
            let value = counter.load(Ordering::Relaxed);
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}"
            );
        }
        let ignored = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "engine_ignored_total";
        let _ = writeln!(
            text,
            "# HELP {name} messages with nothing to do\n# TYPE {name} counter"
        );
        for ((message, reason), count) in ignored.iter() {
            let _ = writeln!(
                text,
                "{name}{{message=\"{message}\",reason=\"{reason}\"}} {count}"
            );
        }
        text
    }
}
