//! The world of one seed: the real store in memory, three workers that hold what
//! they were given, a clock that is moved, and everything that is remembered to
//! judge what is committed.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use orchestrator::commit;
use orchestrator::executions::Executions;
use orchestrator::task::Pool;
use orchestrator::turn::{self, Around, Limits, Loaded, Step, Turn};
use orchestrator_core::testing::Mutant;
use orchestrator_core::{
    Answers, Execution, ExecutionId, ExecutionType, IdSource, Lookup, RunKind, Settings, Stage,
    Subject, Target, TaskError, TaskResult, TaskRun, new_execution,
};
use store::embedded::{Clock, Embedded, ManualClock};
use store::{MAILBOX, Refused, Reserve, Shard, Shards, Store};

use super::catalog::Catalog;
use super::law::{Invariant, Verdict};
use super::peers::Peers;
use super::plan::{Asked, Plan};
use super::random::{Random, hash};
use super::shape::path;
use super::watch::{Handled, Seen, Watch};
use super::{hands, worker};

/// What is wrong with the product, to show that the simulator would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Nothing.
    None,
    /// The engine itself.
    Mutant(Mutant),
    /// What was taken is acknowledged, then the rest is committed: a crash comes between.
    AcknowledgeFirst,
    /// Neither leases nor versions are compared.
    NoFencing,
    /// State is saved, then messages are pushed: a crash comes between.
    SplitCommit,
    /// What is planned again has another id than the first time.
    FreshIds,
}

pub(crate) const RUNS: Pool = Pool::Definitions;
pub(crate) const START: i64 = 1_700_000_000_000;

/// A future of a store in memory is ready at once.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    future
        .now_or_never()
        .expect("the store in memory never waits")
}

#[derive(Debug, Default)]
pub(crate) struct Ids {
    made: u64,
    always_fresh: bool,
}

impl IdSource for Ids {
    fn next_id(&mut self) -> String {
        self.made += 1;
        format!("S{}", self.made)
    }

    fn derived_id(&mut self, at: i64, purpose: &str) -> String {
        if self.always_fresh {
            return self.next_id();
        }
        format!("P{:016x}", hash(at.unsigned_abs(), purpose))
    }
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) control: Control,
    pub(crate) random: Random,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<Embedded>,
    pub(crate) executions: Executions,
    pub(crate) shard: Shard,
    pub(crate) ids: Ids,
    pub(crate) commits: u64,
    pub(crate) settings: Settings,
    pub(crate) watch: Watch,
    pub(crate) peers: Peers,
    pub(crate) jobs: Vec<worker::Job>,
    pub(crate) story: Option<Vec<String>>,
    kept: Option<Kept>,
}

/// The store at some time, and what had been seen of it by then.
#[derive(Debug, Clone)]
struct Kept {
    store: store::embedded::Map,
    watch: Watch,
    recorded: BTreeSet<String>,
}

