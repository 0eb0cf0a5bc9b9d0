//! The story of one seed: services are born, die and stand still, people start executions and
//! meddle with them, until everything is over; then the verdict.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orchestrator::services::fake::Fake;
use orchestrator::{Config, Ground, Outside, assemble};
use orchestrator_core::{Execution, Stage, Status};
use proto::common::v1::Json;
use proto::message::{
    EXECUTION_REQUESTS, ExecutionRequested, OPERATION_FINISHED, OperationFinished,
};
use proto::orchestrator::v1::execution_service_client::ExecutionServiceClient;
use proto::orchestrator::v1::{CancelRequest, ExecutionAction, StartRequest, UpdateStageRequest};
use serde_json::{Value, json};
use store::{Address, Batch, DocumentKey, MAILBOX, Mode, Outgoing, Store};
use tokio::time::{Instant, sleep, timeout};
use tonic::service::Routes;

use super::super::catalog::Catalog;
use super::super::law::{Invariant, Verdict};
use super::super::model::Model;
use super::super::shape::path;
use super::super::verdict;
use super::super::world::{START, now};
use super::life::{Door, Life};
use super::toys;
use super::world::{Control, World};
use crate::rig::as_user;

/// After so long nothing goes wrong any more.
const CALM: Duration = Duration::from_secs(60);
/// No story is longer.
const END: Duration = Duration::from_secs(6 * 3_600);
/// How long a person waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

type Client = ExecutionServiceClient<Routes>;

/// A story that was told to its end.
pub(crate) struct Told {
    pub(crate) commits: u64,
    pub(crate) acts: usize,
    pub(crate) story: Vec<String>,
}

/// Plays a seed to its end.
///
/// # Errors
/// The invariant that does not hold, with the story so far.
pub(crate) fn play(
    seed: u64,
    control: Control,
    tells: bool,
) -> Result<Told, (String, Vec<String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = Arc::new(World::new(seed, control, tells));
        let verdict = Story::of(&world).play().await;
        let mut state = world.state();
        let story = state.story.take().unwrap_or_default();
        match verdict {
            Ok(()) => Ok(Told {
                commits: world.commits.load(Ordering::Relaxed),
                acts: state.peers.acts(),
                story,
            }),
            Err(error) => Err((error, story)),
        }
    })
}

/// A service of the three.
struct Slot {
    life: Arc<Life>,
    client: Client,
    lives: u32,
    /// When it is born again, once it is known to be dead.
    again: Option<Instant>,
}

/// Those that can be asked now.
type Clients = Arc<Mutex<Vec<(Arc<Life>, Client)>>>;

struct Story {
    world: Arc<World>,
    config: Config,
    slots: Vec<Slot>,
    clients: Clients,
    /// Executions that somebody is about to start, or has.
    started: usize,
    actions: usize,
}

impl Story {
    fn of(world: &Arc<World>) -> Self {
        let one_of = |all: [usize; 3]| all[world.state().random.below(3)];
        let config = Config {
            turns: one_of([1, 2, 64]),
            definition_tasks: one_of([1, 2, 16]),
            fold_tasks: world.chance(700),
            ..Config::default()
        };
        let mut story = Self {
            world: Arc::clone(world),
            config,
            slots: Vec::new(),
            clients: Clients::default(),
            started: 0,
            actions: world.plan.actions,
        };
        for number in 0..3 {
            let slot = story.born(number, 1);
            story.slots.push(slot);
        }
        story.share();
        story
    }

    /// A service begins to work.
    fn born(&self, number: usize, lives: u32) -> Slot {
        let world = &self.world;
        let ahead = world.state().random.between(-2_000, 2_000);
        let life = Arc::new(Life::new(format!("service {number}.{lives}"), ahead));
        world.tell(|| format!("{} begins", life.name));
        let door = || {
            Arc::new(Door {
                world: Arc::clone(world),
                life: Arc::clone(&life),
            })
        };
        let outside = Outside {
            cloud_driver: Arc::new(Fake::new()),
            http: door(),
            builds: Arc::new(Fake::new()),
            canary_judge: Arc::new(Fake::new()),
            policy: None,
        };
        let (time, own, dice) = (Arc::clone(&world.time), Arc::clone(&life), door());
        let ground = Ground {
            now: Arc::new(move || time.true_ms() + own.ahead.load(Ordering::Relaxed)),
            chance: Arc::new(move || dice.world.number()),
            stages: &Catalog,
            task: toys::find,
        };
        let mut service = assemble(self.config.clone(), door(), outside, ground);
        let client = ExecutionServiceClient::new(service.take_grpc().unwrap());
        service.start(&life.ends);
        Slot {
            life,
            client,
            lives,
            again: None,
        }
    }

