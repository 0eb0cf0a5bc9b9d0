//! Peers that do as they are told, for tests and the simulator: programmable
//! answers, a record of every call, and faults drawn from a seed.

mod builds;
mod canary_judge;
mod executions;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use orchestrator_core::Settings;
use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use super::{
    CloudDriver, Definitions, Http, HttpError, HttpRequest, HttpResponse, NewOperation, Object,
    Operation, OperationState, Services, Target,
};
use crate::task::SEQUENCE;
pub use canary_judge::judged;
use world::{World, default_result};

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    None,
    /// The peer refuses and has done nothing.
    Refused,
    /// The peer has done it, and its answer is lost.
    Lost,
}

/// A small generator of pseudo-random numbers: the same seed gives the same run.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A generator for a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// The next number below `below`; 0 if that is 0.
    pub fn below(&mut self, below: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0
            .wrapping_mul(0x2545_f491_4f6c_dd1d)
            .checked_rem(below)
            .unwrap_or(0)
    }
}

/// How an operation of some kind goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// It reaches its goal at once, with this result.
    Succeed(Value),
    /// It fails at once: error and details.
    Fail(String, Vec<String>),
    /// It runs until [`Fake::finish`] ends it.
    Wait,
    /// The peer refuses to accept it.
    Refuse(Failure),
}

/// All peers in one; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Fake(Arc<Mutex<World>>, Arc<OnceLock<Settings>>);

impl Fake {
    /// Peers that know the account `prod` and let everything succeed.
    pub fn new() -> Self {
        let fake = Self::default();
        fake.lock().accounts.push("prod".to_owned());
        fake
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the operator set for types of stages, once and before it is asked for.
    pub fn configure(&self, stages: Map<String, Value>) {
        let settings = Settings {
            stages,
            ..Settings::default()
        };
        // What was asked for before stays as it was told.
        drop(self.1.set(settings));
    }

    /// From now on one of `one_in` calls goes wrong, as the seed decides.
    pub fn with_faults(self, seed: u64, one_in: u64) -> Self {
        self.lock().faults = Some((Dice::new(seed), one_in));
        self
    }

    /// The next operation of this kind goes so; without a plan it succeeds.
    pub fn plan(&self, kind: &str, plan: Plan) {
        self.lock()
            .plans
            .entry(kind.to_owned())
            .or_default()
            .push_back(plan);
    }

    /// A server group that runs, as cloud-driver serves one.
    pub fn server_group(&self, group: Value) {
        self.lock().server_groups.push(group);
    }

    /// A server group is gone.
    pub fn forget(&self, name: &str) {
        self.lock()
            .server_groups
            .retain(|g| g.get("name") != Some(&json!(name)));
    }

    /// A pipeline that is stored.
    pub fn pipeline(&self, pipeline: Value) {
        let id = pipeline.get("id").and_then(Value::as_str);
        let id = id.unwrap_or_default().to_owned();
        self.lock().pipelines.insert(id, pipeline);
    }

    /// An image that a search finds.
    pub fn image(&self, image: Value) {
        self.lock().images.push(image);
    }

    /// An object that is stored.
    pub fn object(&self, kind: Object, object: Value) {
        self.lock().objects.push((kind, object));
    }

    /// An execution that is there beside those that stages started.
    pub fn execution(&self, execution: Value) {
        self.lock().executions.push(execution);
    }

    /// The pipelines that stages started, each once.
    pub fn started(&self) -> Vec<Value> {
        let world = self.lock();
        world.started.iter().map(|(_, p)| p.clone()).collect()
    }

    /// What has become of every pipeline that a stage started; without it all succeed.
    pub fn children_are(&self, status: &str) {
        self.lock().child_status = Some(status.to_owned());
    }

    /// The next answer to requests for this URL; without one it is 200 `{}`.
    pub fn answer(&self, url: &str, answer: Result<HttpResponse, HttpError>) {
        self.lock()
            .answers
            .entry(url.to_owned())
            .or_default()
            .push_back(answer);
    }

    /// Every operation that was accepted, in order, each once.
    pub fn operations(&self) -> Vec<NewOperation> {
        self.lock()
            .operations
            .iter()
            .map(|(new, _)| new.clone())
            .collect()
    }

    /// Every request that was sent.
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.lock().requests.clone()
    }

