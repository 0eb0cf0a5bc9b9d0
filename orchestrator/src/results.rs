//! Results of task runs. Those of one execution that end together are one commit.
//!
//! Each result is written over the whole execution. Were each of them a commit of its own, three hundred branches
//! that end at once would refuse one another again and again. So a process commits what ended while its last
//! commit was on its way together; and once another process is seen to write the same execution, results go
//! through its mailbox, which one process at a time drains.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orchestrator_core::{ExecutionId, Target, TaskError, TaskResult, TaskRun};
use proto::status::{Failure, Kind};
use store::{Batch, Delivery, Mode, Outgoing, Refused, Then};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::commit::mailbox;
use crate::definition::{refused, unavailable};
use crate::engine::{Engine, Extra, TRIES, Tried};
use crate::record::{self, FINISHED};
use crate::turn::{Loaded, Step, weight};

/// Results of one commit at the most, and their bytes, about.
const TOGETHER: usize = 32;
const BYTES: usize = 256 * 1024;
/// So long an execution is taken to be worked on by others after they were seen there.
const SHARED: Duration = Duration::from_secs(10);
/// Executions remembered as worked on by others before those that are over are forgotten.
const REMEMBERED: usize = 256;

/// A run that ended, and who waits for its commit.
#[derive(Debug)]
struct Ended {
    run: TaskRun,
    delivery: Delivery,
    result: Result<TaskResult, TaskError>,
    known: Arc<Loaded>,
    told: oneshot::Sender<Result<(), Failure>>,
}

impl Ended {
    fn weight(&self) -> usize {
        match &self.result {
            Ok(result) => weight(&result.context) + weight(&result.outputs),
            Err(error) => weight(&error.context) + error.message.len(),
        }
    }

    fn step(&self) -> Step {
        Step::Finished(self.run.clone(), self.result.clone())
    }

    /// Who went away in the meantime needs no answer.
    fn tell(self, result: Result<(), Failure>) {
        let _ = self.told.send(result);
    }
}

/// Results that wait, by execution; who finds nobody before it commits for all that follow.
#[derive(Debug, Default)]
pub(crate) struct Results {
    lines: Mutex<BTreeMap<ExecutionId, VecDeque<Ended>>>,
    shared: Mutex<BTreeMap<ExecutionId, Instant>>,
}

/// The line of an execution, for whoever commits for it.
struct Line<'a> {
    results: &'a Results,
    id: ExecutionId,
    /// It was left empty. Another one of the same execution may stand there since.
    ended: bool,
}

/// What came of results that were to be committed together.
enum Committed {
    /// They are durable; what the execution is afterwards, as far as that is known.
    All(Option<Arc<Loaded>>),
    /// Somebody took one of them over, so none is.
    Fenced,
}

impl Results {
    fn lines(&self) -> std::sync::MutexGuard<'_, BTreeMap<ExecutionId, VecDeque<Ended>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands in line; the line itself for who is the first.
    fn join(&self, ended: Ended) -> Option<Line<'_>> {
        let id = ended.run.execution_id.clone();
        let mut lines = self.lines();
        if let Some(line) = lines.get_mut(&id) {
            line.push_back(ended);
            return None;
        }
        lines.insert(id.clone(), VecDeque::from([ended]));
        Some(Line {
            results: self,
            id,
            ended: false,
        })
    }

    /// Others work on this execution too.
    pub(crate) fn mark_shared(&self, id: &ExecutionId) {
        let now = Instant::now();
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.len() >= REMEMBERED {
            shared.retain(|_, until| *until > now);
        }
        shared.insert(id.clone(), now + SHARED);
    }

    fn shared(&self, id: &ExecutionId) -> bool {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.get(id).is_some_and(|until| *until > Instant::now())
    }
}