impl World {
    pub(crate) fn new(seed: u64, control: Control, tells: bool) -> Result<Self, String> {
        let plan = Plan::new(seed);
        let clock = Arc::new(ManualClock::at(START));
        let store = Arc::new(Embedded::in_memory(clock.clone(), Shards::new(1)));
        store.relax(control == Control::NoFencing, false);
        let mut world = Self {
            random: Random::new(seed.wrapping_mul(31) + 7),
            executions: Executions::new(store.clone()),
            shard: Shards::new(1).of_application("shop"),
            ids: Ids {
                made: 0,
                always_fresh: control == Control::FreshIds,
            },
            commits: 0,
            settings: Settings {
                mutant: match control {
                    Control::Mutant(mutant) => Some(mutant),
                    _ => None,
                },
                ..Settings::default()
            },
            watch: Watch {
                limit: plan.limit,
                unfenced: control == Control::NoFencing,
                ..Watch::default()
            },
            peers: Peers::default(),
            jobs: Vec::new(),
            story: tells.then(Vec::new),
            kept: None,
            plan,
            control,
            clock,
            store,
        };
        for number in 0..world.plan.executions {
            world.begin(number)?;
        }
        Ok(world)
    }

    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>9} {}", self.clock.now_ms() - START, line()));
        }
    }

    /// What is stored now may be all that a loss leaves.
    pub(crate) fn keep(&mut self) {
        self.kept = Some(Kept {
            store: self.store.copy(),
            watch: self.watch.clone(),
            recorded: self.peers.recorded.clone(),
        });
    }

    /// The store loses its last commits; whoever worked on them is told to begin anew.
    /// What was done outside stays done.
    pub(crate) fn lose(&mut self) {
        let Some(kept) = self.kept.clone() else {
            return;
        };
        self.tell(|| "the store loses its last commits".to_owned());
        self.store.put_back(kept.store);
        self.watch = kept.watch;
        self.peers.recorded = kept.recorded;
        self.jobs.clear();
    }

    fn begin(&mut self, number: usize) -> Verdict {
        let now_ms = self.clock.now_ms();
        let text = Shards::new(1).mint_id(now_ms, &format!("{number}"), self.shard);
        let (kind, body, id) = (
            ExecutionType::Pipeline,
            self.plan.body(),
            ExecutionId::new(&text),
        );
        let made = new_execution(kind, &body, id, "ann", now_ms, &mut self.ids);
        let (execution, messages) = made.map_err(|e| e.to_string())?;
        self.watch.seen.push(Seen {
            id: text,
            last: execution.clone(),
            restarted: false,
            gave_up: false,
        });
        let effects = orchestrator_core::Effects {
            messages,
            ..Default::default()
        };
        let loaded = Loaded {
            application: execution.application.clone(),
            subject: Subject::Execution(Box::new(execution)),
            version: 0,
            answers: Default::default(),
            digest: None,
            stored: Default::default(),
        };
        self.tell(|| format!("execution {number} is created"));
        let again = self.random.chance(300).then(|| loaded.clone());
        let steps = vec![Step::Decided(effects)];
        self.decide_and_commit(loaded, steps.clone())?;
        again.map_or(Ok(()), |loaded| self.begin_again(number, &loaded, steps))
    }

    /// What began an execution is delivered once more, and somebody tries who does not
    /// know of the first time.
    fn begin_again(&mut self, number: usize, loaded: &Loaded, steps: Vec<Step>) -> Verdict {
        let (turn, answers) = self.turn(loaded, steps);
        let writing = hands::writing(self, None, &turn, &answers);
        let batch = commit::prepare(loaded, &turn, &writing).batch;
        match now(self.store.commit(batch)).map_err(|e| e.to_string())? {
            Err(Refused::Conflict { .. }) => Ok(()),
            other => Invariant::BeginsOnce.broken(format!("execution {number}: {other:?}")),
        }
    }

    pub(crate) fn load(&self, target: &Target) -> Result<Option<Loaded>, String> {
        let subject = match target {
            Target::Execution(id) => id.to_string(),
            Target::Gate(id) => format!("gate:{id}"),
        };
        let found = now(self.executions.subject(self.shard, &subject, "shop"));
        let mut found = found.map_err(|failure| failure.to_string())?;
        if let Some(loaded) = &mut found {
            // It was carried from commit to commit; here it is made out from the whole.
            let digest = loaded.digest.take();
            loaded.stored = Default::default();
            let fenced = self.control != Control::NoFencing;
            if fenced && digest != orchestrator::replay::digest_of(loaded) {
                return Err(format!(
                    "{subject} is stored with the hash of another state"
                ));
            }
        }
        Ok(found)
    }

    /// The engine's turn; what it asks for is looked up, and it is asked again.
    pub(crate) fn turn(&mut self, loaded: &Loaded, steps: Vec<Step>) -> (Turn, Answers) {
        let mut known = loaded.clone();
        let mut added = Answers::new();
        loop {
            match self.take(&known, steps.clone()) {
                Ok(turn) => return (turn, added),
                Err(lookups) => {
                    for lookup in lookups {
                        let answer = self.peers.look_up();
                        known.answers.insert(lookup.key.clone(), answer.clone());
                        added.insert(lookup.key, answer);
                    }
                }
            }
        }
    }

    fn take(&mut self, loaded: &Loaded, steps: Vec<Step>) -> Result<Turn, Vec<Lookup>> {
        let number = loaded.execution().map(|e| self.watch.number(e.id.as_str()));
        let plan = &self.plan;
        let decide = |run: &TaskRun, execution: &Execution| {
            let plain = run.run == RunKind::Run;
            let stage = execution.stage(&run.stage_id).filter(|_| plain)?;
            let (task, number) = (run.task_id.as_str(), number.unwrap_or_default());
            instant(plan, number, (execution, stage, task), run.number)
        };
        let mut around = Around {
            now: self.clock.now_ms(),
            ids: &mut self.ids,
            stages: &Catalog,
            settings: &self.settings,
            decide: &decide,
            limits: Limits {
                steps: self.plan.steps,
                bytes: 256 * 1024,
                ..Limits::default()
            },
            in_time: &|| true,
        };
        turn::take(loaded, steps, &mut around)
    }

    /// In how many ms something of a queue is due or a lease of it ends.
    pub(crate) fn next_ms(&self, queue: &str) -> Option<u64> {
        let what = Reserve {
            queue,
            most: 0,
            lease_ms: 1,
            max_tries: 1,
        };
        now(self.store.reserve(self.shard, what))
            .expect("memory")
            .next_ms
    }

    pub(crate) fn queued(&self) -> Option<u64> {
        [self.next_ms(MAILBOX), self.next_ms(RUNS.queue())]
            .into_iter()
            .flatten()
            .min()
    }

    /// A person's or creator's change: decided and committed at once.
    pub(crate) fn decide_and_commit(&mut self, loaded: Loaded, steps: Vec<Step>) -> Verdict {
        let (turn, answers) = self.turn(&loaded, steps);
        let writing = hands::writing(self, None, &turn, &answers);
        let prepared = commit::prepare(&loaded, &turn, &writing);
        let committed = now(self.store.commit(prepared.batch)).map_err(|e| e.to_string())?;
        match committed {
            Ok(committed) => self.follow(0, &loaded, turn, &answers, committed),
            Err(refused) => Err(format!("refused although nothing came between: {refused}")),
        }
    }

    /// Judges what a commit has made of its subject.
    pub(crate) fn observe(&mut self, after: &Loaded, turn: &Turn) -> Verdict {
        let execution = match &after.subject {
            Subject::PipelineGate(gate) => {
                self.watch.gate = Some(gate.clone());
                return self.watch.will_wake(self.queued().is_some());
            }
            Subject::Execution(execution) => &**execution,
        };
        let number = self.watch.number(execution.id.as_str());
        let mut stored = None;
        if self.control == Control::NoFencing || self.random.chance(100) {
            let target = Target::Execution(execution.id.clone());
            let loaded = self.load(&target)?.ok_or("the execution is gone")?;
            if self.control != Control::NoFencing && loaded != *after {
                return Invariant::Durable.broken(format!("{loaded:?}\n{after:?}"));
            }
            if let Subject::Execution(found) = loaded.subject {
                stored = Some(found);
            }
        }
        let execution = stored.as_deref().unwrap_or(execution);
        let handled = Handled {
            inputs: &turn.inputs,
            runs: &turn.runs,
        };
        self.watch.committed(number, execution, handled)?;
        self.watch.will_wake(self.queued().is_some())
    }
}

/// What the nth run of a task answers that needs nobody outside.
pub(crate) fn instant(
    plan: &Plan,
    number: usize,
    (execution, stage, task): (&Execution, &Stage, &str),
    run: u32,
) -> Option<Result<TaskResult, TaskError>> {
    let kind = matches!(stage.kind.as_str(), "plain" | "nested");
    if !kind || stage.flag("instant") != Some(true) {
        return None;
    }
    let asked = Asked {
        execution: number,
        path: &path(execution, stage),
        attempt: execution.top_of(stage).attempt,
        task,
        round: 0,
        loop_end: false,
    };
    Some(plan.answer(&asked).to(u64::from(run) - 1))
}