    /// Tells people whom they can ask.
    fn share(&self) {
        let all = self.slots.iter();
        let all = all.map(|slot| (Arc::clone(&slot.life), slot.client.clone()));
        *self.clients.lock().unwrap() = all.collect();
    }

    async fn play(mut self) -> Verdict {
        let world = Arc::clone(&self.world);
        self.define()?;
        while world.elapsed() < END {
            let calm = world.elapsed() >= CALM;
            world.calm.store(calm, Ordering::Relaxed);
            let ms = if calm { 5_000 } else { world.between(20, 900) };
            sleep(Duration::from_millis(ms)).await;
            world.verdict()?;
            self.revive(calm);
            let seen = world.state().watch.seen.len();
            if self.started == seen && seen < world.plan.executions {
                self.begin();
                continue;
            }
            self.judge();
            if !calm {
                if world.chance(world.plan.faults) {
                    self.misfortune();
                }
                if self.actions > 0 && world.chance(100) {
                    self.actions -= 1;
                    self.act();
                }
            } else if world.queued().is_none() && !self.let_go_on() {
                return self.end();
            }
        }
        Invariant::Ends.broken(format!("no end after {END:?}"))
    }

    /// The pipeline as its author saved it.
    fn define(&self) -> Verdict {
        let world = &self.world;
        let body = world.plan.body().to_string().into_bytes();
        let batch = Batch::new(world.shard, "definition")
            .document(&DocumentKey::new("pipeline", "config"), 0)
            .set("b", body);
        let saved = now(world.store.commit(batch)).map_err(|e| e.to_string())?;
        saved.map(|_| ()).map_err(|e| e.to_string())
    }

    /// What is dead is born again after a while.
    fn revive(&mut self, calm: bool) {
        for number in 0..self.slots.len() {
            let slot = &mut self.slots[number];
            if !slot.life.is_dead() {
                continue;
            }
            let wait = Duration::from_millis(self.world.between(200, 8_000));
            let at = *slot.again.get_or_insert_with(|| Instant::now() + wait);
            if calm || at <= Instant::now() {
                let lives = slot.lives + 1;
                self.slots[number] = self.born(number, lives);
                self.share();
            }
        }
    }

    fn misfortune(&mut self) {
        let world = &self.world;
        let slot = &self.slots[world.state().random.below(3)];
        let name = &slot.life.name;
        let (roll, jump) = {
            let random = &mut world.state().random;
            (random.below(8), random.between(-30_000, 30_000))
        };
        match roll {
            0 | 1 => {
                world.tell(|| format!("{name} dies"));
                slot.life.die();
            }
            2 => {
                world.tell(|| format!("{name} is asked to end"));
                slot.life.ends.begin();
                let (life, grace) = (Arc::clone(&slot.life), world.between(100, 6_000));
                tokio::spawn(async move {
                    sleep(Duration::from_millis(grace)).await;
                    life.die();
                });
            }
            3..=5 => {
                let ms = world.between(1_000, 12_000);
                world.tell(|| format!("{name} stands still for {ms} ms"));
                slot.life.stand(Duration::from_millis(ms));
            }
            6 => {
                world.tell(|| format!("the clock of {name} jumps by {jump} ms"));
                slot.life.jump(jump);
            }
            _ => {
                world.tell(|| format!("the clock of the store jumps by {jump} ms"));
                world.jump(jump);
            }
        }
    }

    /// Somebody starts the next execution: a person, or a trigger.
    fn begin(&mut self) {
        let (world, number) = (Arc::clone(&self.world), self.started);
        self.started += 1;
        let trigger = json!({"type": "manual", "number": number, "seed": world.plan.seed});
        if world.chance(500) {
            world.tell(|| format!("a trigger asks for execution {number}"));
            self.request(number, trigger);
            return;
        }
        let clients = Arc::clone(&self.clients);
        let mut body = world.plan.body();
        body["trigger"] = trigger;
        tokio::spawn(async move {
            let asked = StartRequest {
                kind: 0,
                body: Some(Json::of(&body)),
                event_id: format!("event {number}"),
            };
            let first = started(&world, &clients, &asked).await;
            if world.chance(300) {
                let second = started(&world, &clients, &asked).await;
                if first != second {
                    let what = format!("event {number} began {first} and {second}");
                    world.judge(Invariant::BeginsOnce.broken(what));
                }
            }
        });
    }

