//! The moment of a commit: what may go wrong around it, and what a worker has in
//! its hands afterwards.

use std::rc::Rc;
use std::sync::LazyLock;

use orchestrator::commit::{self, Acknowledge, Writing};
use orchestrator::turn::{Loaded, Turn};
use orchestrator_core::{Answers, Settings, TaskRun};
use store::embedded::Clock;
use store::{Refused, Store, Then};

use super::law::Verdict;
use super::worker::{Decided, Job, LEASE_MS, Work};
use super::world::{Control, World, now};

/// How the log names the engine that is tried.
static OWN: LazyLock<String> = LazyLock::new(|| orchestrator::record::engine(&Settings::default()));

/// What a batch is made of; a run is left to any worker if no place is free.
pub(crate) fn writing<'a>(
    world: &mut World,
    acknowledge: Option<Acknowledge<'a>>,
    turn: &Turn,
    answers: &'a Answers,
) -> Writing<'a> {
    world.commits += 1;
    Writing {
        shard: world.shard,
        id: format!("commit {}", world.commits),
        now: world.clock.now_ms(),
        acknowledge,
        leases: turn
            .runs
            .iter()
            .map(|_| world.random.chance(700).then_some(LEASE_MS))
            .collect(),
        answers,
        keep_ms: 1 << 40,
        engine: &OWN,
        limit: usize::MAX,
    }
}

impl World {
    /// At once, or after whatever comes between.
    pub(super) fn commit_soon(&mut self, worker: usize, decided: Decided, faults: u64) -> Verdict {
        if self.random.chance(faults) {
            let work = Work::Commit(Box::new(decided));
            self.jobs.push(Job {
                worker,
                at: 0,
                work,
            });
            return Ok(());
        }
        self.commit(worker, decided, faults)
    }

    pub(super) fn commit(&mut self, worker: usize, decided: Decided, faults: u64) -> Verdict {
        let Decided {
            loaded,
            turn,
            answers,
            delivery,
            again,
        } = decided;
        let then = match again {
            Work::Messages(..) => Then::Continue(LEASE_MS),
            _ => Then::Release,
        };
        if self.control == Control::SplitCommit && self.random.chance(20) {
            return self.split(worker, &loaded, &turn, &answers);
        }
        if self.control == Control::AcknowledgeFirst && self.random.chance(20) {
            let id = format!("acknowledge {}", delivery.lease.token);
            let batch = store::Batch::new(self.shard, id).acknowledge(&delivery, Then::Release);
            let _ = now(self.store.commit(batch)).map_err(|e| e.to_string())?;
            self.tell(|| format!("worker {worker} acknowledges and dies before it commits"));
            self.crash(worker);
            return Ok(());
        }
        let acknowledge = Some(Acknowledge {
            delivery: &delivery,
            then,
        });
        let mut writing = writing(self, acknowledge, &turn, &answers);
        let batch = commit::prepare(&loaded, &turn, &writing).batch;
        let mut answer = now(self.store.commit(batch.clone())).map_err(|e| e.to_string())?;
        if matches!(answer, Err(Refused::Busy(_))) {
            writing.leases.fill(None);
            let batch = commit::prepare(&loaded, &turn, &writing).batch;
            answer = now(self.store.commit(batch)).map_err(|e| e.to_string())?;
        } else if answer.is_ok() && turn.changes() && self.random.chance(faults / 4) {
            self.tell(|| format!("worker {worker} does not hear of its commit and repeats it"));
            answer = now(self.store.commit(batch)).map_err(|e| e.to_string())?;
            if !answer.as_ref().is_ok_and(|c| c.duplicate) {
                return Err(format!("a repeated commit was not found: {answer:?}"));
            }
        }
        match answer {
            Ok(committed) => {
                if let Work::Answer(_, run, ..) = &again {
                    self.watch.ended(run);
                }
                let dies = self.random.chance(faults / 4);
                self.follow(worker, &loaded, turn, &answers, committed)?;
                if dies {
                    self.crash(worker);
                }
                Ok(())
            }
            Err(Refused::Conflict { .. } | Refused::Guard(_)) => {
                self.tell(|| format!("worker {worker} meets another writer and loads again"));
                self.jobs.push(Job {
                    worker,
                    at: 0,
                    work: again,
                });
                Ok(())
            }
            Err(Refused::Fenced(to)) => {
                self.tell(|| format!("worker {worker} finds {} taken over", to.subject));
                Ok(())
            }
            Err(other) => Err(format!("refused: {other}")),
        }
    }

    /// After a commit: judged, its runs and further messages in this worker's hands.
    pub(crate) fn follow(
        &mut self,
        worker: usize,
        loaded: &Loaded,
        turn: Turn,
        answers: &Answers,
        committed: store::Committed,
    ) -> Verdict {
        let changed = turn.changes() || loaded.version == 0 || !answers.is_empty();
        let mut known = loaded.answers.clone();
        known.extend(answers.clone());
        if self.control != Control::NoFencing {
            self.peers.recorded(answers.keys())?;
        }
        let after = Rc::new(Loaded {
            version: loaded.version + u64::from(changed),
            subject: turn.subject.clone(),
            answers: known,
            application: loaded.application.clone(),
            digest: None,
            stored: Default::default(),
        });
        self.tell(|| {
            let status = after.execution().map(|e| {
                let stages = e
                    .stages
                    .iter()
                    .map(|s| format!(" {}={}", s.ref_id, s.status));
                format!("{}{}", e.status, stages.collect::<String>())
            });
            let kinds: Vec<_> = turn
                .inputs
                .iter()
                .map(|i| i["kind"].as_str().unwrap_or(""))
                .collect();
            let sent: Vec<_> = turn
                .messages
                .iter()
                .map(|m| m.message.fingerprint())
                .collect();
            format!(
                "worker {worker} commits {}: {}; sends {}",
                kinds.join(", "),
                status.unwrap_or_else(|| "the gate".to_owned()),
                sent.join(", ")
            )
        });
        for delivery in committed.leased {
            let run: TaskRun = serde_json::from_slice(&delivery.messages[0].body).expect("a run");
            self.jobs.push(Job {
                worker,
                at: 0,
                work: Work::Call(delivery, run, Some(after.clone())),
            });
        }
        let verdict = self.observe(&after, &turn);
        for delivery in committed.next {
            let work = Work::Messages(delivery, Some(after.clone()));
            self.jobs.push(Job {
                worker,
                at: 0,
                work,
            });
        }
        verdict
    }

    /// Saved, not pushed, not acknowledged: what a crash leaves of two steps.
    fn split(&mut self, worker: usize, loaded: &Loaded, turn: &Turn, answers: &Answers) -> Verdict {
        let writing = writing(self, None, turn, answers);
        let batch = commit::prepare(loaded, turn, &writing).batch;
        self.store.relax(false, true);
        let answer = now(self.store.commit(batch)).map_err(|e| e.to_string());
        self.store.relax(false, false);
        if answer?.is_ok() {
            self.tell(|| format!("worker {worker} saves and dies before it pushes"));
            self.crash(worker);
            let after = Loaded {
                subject: turn.subject.clone(),
                ..loaded.clone()
            };
            return self.observe(&after, turn);
        }
        Ok(())
    }

    pub(crate) fn crash(&mut self, worker: usize) {
        self.tell(|| format!("worker {worker} dies"));
        self.jobs.retain(|job| job.worker != worker);
    }
}
