//! Readers that note the status of everything they are shown, and what left a terminal one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tests::gate::{COMPLETE, Gate};
use tests::live;
use tokio::task::JoinHandle;

use super::work::{self, APPLICATION};

/// Between two polls.
const POLL: Duration = Duration::from_secs(1);
/// Executions of each pipeline that a poll looks at.
const LATEST: usize = 25;

/// A terminal status that was followed by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) execution: String,
    /// Empty: the execution itself.
    pub(crate) stage: String,
    pub(crate) from: String,
    pub(crate) to: String,
}

/// What one reader was shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Status by execution and stage.
    statuses: BTreeMap<(String, String), String>,
    /// Executions, in the order they were first shown.
    pub(crate) executions: Vec<String>,
    pub(crate) left: Vec<Left>,
    /// Statuses noted.
    pub(crate) seen: usize,
}

impl Shown {
    pub(crate) fn note(&mut self, execution: &str, stage: &str, status: &str) {
        self.seen += 1;
        let key = (execution.to_owned(), stage.to_owned());
        let before = self.statuses.insert(key, status.to_owned());
        if before.is_none() && stage.is_empty() {
            self.executions.push(execution.to_owned());
        }
        let terminal = before.filter(|before| COMPLETE.contains(&before.as_str()));
        if let Some(from) = terminal.filter(|from| from != status) {
            self.left.push(Left {
                execution: execution.to_owned(),
                stage: stage.to_owned(),
                from,
                to: status.to_owned(),
            });
        }
    }

    /// What was shown as ended at last: execution, stage, status.
    pub(crate) fn terminal(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let ended = self.statuses.iter();
        let ended = ended.filter(|(_, status)| COMPLETE.contains(&status.as_str()));
        ended.map(|((execution, stage), status)| {
            (execution.as_str(), stage.as_str(), status.as_str())
        })
    }

    /// An execution that somebody was shown as a whole.
    fn whole(&mut self, execution: &Value, with_stages: bool) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = text(&execution["id"]);
        self.note(&id, "", &text(&execution["status"]));
        let stages = execution["stages"].as_array().into_iter().flatten();
        for stage in stages.filter(|_| with_stages) {
            self.note(&id, &text(&stage["id"]), &text(&stage["status"]));
        }
    }

    /// An event of the live tail. A snapshot is read before the events that follow it are, so of it
    /// only what cannot be older than they are is noted: whether the executions are open.
    fn live(&mut self, event: &str, data: &Value) {
        match event {
            "snapshot" => {
                let open = data["executions"].as_array().into_iter().flatten();
                open.for_each(|execution| self.whole(execution, false));
            }
            "execution" => {
                let detail = &data["event"]["detail"];
                let kind = data["event"]["type"].as_str().unwrap_or_default();
                let text = |key: &str| detail[key].as_str().unwrap_or_default();
                match kind.split(':').next() {
                    Some("execution") => self.note(text("executionId"), "", text("status")),
                    Some("stage") => {
                        self.note(text("executionId"), text("stageId"), text("status"));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// Two readers: one of the live tail, one who polls. Each judges by what it alone was shown, in order.
pub(crate) struct Watch {
    shown: [Arc<Mutex<Shown>>; 2],
    tasks: [JoinHandle<()>; 2],
}

fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    pub(crate) fn begin(gate: &Gate) -> Self {
        let shown: [Arc<Mutex<Shown>>; 2] = Default::default();
        let (tail, polled) = (Arc::clone(&shown[0]), Arc::clone(&shown[1]));
        let client = gate.http().clone();
        let following = tokio::spawn(async move {
            let path = format!("/live?application={APPLICATION}");
            live::follow(&client, &path, |event, data| lock(&tail).live(event, data)).await;
        });
        let gate = gate.clone();
        let polling = tokio::spawn(async move {
            loop {
                // Who cannot be reached now is asked again.
                for execution in work::latest(&gate, LATEST).await.unwrap_or_default() {
                    lock(&polled).whole(&execution, true);
                }
                tokio::time::sleep(POLL).await;
            }
        });
        Self {
            shown,
            tasks: [following, polling],
        }
    }

    /// The executions that were shown last, at most so many.
    pub(crate) fn last(&self, most: usize) -> Vec<String> {
        let shown = lock(&self.shown[0]);
        shown.executions.iter().rev().take(most).cloned().collect()
    }

    /// Ends it; what each was shown.
    pub(crate) fn end(self) -> [Shown; 2] {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.shown.map(|shown| std::mem::take(&mut *lock(&shown)))
    }
}

#[test]
fn a_terminal_status_that_is_left_is_noted_and_one_that_is_repeated_is_not() {
    let mut shown = Shown::default();
    for status in ["RUNNING", "SUCCEEDED", "SUCCEEDED"] {
        shown.note("e", "", status);
        shown.note("e", "s", status);
    }
    assert_eq!((shown.left.len(), shown.executions.len()), (0, 1));
    shown.note("e", "s", "RUNNING");
    let left = Left {
        execution: "e".to_owned(),
        stage: "s".to_owned(),
        from: "SUCCEEDED".to_owned(),
        to: "RUNNING".to_owned(),
    };
    assert_eq!(shown.left, [left]);
}