    /// Operations that were asked to turn back.
    pub fn canceled(&self) -> Vec<String> {
        self.lock().canceled.clone()
    }

    /// Ends a running operation.
    pub fn finish(&self, id: &str, outcome: Result<Value, (String, Vec<String>)>) {
        let mut world = self.lock();
        let now = world.now();
        let found = world
            .operations
            .iter_mut()
            .find(|(_, operation)| operation.id == id);
        if let Some((_, operation)) = found {
            end(operation, now, outcome);
        }
    }

    fn fault(&self) -> Fault {
        let mut world = self.lock();
        let Some((dice, one_in)) = &mut world.faults else {
            return Fault::None;
        };
        match (dice.below(*one_in), dice.below(2)) {
            (0, 0) => Fault::Refused,
            (0, _) => Fault::Lost,
            _ => Fault::None,
        }
    }

    /// An answer that may get lost, or a call that may not arrive.
    fn faulty<R>(&self, call: impl FnOnce(&mut World) -> Result<R, Failure>) -> Result<R, Failure> {
        let fault = self.fault();
        let lost = || Failure::new(Kind::Unavailable, "cloud-driver cannot be reached");
        if fault == Fault::Refused {
            return Err(lost());
        }
        let answer = call(&mut self.lock());
        if fault == Fault::Lost {
            Err(lost())
        } else {
            answer
        }
    }
}

fn end(operation: &mut Operation, now: i64, outcome: Result<Value, (String, Vec<String>)>) {
    operation.ended_ms = now;
    match outcome {
        Ok(result) => {
            operation.state = OperationState::Succeeded;
            operation.result = result;
        }
        Err((error, details)) => {
            operation.state = OperationState::Failed;
            operation.error = error;
            operation.error_details = details;
        }
    }
    operation
        .history
        .push(("ORCHESTRATION".to_owned(), "Ended".to_owned()));
}

/// The operations of one request.
fn parts(new: &NewOperation) -> Vec<NewOperation> {
    let listed = new.input.get("operations").and_then(Value::as_array);
    let Some(listed) = listed.filter(|_| new.kind == SEQUENCE) else {
        return vec![new.clone()];
    };
    let one = |(kind, input): (&String, &Value)| NewOperation {
        kind: kind.clone(),
        input: input.clone(),
        ..new.clone()
    };
    let each = listed.iter().filter_map(Value::as_object);
    each.flat_map(|o| o.iter().map(one)).collect()
}

fn no_operation(id: &str) -> Failure {
    Failure::not_found(format!("operation {id} does not exist"))
}

#[async_trait]
impl CloudDriver for Fake {
    async fn submit(&self, new: NewOperation) -> Result<Operation, Failure> {
        self.faulty(|world| {
            let known = world
                .operations
                .iter()
                .find(|(old, _)| old.effect_id == new.effect_id);
            if let Some((_, operation)) = known {
                return Ok(operation.clone());
            }
            let planned = world.plans.get_mut(&new.kind).and_then(VecDeque::pop_front);
            let plan = planned.unwrap_or_else(|| Plan::Succeed(default_result(&new)));
            let mut operation = Operation {
                id: format!("op-{}", world.operations.len() + 1),
                kind: new.kind.clone(),
                state: OperationState::Running,
                history: vec![("ORCHESTRATION".to_owned(), "Accepted".to_owned())],
                result: Value::Null,
                error: String::new(),
                error_details: Vec::new(),
                retryable: false,
                ended_ms: 0,
            };
            let now = world.now();
            match plan {
                Plan::Succeed(result) => end(&mut operation, now, Ok(result)),
                Plan::Fail(error, details) => end(&mut operation, now, Err((error, details))),
                Plan::Wait => {}
                Plan::Refuse(failure) => return Err(failure),
            }
            if operation.state == OperationState::Succeeded {
                for part in parts(&new) {
                    world.perform(&part);
                }
            }
            world.operations.push((new, operation.clone()));
            Ok(operation)
        })
    }

