//! The world of one seed: the store in memory on a clock that the runtime holds, the peer,
//! chance, and what is seen of every commit.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orchestrator::commit;
use orchestrator::executions::Executions;
use orchestrator::task::Pool;
use orchestrator_core::{ErrorClass, Execution, RunKind, Status, Subject, TaskId, TaskRun};
use proto::message::{EXECUTION_REQUESTS, OPERATION_FINISHED};
use serde_json::{Map, Value};
use store::embedded::{Clock, Embedded};
use store::{Batch, Committed, Error, MAILBOX, Order, Refused, Reserve, Shard, Shards, Store};
use tokio::time::Instant;

use super::super::law::{Invariant, Verdict};
use super::super::peers::Peers;
use super::super::plan::{Asked, Plan};
use super::super::random::Random;
use super::super::shape::summary;
use super::super::watch::{Handled, Seen, Watch};
use super::super::world::{START, now};
use super::life::Life;
use super::toys::{Question, Says};

/// What is wrong with the product, to show that the simulator would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Nothing.
    None,
    /// No lease is renewed. That alone costs time and nothing else.
    NeverRenewed,
    /// Nor are leases and versions compared.
    NeitherRenewedNorFenced,
    /// Commits are answered before they are durable, and some never are.
    AnsweredFirst,
}

impl Control {
    pub(super) fn renews(self) -> bool {
        !matches!(self, Self::NeverRenewed | Self::NeitherRenewedNorFenced)
    }

    pub(super) fn fences(self) -> bool {
        self != Self::NeitherRenewedNorFenced
    }
}

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Well,
    Refused,
    DiesBefore,
    DiesAfter,
    Lost,
    Repeated,
}

/// The clock of store and services, held by the runtime.
pub(super) struct Time {
    begun: Instant,
    /// How far the store's clock is ahead, ms.
    ahead: AtomicI64,
}

impl Time {
    pub(super) fn true_ms(&self) -> i64 {
        START + i64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }
}

impl Clock for Time {
    fn now_ms(&self) -> i64 {
        self.true_ms() + self.ahead.load(Ordering::Relaxed)
    }
}