    /// The trigger's message, sometimes twice.
    fn request(&self, number: usize, trigger: Value) {
        let world = &self.world;
        let asked = ExecutionRequested {
            application: "shop".to_owned(),
            pipeline_config_id: "config".to_owned(),
            trigger_id: "t".to_owned(),
            event_id: format!("event {number}"),
            recorded_at_ms: START + i64::try_from(number).unwrap(),
            trigger,
        };
        let body = serde_json::to_vec(&asked).unwrap();
        for copy in 0..1 + u32::from(world.chance(300)) {
            let subject = format!("event {number}/{copy}");
            self.push(EXECUTION_REQUESTS, &subject, body.clone());
        }
    }

    fn push(&self, queue: &str, subject: &str, body: Vec<u8>) {
        let world = &self.world;
        let id = format!("push {:032x}", world.number());
        let batch = Batch::new(world.shard, id).message(Outgoing {
            to: Address::new(queue, subject, "shop"),
            fingerprint: "it".to_owned(),
            mode: Mode::Ensure,
            delay_ms: 0,
            body: body.into(),
        });
        now(world.store.commit(batch)).unwrap().unwrap();
    }

    /// What people see of an execution, which may be over when they act on it.
    fn some(&self) -> Option<(usize, Execution)> {
        let state = &mut *self.world.state();
        let count = state.watch.seen.len();
        let number = state.random.below(count);
        let seen = state.watch.seen.get(number)?;
        Some((number, seen.last.clone()))
    }

    /// A person does something, by way of a service that may be dying.
    fn act(&self) {
        let Some((number, execution)) = self.some() else {
            return;
        };
        let world = &self.world;
        let (roll, picked) = {
            let random = &mut world.state().random;
            (random.below(10), random.next())
        };
        let some = |wanted: &dyn Fn(&Stage) -> bool| {
            let found: Vec<&Stage> = execution.stages.iter().filter(|s| wanted(s)).collect();
            let at = usize::try_from(picked).ok()?.checked_rem(found.len())?;
            Some(found[at].clone())
        };
        let id = execution.id.to_string();
        let complete = |s: &Stage| s.end_time.is_some();
        let deed = match roll {
            0 => Some(Deed::Cancel(id)),
            1 | 2 => Some(Deed::Pause(id)),
            3 | 4 => Some(Deed::Resume(id)),
            5 | 6 => some(&complete).map(|s| Deed::Restart(id, s.id.to_string())),
            7 | 8 => some(&|s| !complete(s))
                .map(|s| Deed::Update(id, s.id.to_string(), json!({"manualSkip": true}))),
            _ => {
                if let Some(stage) = some(&|s| s.status == Status::Running && !s.tasks.is_empty()) {
                    self.operation_ended(&execution, &stage);
                }
                None
            }
        };
        if let Some(deed) = deed {
            self.ask(number, deed);
        }
    }

    /// Something that a task might wait for has ended.
    fn operation_ended(&self, execution: &Execution, stage: &Stage) {
        let task = &stage.tasks[self.world.state().random.below(stage.tasks.len())];
        let ended = OperationFinished {
            operation_id: "o".to_owned(),
            succeeded: true,
            execution_id: execution.id.to_string(),
            stage_id: stage.id.to_string(),
            task_id: task.id.to_string(),
        };
        let subject = format!("operation {}", self.world.number());
        let body = serde_json::to_vec(&ended).unwrap();
        self.push(OPERATION_FINISHED, &subject, body);
    }

    fn ask(&self, number: usize, deed: Deed) {
        let world = &self.world;
        world.tell(|| format!("ann: {deed:?} of execution {number}"));
        if let Some(client) = client(world, &self.clients) {
            tokio::spawn(async move {
                // Refused or unheard: people look again, or do not.
                let _ = timeout(PATIENCE, deed.done(client)).await;
            });
        }
    }

    /// Somebody answers a stage that waits for a judgment.
    fn judge(&self) {
        if !self.world.chance(300) {
            return;
        }
        let Some((number, execution)) = self.some() else {
            return;
        };
        let waits = |s: &&Stage| {
            s.kind == "judged"
                && s.status == Status::Running
                && !s.context.contains_key("judgmentStatus")
        };
        if let Some(stage) = execution.stages.iter().find(waits) {
            let path = path(&execution, stage);
            let says = self.world.plan.judgment(number, &path, stage.attempt);
            let (id, stage) = (execution.id.to_string(), stage.id.to_string());
            let context = json!({"judgmentStatus": says});
            self.ask(number, Deed::Update(id, stage, context));
        }
    }