    async fn operation(&self, id: &str) -> Result<Operation, Failure> {
        self.faulty(|world| {
            let found = world
                .operations
                .iter()
                .find(|(_, operation)| operation.id == id);
            found
                .map(|(_, operation)| operation.clone())
                .ok_or_else(|| no_operation(id))
        })
    }

    async fn cancel(&self, id: &str) -> Result<Operation, Failure> {
        self.faulty(|world| {
            let now = world.now();
            let found = world
                .operations
                .iter_mut()
                .find(|(_, operation)| operation.id == id);
            let (_, operation) = found.ok_or_else(|| no_operation(id))?;
            if operation.state == OperationState::Running {
                end(operation, now, Err(("canceled".to_owned(), Vec::new())));
            }
            let operation = operation.clone();
            if !world.canceled.iter().any(|known| known == id) {
                world.canceled.push(id.to_owned());
            }
            Ok(operation)
        })
    }

    async fn accounts(&self) -> Result<Vec<String>, Failure> {
        self.faulty(|world| Ok(world.accounts.clone()))
    }

    async fn cluster(
        &self,
        application: &str,
        account: &str,
        cluster: &str,
        _cloud_provider: &str,
    ) -> Result<Option<Value>, Failure> {
        self.faulty(|world| {
            let mut groups = world.members(account, cluster);
            // A cluster is found in its own application only.
            groups.retain(|_| cluster.split('-').next() == Some(application));
            let found = json!({"name": cluster, "account": account, "serverGroups": groups});
            Ok((!groups.is_empty()).then_some(found))
        })
    }

    async fn server_group(
        &self,
        _account: &str,
        region: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        self.faulty(|world| {
            let mut groups = world.server_groups.iter();
            let is = |g: &&Value| g["name"] == json!(name) && g["region"] == json!(region);
            Ok(groups.find(is).cloned())
        })
    }

    async fn target(&self, target: &Target) -> Result<Option<Value>, Failure> {
        self.faulty(|world| {
            let mut groups = world.members(&target.account, &target.cluster);
            groups.retain(|g| g["region"] == json!(target.region));
            Ok(match target.target.as_str() {
                "oldest_asg_dynamic" => groups.first().cloned(),
                "ancestor_asg_dynamic" => groups.iter().rev().nth(1).cloned(),
                _ => groups.last().cloned(),
            })
        })
    }

    async fn clusters(&self, application: &str) -> Result<Value, Failure> {
        self.faulty(|world| {
            let mut accounts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            let of = |g: &&Value| {
                g["name"]
                    .as_str()
                    .is_some_and(|name| name.split('-').next() == Some(application))
            };
            for group in world.server_groups.iter().filter(of) {
                let account = group["account"].as_str().unwrap_or("prod").to_owned();
                accounts
                    .entry(account)
                    .or_default()
                    .push(group["cluster"].clone());
            }
            Ok(json!(accounts))
        })
    }

    async fn images(&self, _cloud_provider: &str, name: &str) -> Result<Vec<Value>, Failure> {
        self.faulty(|world| {
            let named = |i: &&Value| i.to_string().contains(name);
            Ok(world.images.iter().filter(named).cloned().collect())
        })
    }

    async fn labels(&self, image: &Value) -> Result<Map<String, Value>, Failure> {
        let labels = image.get("labels").and_then(Value::as_object);
        self.faulty(|_| Ok(labels.cloned().unwrap_or_default()))
    }
}

#[async_trait]
impl Http for Fake {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let fault = self.fault();
        let error = |unsent| HttpError {
            message: "no answer".to_owned(),
            transient: true,
            unsent,
        };
        if fault == Fault::Refused {
            return Err(error(true));
        }
        let mut world = self.lock();
        let url = request.url.clone();
        world.requests.push(request);
        let planned = world.answers.get_mut(&url).and_then(VecDeque::pop_front);
        if fault == Fault::Lost {
            return Err(error(false));
        }
        planned.unwrap_or_else(|| Ok(ok(&json!({}))))
    }
}

/// An answer of 200 with a JSON body.
pub fn ok(body: &Value) -> HttpResponse {
    response(200, body)
}