pub(crate) struct World {
    pub(super) plan: Plan,
    pub(super) control: Control,
    pub(super) time: Arc<Time>,
    pub(super) store: Arc<Embedded>,
    pub(super) executions: Executions,
    pub(super) shard: Shard,
    /// Nothing goes wrong any more.
    pub(super) calm: AtomicBool,
    pub(super) commits: AtomicU64,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) random: Random,
    pub(super) watch: Watch,
    pub(super) peers: Peers,
    /// Of the executions, by number, and of the gate.
    versions: Vec<u64>,
    gate_version: u64,
    broken: Option<String>,
    pub(super) story: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, control: Control, tells: bool) -> Self {
        let plan = Plan::new(seed);
        let time = Arc::new(Time {
            begun: Instant::now(),
            ahead: AtomicI64::new(0),
        });
        let store = Arc::new(Embedded::in_memory(time.clone(), Shards::new(1)));
        store.relax(!control.fences(), false);
        Self {
            executions: Executions::new(store.clone()),
            shard: Shards::new(1).of_application("shop"),
            calm: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            state: Mutex::new(State {
                random: Random::new(seed.wrapping_mul(37) + 11),
                watch: Watch {
                    limit: plan.limit,
                    ..Watch::default()
                },
                peers: Peers::default(),
                versions: Vec::new(),
                gate_version: 0,
                broken: None,
                story: tells.then(Vec::new),
            }),
            plan,
            control,
            time,
            store,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.state().story {
            let ms = self.time.true_ms() - START;
            story.push(format!("{ms:>9} {}", line()));
        }
    }

    /// The first law that did not hold.
    pub(super) fn verdict(&self) -> Verdict {
        self.state().broken.clone().map_or(Ok(()), Err)
    }

    pub(super) fn judge(&self, verdict: Verdict) {
        if let Err(error) = verdict {
            self.state().broken.get_or_insert(error);
        }
    }

    /// How often things go wrong, of a thousand times.
    fn faults(&self) -> u64 {
        let calm = self.calm.load(Ordering::Relaxed);
        if calm { 0 } else { self.plan.faults }
    }

    pub(super) fn chance(&self, of_a_thousand: u64) -> bool {
        self.state().random.chance(of_a_thousand)
    }

    pub(super) fn between(&self, low: i64, high: i64) -> u64 {
        let drawn = self.state().random.between(low, high);
        u64::try_from(drawn).unwrap_or(0)
    }

    /// One of `part` things that may go wrong does now.
    pub(super) fn goes_wrong(&self, part: u64) -> bool {
        self.chance(self.faults() / part)
    }

    /// What lies between two sides takes this long, ms.
    pub(super) fn delay_ms(&self) -> u64 {
        if self.goes_wrong(16) {
            return self.between(1_000, 15_000);
        }
        if self.chance(600) {
            0
        } else {
            self.between(1, 5)
        }
    }

    pub(super) fn fate(&self) -> Fate {
        if !self.goes_wrong(1) {
            return Fate::Well;
        }
        let fates = [
            Fate::Refused,
            Fate::DiesBefore,
            Fate::DiesAfter,
            Fate::Lost,
            Fate::Repeated,
        ];
        fates[self.state().random.below(fates.len())]
    }

    /// A number that nobody can guess, but for the seed.
    pub(super) fn number(&self) -> u128 {
        let random = &mut self.state().random;
        u128::from(random.next()) << 64 | u128::from(random.next())
    }

    /// The store's clock jumps.
    pub(super) fn jump(&self, ms: i64) {
        self.time.ahead.fetch_add(ms, Ordering::Relaxed);
    }

    /// Commits, and judges what that has made of the store.
    pub(super) async fn commit(
        &self,
        life: &Life,
        batch: Batch,
    ) -> Result<Result<Committed, Refused>, Error> {
        let undone = self.control == Control::AnsweredFirst && self.chance(20);
        let before = undone.then(|| self.store.copy());
        let answer = self.store.commit(batch).await?;
        if let Some(before) = before {
            self.tell(|| format!("a commit of {} is answered and never made", life.name));
            self.store.put_back(before);
        } else if answer.is_ok() {
            self.commits.fetch_add(1, Ordering::Relaxed);
            let verdict = self.observe(life);
            self.judge(verdict);
        }
        Ok(answer)
    }

    /// Looks for what a commit changed.
    fn observe(&self, life: &Life) -> Verdict {
        let listing = commit::listing("pipelines", "shop");
        let page = self
            .store
            .page(self.shard, &listing, None, Order::Ascending, 500);
        let ids = page.now("index")?.into_iter().map(|entry| entry.member);
        for id in ids {
            let key = [commit::execution_key(&id)];
            let part = self.store.load_part(self.shard, &key, commit::DIGEST);
            let version = part.now("version")?.pop().flatten().map(|(v, _)| v);
            let version = version.ok_or_else(|| format!("{id} is gone"))?;
            let state = self.state();
            let position = state.watch.seen.iter().position(|seen| seen.id == id);
            // Unfenced writers write the same version twice.
            let known = |number: usize| state.versions[number] == version && self.control.fences();
            if !position.is_some_and(known) {
                drop(state);
                self.committed(life, &id, position, version)?;
            }
        }
        let gate = "gate:config";
        let found = self.executions.subject(self.shard, gate, "shop");
        let found = now(found).map_err(|e| e.to_string())?;
        let queued = self.queued().is_some();
        let state = &mut *self.state();
        if let Some(loaded) = found
            && loaded.version != state.gate_version
            && let Subject::PipelineGate(gate) = loaded.subject
        {
            state.gate_version = loaded.version;
            state.watch.gate = Some(gate);
        }
        state.watch.will_wake(queued)
    }

    fn committed(&self, life: &Life, id: &str, position: Option<usize>, version: u64) -> Verdict {
        let execution = self.stored(id)?;
        let entry = match self.entry(id, version) {
            // Whose versions nobody compares has no log that goes by them.
            Err(_) if !self.control.fences() => Map::new(),
            entry => entry?,
        };
        let inputs = entry.get("inputs").and_then(Value::as_array);
        let inputs = inputs.cloned().unwrap_or_default();
        let state = &mut *self.state();
        let number = position.unwrap_or_else(|| {
            state.versions.push(0);
            state.watch.seen.push(Seen {
                id: id.to_owned(),
                last: fresh(&execution),
                restarted: false,
                gave_up: false,
            });
            state.versions.len() - 1
        });
        if execution.trigger.get("number") != Some(&number.into()) {
            return Invariant::BeginsOnce.broken(format!("{id}, seen as number {number}"));
        }
        let fenced = self.control.fences();
        if !fenced && position.is_some() && execution == state.watch.seen[number].last {
            return Ok(());
        }
        if fenced && version != state.versions[number] + 1 {
            let what = format!(
                "execution {number} went from version {} to {version}",
                state.versions[number]
            );
            return Invariant::Durable.broken(what);
        }
        state.versions[number] = version;
        if let Some(story) = &mut state.story {
            let kinds: Vec<_> = inputs.iter().filter_map(|i| i["kind"].as_str()).collect();
            let ms = self.time.true_ms() - START;
            story.push(format!(
                "{ms:>9} {} commits {version} of execution {number}: {}: {}",
                life.name,
                kinds.join(", "),
                summary(&execution)
            ));
        }
        let before = state.watch.seen[number].last.clone();
        for run in ended(&inputs, &before, &execution) {
            state.watch.ended(&run);
        }
        if let Some(answers) = entry.get("answers").and_then(Value::as_object) {
            state.peers.recorded(answers.keys())?;
        }
        let handled = Handled {
            inputs: &inputs,
            runs: &begun(&before, &execution),
        };
        state.watch.committed(number, &execution, handled)
    }

    /// An execution as stored.
    pub(super) fn stored(&self, id: &str) -> Result<Execution, String> {
        let loaded = now(self.executions.load(id)).map_err(|e| e.to_string())?;
        let execution = loaded.as_ref().and_then(|l| l.execution());
        execution.cloned().ok_or_else(|| format!("{id} is gone"))
    }

    /// What the log says of a version.
    fn entry(&self, id: &str, version: u64) -> Result<Map<String, Value>, String> {
        let (key, name) = ([commit::log_key(id)], commit::log_part(version));
        let part = self.store.load_part(self.shard, &key, &name);
        let found = part.now("log")?.pop().flatten();
        let read = found.and_then(|(_, content)| serde_json::from_slice(&content).ok());
        let missing = || format!("version {version} of {id} has no entry in its log");
        read.ok_or_else(missing)
    }

    /// In how many ms something of a queue is due, or a lease of it ends.
    pub(super) fn queued(&self) -> Option<u64> {
        let queues = [
            MAILBOX,
            EXECUTION_REQUESTS,
            OPERATION_FINISHED,
            Pool::Definitions.queue(),
        ];
        let next = |queue| {
            let what = Reserve {
                queue,
                most: 0,
                lease_ms: 1,
                max_tries: 1,
            };
            now(self.store.reserve(self.shard, what)).unwrap().next_ms
        };
        queues.into_iter().filter_map(next).min()
    }

    /// The peer's side of a look-up.
    pub(super) fn look_up(&self) -> Result<String, String> {
        self.state().peers.look_up()
    }

    /// The peer's side of a run; none if it should not have been asked.
    pub(super) fn ask(&self, effect_id: &str, question: &Question) -> Option<Says> {
        let asked = self.asked(effect_id, question);
        self.judge(asked.as_ref().map(|_| ()).map_err(Clone::clone));
        asked.ok()
    }

    fn asked(&self, effect_id: &str, question: &Question) -> Result<Says, String> {
        let state = &mut *self.state();
        let key = (effect_id.to_owned(), question.run);
        let Some(known) = state.watch.runs.get(&key) else {
            let what = format!("{effect_id} #{} was never committed", question.run);
            return Invariant::OnceOutside.broken(what);
        };
        let asked_before = state.peers.call(effect_id, &known.effect)?;
        if question.run == 0 {
            return Ok(Says::Undone);
        }
        let asked = Asked {
            execution: known.effect.execution,
            path: &known.effect.path,
            attempt: known.effect.attempt,
            task: &question.task,
            round: known.effect.round,
            loop_end: known.loop_end,
        };
        Ok(match self.plan.answer(&asked).to(asked_before) {
            Ok(result) => Says::Status(result.status),
            Err(error) if error.class == ErrorClass::Cancelled => Says::Cancelled,
            Err(_) => Says::Permanent,
        })
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.time.begun.elapsed()
    }
}