    /// Resumes what is paused; false if nothing is.
    fn let_go_on(&self) -> bool {
        let state = self.world.state();
        let seen = state.watch.seen.iter().enumerate();
        let paused: Vec<(usize, String)> = seen
            .filter(|(_, seen)| seen.last.status == Status::Paused)
            .map(|(number, seen)| (number, seen.id.clone()))
            .collect();
        drop(state);
        let any = !paused.is_empty();
        for (number, id) in paused {
            self.ask(number, Deed::Resume(id));
        }
        any
    }

    /// Invariants 7 to 9.
    fn end(&self) -> Verdict {
        let world = &self.world;
        let settings = orchestrator::settings(&self.config);
        let seen = world.state().watch.seen.clone();
        for (number, seen) in seen.iter().enumerate() {
            let execution = world.stored(&seen.id)?;
            if execution != seen.last {
                let what = format!("execution {number} is another one than was seen last");
                return Invariant::Durable.broken(what);
            }
            verdict::ended(number, &execution)?;
            verdict::agrees(&Model {
                plan: &world.plan,
                number,
                end: &execution,
                restarted: seen.restarted,
            })?;
            if world.plan.seed.is_multiple_of(8) {
                let log = now(world.executions.log(&seen.id)).map_err(|e| e.to_string())?;
                orchestrator::replay::verify(&log, &Catalog, &settings)
                    .map_err(|fault| format!("the log of execution {number}: {fault}"))?;
            }
        }
        let gate = world.state().watch.gate.clone();
        verdict::nothing_left(gate.as_ref(), world.queued(), &[(); 0])?;
        for queue in [MAILBOX, EXECUTION_REQUESTS] {
            let dead = now(world.store.dead(world.shard, queue)).map_err(|e| e.to_string())?;
            if !dead.is_empty() {
                return Invariant::NothingLeft.broken(format!("given up in {queue}: {dead:?}"));
            }
        }
        Ok(())
    }
}

/// A service that is not known to be dead.
fn client(world: &World, clients: &Clients) -> Option<Client> {
    let clients = clients.lock().unwrap();
    let alive: Vec<&Client> = clients
        .iter()
        .filter(|(life, _)| !life.is_dead())
        .map(|(_, client)| client)
        .collect();
    let at = world.state().random.below(alive.len());
    alive.get(at).map(|client| (*client).clone())
}

/// Asks for a start until somebody answers; the id.
async fn started(world: &World, clients: &Clients, asked: &StartRequest) -> String {
    loop {
        if let Some(mut client) = client(world, clients) {
            world.tell(|| format!("ann: start of {}", asked.event_id));
            let answer = timeout(PATIENCE, client.start(as_user(asked.clone()))).await;
            if let Ok(Ok(reply)) = answer {
                return reply.into_inner().id;
            }
        }
        sleep(Duration::from_millis(world.between(200, 2_000))).await;
    }
}

/// What a person asks for, of an execution and perhaps a stage.
#[derive(Debug, Clone)]
enum Deed {
    Cancel(String),
    Pause(String),
    Resume(String),
    Restart(String, String),
    Update(String, String, Value),
}

impl Deed {
    async fn done(self, mut client: Client) -> Result<(), tonic::Status> {
        let action = |id| as_user(ExecutionAction { kind: 0, id });
        let of_stage = |execution_id, stage_id, context: Option<Value>| {
            as_user(UpdateStageRequest {
                kind: 0,
                execution_id,
                stage_id,
                context: context.as_ref().map(Json::of),
            })
        };
        match self {
            Self::Cancel(id) => {
                let asked = CancelRequest {
                    kind: 0,
                    id,
                    reason: "enough".to_owned(),
                    force: false,
                };
                client.cancel(as_user(asked)).await.map(|_| ())
            }
            Self::Pause(id) => client.pause(action(id)).await.map(|_| ()),
            Self::Resume(id) => client.resume(action(id)).await.map(|_| ()),
            Self::Restart(id, stage) => {
                let asked = of_stage(id, stage, None);
                client.restart_stage(asked).await.map(|_| ())
            }
            Self::Update(id, stage, context) => {
                let asked = of_stage(id, stage, Some(context));
                client.update_stage(asked).await.map(|_| ())
            }
        }
    }
}
