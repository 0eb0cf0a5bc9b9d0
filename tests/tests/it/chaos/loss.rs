//! Redis killed with the end of its log lost, and what must be true of that: whole commits are lost, only
//! the last ones, and it is said.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tests::gate::{outline, store_notices};
use tests::{Stack, program};

use super::watch::Watch;

/// The load goes on so long after the log's size was taken: what it commits meanwhile is lost.
const LOST: Duration = Duration::from_millis(1_000);
/// A server that syncs every second writes no later than this what it acknowledged.
const WRITTEN: Duration = Duration::from_millis(2_200);
/// Executions whose logs are read.
const LOOKED_AT: usize = 60;
/// How often a log is asked for while processes are killed.
const TRIES: usize = 5;
/// What the product logs when it notices.
pub(crate) const NOTICED: &str = "redis lost acknowledged commits";

/// The entries of logs, by execution.
type Logs = BTreeMap<String, Vec<String>>;

/// What had been shown when Redis was killed.
pub(crate) struct Loss {
    /// What had reached the disk, which must still be there.
    kept: Logs,
    /// What had been acknowledged.
    shown: Logs,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Commits that were shown and lost.
    pub(crate) commits: usize,
    /// Executions that were begun in such a commit.
    pub(crate) vanished: Vec<String>,
    /// Executions that lost some, and went on.
    pub(crate) went_back: Vec<String>,
    pub(crate) faults: Vec<String>,
}

async fn log(gate: &tests::Gate, id: &str) -> Option<Vec<String>> {
    for _ in 0..TRIES {
        let answer = gate.http().get(&format!("/executions/{id}/log")).await;
        if let Ok(answer) = answer
            && answer.status == 200
        {
            // The first line is about the whole.
            return Some(
                answer
                    .text()
                    .lines()
                    .skip(1)
                    .map(ToOwned::to_owned)
                    .collect(),
            );
        }
    }
    None
}

async fn logs(gate: &tests::Gate, ids: &[String]) -> Logs {
    let reading: Vec<_> = ids
        .iter()
        .map(|id| {
            let (gate, id) = (gate.clone(), id.clone());
            tokio::spawn(async move { (log(&gate, &id).await, id) })
        })
        .collect();
    let mut found = Logs::new();
    for read in reading {
        if let (Some(log), id) = read.await.unwrap() {
            found.insert(id, log);
        }
    }
    found
}

/// Kills Redis under load and has it begin again with less than it had acknowledged.
pub(crate) async fn cause(stack: &mut Stack, watch: &Watch) -> Loss {
    let gate = stack.gate.clone();
    let kept = logs(&gate, &watch.last(LOOKED_AT)).await;
    let redis = stack.redis.as_mut().unwrap();
    // A log that is written anew meanwhile could not be cut.
    let set = redis
        .command("CONFIG SET auto-aof-rewrite-percentage 0")
        .await;
    set.unwrap();
    tokio::time::sleep(WRITTEN).await;
    let size = redis.log().size().unwrap();
    tokio::time::sleep(LOST).await;
    let shown = logs(&gate, &watch.last(LOOKED_AT)).await;
    redis.kill_and_restart_with(size).await.unwrap();
    Loss { kept, shown }
}

fn common(one: &[String], other: &[String]) -> usize {
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| one == other).count()
}

impl Loss {
    /// Compares what was shown with what is there at the end.
    pub(crate) async fn judge(&self, stack: &Stack, executions: &BTreeMap<String, Value>) -> Found {
        let ids: Vec<String> = executions.keys().cloned().collect();
        let wanted = |id: &&String| self.kept.contains_key(*id) || self.shown.contains_key(*id);
        let ids: Vec<String> = ids.iter().filter(wanted).cloned().collect();
        let now = logs(&stack.gate, &ids).await;
        let mut found = compare(self, &now);
        for id in &found.went_back {
            let execution = &executions[id];
            if store_notices(execution) == 0 {
                let outline = outline(execution);
                found
                    .faults
                    .push(format!("not said of what went back: {outline}"));
            }
            // Each commit that is left is whole: folded, they give the states whose hashes they carry.
            let data = stack.data.display().to_string();
            let gennaker = stack.program("gennaker").unwrap();
            let arguments = ["execution", "replay", id, "--verify", "--data", &data];
            if let Err(error) = program::run(&gennaker, arguments).await {
                found.faults.push(format!("{id}: {error:#}"));
            }
        }
        found
    }
}

/// What is lost of what was shown, and whether it is only the last.
fn compare(loss: &Loss, now: &Logs) -> Found {
    let mut found = Found::default();
    for (id, kept) in &loss.kept {
        let left = now.get(id).map_or(0, |log| common(kept, log));
        if left < kept.len() {
            found.faults.push(format!(
                "{id}: {left} of {} commits that were on the disk are left",
                kept.len()
            ));
        }
    }
    for (id, shown) in &loss.shown {
        let left = now.get(id).map_or(0, |log| common(shown, log));
        found.commits += shown.len() - left;
        if left == 0 {
            found.vanished.push(id.clone());
        } else if left < shown.len() {
            found.went_back.push(id.clone());
        }
    }
    found
}

#[test]
fn only_the_last_commits_may_be_lost() {
    let logs = |entries: &[&str]| -> Logs {
        let entries = entries.iter().map(|entry| (*entry).to_owned()).collect();
        [("e".to_owned(), entries)].into()
    };
    let loss = Loss {
        kept: logs(&["1", "2"]),
        shown: logs(&["1", "2", "3", "4"]),
    };
    let well = compare(&loss, &logs(&["1", "2", "3", "other"]));
    assert_eq!(
        (well.commits, well.went_back.len(), well.faults.len()),
        (1, 1, 0)
    );
    let ill = compare(&loss, &logs(&["1", "other", "3", "4"]));
    assert_eq!((ill.commits, ill.faults.len()), (3, 1));
    let gone = compare(&loss, &Logs::new());
    assert_eq!((gone.vanished.len(), gone.faults.len()), (1, 1));
}