/// A call of the store in memory, which never waits.
trait Now<T> {
    fn now(self, what: &str) -> Result<T, String>;
}

impl<T, F: Future<Output = Result<T, Error>>> Now<T> for F {
    fn now(self, what: &str) -> Result<T, String> {
        now(self).map_err(|error| format!("{what}: {error}"))
    }
}

/// An execution as it was before its first turn.
fn fresh(execution: &Execution) -> Execution {
    let mut fresh = execution.clone();
    fresh.status = Status::NotStarted;
    fresh.stages = execution
        .stages
        .iter()
        .filter(|stage| stage.parent_stage_id.is_none())
        .cloned()
        .map(|mut stage| {
            stage.status = Status::NotStarted;
            (stage.start_time, stage.end_time, stage.undone) = (None, None, false);
            stage.tasks.clear();
            stage
        })
        .collect();
    fresh
}

/// Runs that a commit handed out, by what it made of the tasks.
fn begun(before: &Execution, after: &Execution) -> Vec<TaskRun> {
    let mut runs = Vec::new();
    let of =
        |stage: &orchestrator_core::Stage, task: &TaskId, kind, number, effect: &str| TaskRun {
            execution_id: after.id.clone(),
            application: after.application.clone(),
            stage_id: stage.id.clone(),
            task_id: task.clone(),
            task_type: String::new(),
            run: kind,
            number,
            effect_id: format!("{}/{}/{}/{effect}", after.id, stage.id, stage.attempt),
        };
    for stage in after.stages.iter() {
        let was = before.stages.iter().find(|s| s.id == stage.id);
        let was = was.filter(|was| was.attempt == stage.attempt);
        for task in stage.tasks.iter().filter(|task| task.in_flight) {
            let known = was.and_then(|was| was.tasks.iter().find(|t| t.id == task.id));
            if known.is_some_and(|t| t.in_flight && t.runs == task.runs) {
                continue;
            }
            let effect = match task.round {
                0 => task.id.to_string(),
                round => format!("{}.{round}", task.id),
            };
            runs.push(of(stage, &task.id, RunKind::Run, task.runs, &effect));
        }
        if stage.undone && !was.is_some_and(|was| was.undone) {
            let last = stage.tasks.last().map(|task| task.id.clone());
            let last = last.unwrap_or_else(|| TaskId::new("cancel"));
            runs.push(of(stage, &last, RunKind::Cancel, 0, "cancel"));
        }
    }
    runs
}

/// Runs that a commit ended: answered, or taken from their task.
fn ended(inputs: &[Value], before: &Execution, after: &Execution) -> Vec<TaskRun> {
    let answered = inputs.iter().filter(|i| i["kind"] == "taskFinished");
    let answered = answered.filter_map(|i| serde_json::from_value(i["run"].clone()).ok());
    let mut runs: Vec<TaskRun> = answered.collect();
    let rests = |run: &TaskRun| {
        let stage = after.stages.iter().find(|s| s.id == run.stage_id);
        let task = stage.and_then(|s| s.tasks.iter().find(|t| t.id == run.task_id));
        !task.is_some_and(|task| task.in_flight)
    };
    let mut nothing = before.clone();
    nothing.stages = orchestrator_core::Stages::default();
    runs.extend(begun(&nothing, before).into_iter().filter(rests));
    runs
}