impl Line<'_> {
    /// The next that are committed together; none ends the line.
    fn next(&mut self) -> Vec<Ended> {
        let mut lines = self.results.lines();
        let Some(line) = lines.get_mut(&self.id) else {
            return Vec::new();
        };
        let (mut bytes, mut count) = (0, 0);
        for ended in line.iter().take(TOGETHER) {
            bytes += ended.weight();
            if count > 0 && bytes > BYTES {
                break;
            }
            count += 1;
        }
        if count == 0 {
            lines.remove(&self.id);
            self.ended = true;
            return Vec::new();
        }
        line.drain(..count).collect()
    }
}

impl Drop for Line<'_> {
    /// Should its holder panic, those who wait hear that nobody commits for them.
    fn drop(&mut self) {
        if !self.ended {
            self.results.lines().remove(&self.id);
        }
    }
}

impl Engine {
    /// Commits what follows from a run's result.
    pub(crate) async fn end_run(
        &self,
        run: &TaskRun,
        delivery: &Delivery,
        known: Arc<Loaded>,
        result: Result<TaskResult, TaskError>,
    ) -> Result<(), Failure> {
        let (told, answer) = oneshot::channel();
        let ended = Ended {
            run: run.clone(),
            delivery: delivery.clone(),
            result,
            known,
            told,
        };
        if let Some(mut line) = self.inner.results.join(ended) {
            let mut newest = None;
            loop {
                let group = line.next();
                if group.is_empty() {
                    break;
                }
                newest = self.end_together(group, newest).await;
            }
        }
        let gone = || Failure::new(Kind::Unavailable, "who committed for it ended");
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Commits results of one execution; the execution afterwards.
    async fn end_together(
        &self,
        group: Vec<Ended>,
        newest: Option<Arc<Loaded>>,
    ) -> Option<Arc<Loaded>> {
        let mut newest = newest;
        let mut groups = VecDeque::from([group]);
        while let Some(group) = groups.pop_front() {
            let known = group.iter().map(|ended| &ended.known);
            let known = known.chain(&newest).max_by_key(|known| known.version);
            let known = known.cloned();
            let outcome = self.end_group(&group, known).await;
            let alone = group.len() == 1;
            match outcome {
                Ok(Committed::All(after)) => {
                    newest = after;
                    group.into_iter().for_each(|ended| ended.tell(Ok(())));
                }
                // Its work is dropped.
                Ok(Committed::Fenced) if alone => {
                    group.into_iter().for_each(|ended| ended.tell(Ok(())))
                }
                Err(failure) if alone || !crate::worker::lasts(&failure) => {
                    newest = None;
                    for ended in group {
                        ended.tell(Err(failure.clone()));
                    }
                }
                // One after the other shows which it is, and does the others.
                Ok(Committed::Fenced) | Err(_) => {
                    groups.extend(group.into_iter().map(|ended| vec![ended]))
                }
            }
        }
        newest
    }

    /// One commit for all of them, or none.
    async fn end_group(
        &self,
        group: &[Ended],
        known: Option<Arc<Loaded>>,
    ) -> Result<Committed, Failure> {
        let Some((first, others)) = group.split_first() else {
            return Ok(Committed::All(known));
        };
        let id = &first.run.execution_id;
        let steps: Vec<Step> = group.iter().map(Ended::step).collect();
        let others: Vec<&Delivery> = others.iter().map(|ended| &ended.delivery).collect();
        let mut known = known;
        for _ in 0..TRIES {
            if self.inner.results.shared(id)
                && let Some(posted) = self.post(group).await?
            {
                return Ok(posted);
            }
            let loaded = match known.take() {
                Some(known) => known,
                None => match self.inner.executions.load(id.as_str()).await? {
                    Some(loaded) => Arc::new(loaded),
                    None => {
                        for ended in group {
                            self.drop_messages(&ended.delivery).await?;
                        }
                        return Ok(Committed::All(None));
                    }
                },
            };
            let extra = Extra {
                acknowledge: Some((&first.delivery, Then::Release)),
                released: &others,
                index: None,
            };
            let shard = first.delivery.lease.shard;
            match self.advance(&loaded, shard, &steps, extra).await? {
                Tried::Committed(after, _) => return Ok(Committed::All(Some(after))),
                Tried::Fenced => return Ok(Committed::Fenced),
                Tried::Conflict => self.inner.results.mark_shared(id),
                Tried::Refused(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(Failure::new(
            Kind::Conflict,
            "the execution was changed by others every time",
        ))
    }

    /// Puts results into the mailbox of their execution, whatever its version is; none if they are too large
    /// for it.
    async fn post(&self, group: &[Ended]) -> Result<Option<Committed>, Failure> {
        let Some(first) = group.first() else {
            return Ok(Some(Committed::All(None)));
        };
        if group.iter().map(Ended::weight).sum::<usize>() > BYTES / 2 {
            return Ok(None);
        }
        let to = Target::Execution(first.run.execution_id.clone());
        let mut batch = Batch::new(first.delivery.lease.shard, self.inner.ground.fresh_id());
        for ended in group {
            batch = batch
                .acknowledge(&ended.delivery, Then::Release)
                .message(message(ended, &to));
        }
        let committed = self.inner.store.commit(batch).await.map_err(unavailable)?;
        match committed {
            Ok(_) => {
                self.inner.metrics.committed(0);
                Ok(Some(Committed::All(None)))
            }
            Err(Refused::Fenced(_)) => Ok(Some(Committed::Fenced)),
            Err(other) => Err(refused(&other)),
        }
    }
}

fn message(ended: &Ended, to: &Target) -> Outgoing {
    let run = &ended.run;
    Outgoing {
        to: mailbox(to, &run.application),
        // Names the stage where those of other messages do.
        fingerprint: format!(
            "{FINISHED}/{}/{}#{}",
            run.stage_id, run.effect_id, run.number
        ),
        mode: Mode::Push,
        delay_ms: 0,
        body: record::finished(run, &ended.result).to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchestrator_core::testing;
    use orchestrator_core::{RunKind, StageId, Subject, TaskId};
    use store::{Address, Lease, Shards};

    fn ended() -> (Ended, oneshot::Receiver<Result<(), Failure>>) {
        let execution = testing::execution(&serde_json::json!([])).0;
        let run = TaskRun {
            execution_id: execution.id.clone(),
            application: "a".to_owned(),
            stage_id: StageId::new("S"),
            task_id: TaskId::new("1"),
            task_type: "t".to_owned(),
            run: RunKind::Run,
            number: 1,
            effect_id: "E/S/0/1".to_owned(),
        };
        let lease = Lease {
            shard: Shards::default().numbered(0),
            address: Address::new("q", "s", "g"),
            token: 1,
        };
        let (told, answer) = oneshot::channel();
        let ended = Ended {
            run,
            delivery: Delivery {
                lease,
                tries: 1,
                messages: Vec::new(),
            },
            result: Ok(TaskResult::succeeded()),
            known: Arc::new(Loaded {
                subject: Subject::Execution(Box::new(execution)),
                version: 1,
                answers: orchestrator_core::Answers::new(),
                application: "a".to_owned(),
                digest: None,
                stored: crate::large::Stored::default(),
            }),
            told,
        };
        (ended, answer)
    }

    #[test]
    fn a_line_that_ended_takes_nothing_from_the_one_after_it() {
        let results = Results::default();
        let mut first = results.join(ended().0).unwrap();
        assert!(results.join(ended().0).is_none());
        assert_eq!(first.next().len(), 2);
        assert!(first.next().is_empty());
        // Before the first lets go, somebody stands in a line of his own.
        let mut second = results.join(ended().0).unwrap();
        drop(first);
        assert_eq!(second.next().len(), 1);
    }

    #[test]
    fn who_waits_in_a_line_that_broke_off_hears_of_it() {
        let results = Results::default();
        let (first, mut answer) = ended();
        drop(results.join(first));
        assert!(answer.try_recv().is_err());
        assert!(results.join(ended().0).is_some());
    }
}