/// An answer with a JSON body.
pub fn response(status: u16, body: &Value) -> HttpResponse {
    let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
    HttpResponse {
        status,
        headers,
        body: body.to_string().into_bytes(),
    }
}

#[async_trait]
impl Definitions for Fake {
    async fn application(&self, name: &str) -> Result<Option<Value>, Failure> {
        self.faulty(|world| Ok(world.applications.get(&name.to_lowercase()).cloned()))
    }

    async fn save_application(&self, application: Value, _user: &str) -> Result<Value, Failure> {
        self.faulty(|world| {
            let name = application["name"]
                .as_str()
                .unwrap_or_default()
                .to_lowercase();
            world.applications.insert(name, application.clone());
            Ok(application)
        })
    }

    async fn delete_application(&self, name: &str) -> Result<(), Failure> {
        self.faulty(|world| {
            world.applications.remove(&name.to_lowercase());
            Ok(())
        })
    }

    async fn pipeline(&self, id: &str, _application: &str) -> Result<Option<Value>, Failure> {
        self.faulty(|world| Ok(world.pipelines.get(id).cloned()))
    }

    async fn pipeline_by_name(
        &self,
        application: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        self.faulty(|world| {
            let mut all = world.pipelines.values();
            let is =
                |p: &&Value| p["name"] == json!(name) && p["application"] == json!(application);
            Ok(all.find(is).cloned())
        })
    }

    async fn save_pipeline(
        &self,
        pipeline: Value,
        _user: &str,
        _stale_check: bool,
    ) -> Result<Value, Failure> {
        self.faulty(|world| {
            let id = pipeline["id"].as_str().unwrap_or_default().to_owned();
            world.pipelines.insert(id, pipeline.clone());
            Ok(pipeline)
        })
    }

    async fn delete_pipeline(&self, application: &str, name: &str) -> Result<(), Failure> {
        self.faulty(|world| {
            world
                .pipelines
                .retain(|_, p| p["name"] != json!(name) || p["application"] != json!(application));
            Ok(())
        })
    }

    async fn object(&self, kind: Object, id: &str) -> Result<Option<Value>, Failure> {
        let world = self.lock();
        let is = |object: &Value| {
            let key = object.get("id").or_else(|| object.get("application"));
            key.and_then(Value::as_str) == Some(id)
        };
        let mut own = world.objects.iter().filter(|(k, _)| *k == kind);
        Ok(own.find(|(_, o)| is(o)).map(|(_, object)| object.clone()))
    }

    async fn objects(&self, kind: Object) -> Result<Vec<Value>, Failure> {
        self.faulty(|world| {
            let own = world.objects.iter().filter(|(k, _)| *k == kind);
            Ok(own.map(|(_, object)| object.clone()).collect())
        })
    }

    async fn save_object(
        &self,
        kind: Object,
        object: Value,
        _user: &str,
    ) -> Result<Value, Failure> {
        self.faulty(|world| {
            let key = |o: &Value| o.get("id").or_else(|| o.get("name")).cloned();
            world
                .objects
                .retain(|(k, known)| *k != kind || key(known) != key(&object));
            world.objects.push((kind, object.clone()));
            Ok(object)
        })
    }

    async fn delete_object(&self, kind: Object, id: &str) -> Result<(), Failure> {
        self.faulty(|world| {
            let is = |o: &Value| o.get("id").or_else(|| o.get("name")) == Some(&json!(id));
            world.objects.retain(|(k, known)| *k != kind || !is(known));
            Ok(())
        })
    }
}

impl Services for Fake {
    fn cloud_driver(&self) -> &dyn CloudDriver {
        self
    }

    fn http(&self) -> &dyn Http {
        self
    }

    fn definitions(&self) -> &dyn Definitions {
        self
    }

    fn builds(&self) -> &dyn super::Builds {
        self
    }

    fn executions(&self) -> &dyn super::Executions {
        self
    }

    fn canary_judge(&self) -> &dyn super::CanaryJudge {
        self
    }

    fn settings(&self) -> &Settings {
        self.1.get_or_init(Settings::default)
    }
}
