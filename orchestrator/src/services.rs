//! The door to the world: one small trait per peer, with a real and a fake
//! implementation. Tasks see nothing else of what lies outside.
//!
//! Owns the shapes that tasks speak; never decides anything. The truth is the
//! peers'. Real implementations are in `services/{cloud_driver,http}.rs` and
//! [`crate::definition`]; `services/fake.rs` is for tests and the simulator.

mod access;
mod builds;
mod canary_judge;
mod cloud_driver;
mod executions;
pub mod fake;
mod http;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::{Settings, Status};
use proto::status::Failure;
use serde_json::{Map, Value};

pub use crate::definition::Object;
pub(crate) use access::permissions_of;
pub use access::{Open, Rules};
pub use builds::GrpcBuilds;
pub use canary_judge::{GrpcCanaryJudge, NoJudge};
pub use cloud_driver::GrpcCloudDriver;
pub use executions::OwnExecutions;
pub use http::EgressHttp;

/// An operation to submit, idempotent by its effect id.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOperation {
    /// `<execution>/<stage>/<attempt>/<task>/<step>`.
    pub effect_id: String,
    /// `createServerGroup`, `replaceInPlace`, …
    pub kind: String,
    /// What the kind takes.
    pub input: Value,
    /// On whose behalf.
    pub user: String,
    /// The user's roles.
    pub roles: Vec<String>,
    /// Applications that the user was found to have WRITE on: it may act on no others.
    pub applications: Vec<String>,
    /// Who is told of its end.
    pub waiter: Option<Waiter>,
}

/// The task that waits for an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// Its execution.
    pub execution_id: String,
    /// Its stage.
    pub stage_id: String,
    /// The task.
    pub task_id: String,
}

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationState {
    /// Under way.
    Running,
    /// It reached its goal.
    Succeeded,
    /// It did not.
    Failed,
}

/// An operation as cloud-driver tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Its state.
    pub state: OperationState,
    /// (phase, status) so far, oldest first.
    pub history: Vec<(String, String)>,
    /// What it made; `null` until it is done.
    pub result: Value,
    /// Why it failed, one sentence.
    pub error: String,
    /// Further lines, such as an instance's last log lines.
    pub error_details: Vec<String>,
    /// Whether the same again can help.
    pub retryable: bool,
    /// When it ended, Unix ms; 0 while it runs, or where nobody knows.
    pub ended_ms: i64,
}

/// What stages ask of cloud-driver.
#[async_trait]
pub trait CloudDriver: Send + Sync {
    /// Submits an operation, or finds the one of the same effect id.
    async fn submit(&self, operation: NewOperation) -> Result<Operation, Failure>;
    /// An operation by id.
    async fn operation(&self, id: &str) -> Result<Operation, Failure>;
    /// Asks an operation to stop at its next safe point.
    async fn cancel(&self, id: &str) -> Result<Operation, Failure>;
    /// Names of the accounts there are.
    async fn accounts(&self) -> Result<Vec<String>, Failure>;
    /// A cluster with its server groups; none if there is none.
    async fn cluster(
        &self,
        application: &str,
        account: &str,
        cluster: &str,
        cloud_provider: &str,
    ) -> Result<Option<Value>, Failure>;
    /// A server group; none if there is none.
    async fn server_group(
        &self,
        account: &str,
        region: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure>;
    /// The server group a dynamic target names; none if there is none.
    async fn target(&self, target: &Target) -> Result<Option<Value>, Failure>;
    /// Clusters of an application, `{account: [{name, …}]}`.
    async fn clusters(&self, application: &str) -> Result<Value, Failure>;
    /// Images of a provider whose name contains a text, as its search tells of them.
    async fn images(&self, cloud_provider: &str, name: &str) -> Result<Vec<Value>, Failure>;
    /// The labels of an image of a registry, as [`CloudDriver::images`] lists it.
    async fn labels(&self, _image: &Value) -> Result<Map<String, Value>, Failure> {
        Ok(Map::new())
    }
}

/// What stages do to other executions.
#[async_trait]
pub trait Executions: Send + Sync {
    /// Starts a pipeline, or finds the execution of the same event; answers its id. `since` is when it was first
    /// to be started.
    async fn start(
        &self,
        pipeline: Value,
        user: &str,
        event_id: &str,
        since: i64,
    ) -> Result<String, Failure>;
    /// An execution as clients see it; none if there is none.
    async fn get(&self, id: &str) -> Result<Option<Value>, Failure>;
    /// The execution of an application's pipeline that started last, of those in one of these
    /// statuses and but for one id; none if there is none.
    async fn newest(
        &self,
        application: &str,
        config: &str,
        statuses: &[Status],
        but: &str,
    ) -> Result<Option<Value>, Failure>;
    /// Cancels one; one that is over or gone is no error.
    async fn cancel(&self, id: &str, user: &str, reason: &str) -> Result<(), Failure>;
}

/// A target such as `current_asg_dynamic` of a cluster in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Account.
    pub account: String,
    /// Region.
    pub region: String,
    /// Cluster name.
    pub cluster: String,
    /// `current_asg_dynamic`, `ancestor_asg_dynamic`, …
    pub target: String,
    /// Provider, such as `local`.
    pub cloud_provider: String,
}

/// A request to an address that a user chose.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// Whole URL.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// Body; empty for none.
    pub body: Vec<u8>,
    /// Deterministic id of the effect, sent as `Idempotency-Key`.
    pub effect_id: String,
    /// How long the answer may take, ms.
    pub timeout_ms: u64,
    /// An answer that names another place is followed there.
    pub follow_redirects: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case; of a repeated one the values joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Vec<u8>,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HttpError {
    /// One sentence with the host.
    pub message: String,
    /// The host was not found or did not answer in time: the same may work later.
    pub transient: bool,
    /// No byte of the request can have reached the other side.
    pub unsent: bool,
}

/// HTTP to addresses that users chose, by way of the egress guard.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends and reads the answer whole. An error status is an answer.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError>;
}

/// What tasks do to applications and pipelines; by the definition part of this service.
#[async_trait]
pub trait Definitions: Send + Sync {
    /// An application; none if there is none.
    async fn application(&self, name: &str) -> Result<Option<Value>, Failure>;
    /// Creates or updates an application and answers what is stored.
    async fn save_application(&self, application: Value, user: &str) -> Result<Value, Failure>;
    /// Deletes an application and what belongs to it.
    async fn delete_application(&self, name: &str) -> Result<(), Failure>;
    /// A pipeline by id, in an application when it is known.
    async fn pipeline(&self, id: &str, application: &str) -> Result<Option<Value>, Failure>;
    /// A pipeline by its name in an application.
    async fn pipeline_by_name(
        &self,
        application: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure>;
    /// Creates or updates a pipeline and answers what is stored.
    async fn save_pipeline(
        &self,
        pipeline: Value,
        user: &str,
        stale_check: bool,
    ) -> Result<Value, Failure>;
    /// Deletes a pipeline by application and name; one that is not there is no error.
    async fn delete_pipeline(&self, application: &str, name: &str) -> Result<(), Failure>;
    /// An object by id; none if there is none.
    async fn object(&self, kind: Object, id: &str) -> Result<Option<Value>, Failure> {
        let all = self.objects(kind).await?;
        let is = |object: &Value| object.get("id").and_then(Value::as_str) == Some(id);
        Ok(all.into_iter().find(is))
    }
    /// All objects of a kind.
    async fn objects(&self, kind: Object) -> Result<Vec<Value>, Failure>;
    /// Creates or replaces an object and answers what is stored.
    async fn save_object(&self, kind: Object, object: Value, user: &str) -> Result<Value, Failure>;
    /// Deletes an object; one that is not there is no error.
    async fn delete_object(&self, kind: Object, id: &str) -> Result<(), Failure>;
}

/// A build of a build server, and for whom it is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildOf {
    /// Whose permissions on the build server count, with the roles as of now.
    pub user: String,
    /// See [`Access::roles`].
    pub roles: Vec<String>,
    /// The build server.
    pub master: String,
    /// The job.
    pub job: String,
    /// Its number; 0 while it is queued.
    pub number: u64,
    /// Its item in the queue.
    pub item: String,
}

/// What stages ask of build servers.
#[async_trait]
pub trait Builds: Send + Sync {
    /// Starts a build once per effect; answers its item in the queue.
    async fn start(
        &self,
        build: &BuildOf,
        parameters: &Map<String, Value>,
        effect_id: &str,
    ) -> Result<String, Failure>;
    /// The number of a queued build; none while it waits.
    async fn queued(&self, build: &BuildOf) -> Result<Option<u64>, Failure>;
    /// A build; none if there is none.
    async fn build(&self, build: &BuildOf) -> Result<Option<Value>, Failure>;
    /// The properties in a file that a build keeps; none without such a file.
    async fn properties(&self, build: &BuildOf, file: &str) -> Result<Option<Value>, Failure>;
    /// Stops a build, or takes it out of the queue.
    async fn stop(&self, build: &BuildOf) -> Result<(), Failure>;
}

/// Who may do what, for the users that executions act for.
#[async_trait]
pub trait Access: Send + Sync {
    /// Fails with `Denied` and the rule unless the user may do this to the application.
    async fn application(
        &self,
        user: &str,
        application: &str,
        permission: Permission,
    ) -> Result<(), Failure>;
    /// Fails unless a pipeline that the user saves may run as the service account.
    async fn run_as(&self, user: &str, application: &str, account: &str) -> Result<(), Failure>;
    /// Fails unless the user may give a pipeline these roles: it acts with them.
    async fn act_with(&self, user: &str, roles: &[String]) -> Result<(), Failure>;
    /// The user's roles, as of now.
    async fn roles(&self, user: &str) -> Result<Vec<String>, Failure>;
    /// Fails unless the user may do this to something with these permissions, `what` in words.
    async fn permitted(
        &self,
        user: &str,
        what: &str,
        permissions: &Value,
        permission: Permission,
    ) -> Result<(), Failure>;
}

/// On whose behalf something is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBehalf {
    /// The user.
    pub user: String,
    /// The user's roles, from [`Access::roles`].
    pub roles: Vec<String>,
}

/// A canary run to start, once per effect.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// `<execution>/<stage>/<attempt>/<task>/<step>`.
    pub effect_id: String,
    /// The application.
    pub application: String,
    /// The execution that asks.
    pub execution_id: String,
    /// Id of the canary config.
    pub config_id: String,
    /// Kayenta's execution request: `{scopes, thresholds, siteLocal}`.
    pub request: Value,
    /// Where metrics come from; empty: the judge's choice.
    pub metrics_account: String,
    /// Where configs are kept; empty: the judge's choice.
    pub configuration_account: String,
    /// Where results are kept; empty: the judge's choice.
    pub storage_account: String,
    /// Judgements one after the other; none: one, now.
    pub plan: Option<CanaryPlan>,
    /// Who is told when it has ended.
    pub waiter: Option<Waiter>,
}

/// When a canary run judges. Times are milliseconds; 0 is "not given".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CanaryPlan {
    /// How long is judged, after the warm-up.
    pub lifetime_ms: u64,
    /// Between judgements; a judge that decides after each step looks after each step.
    pub interval_ms: u64,
    /// Warm-up, which is judged by nobody.
    pub begin_after_ms: u64,
    /// The window of a judgement; 0: from the start on.
    pub lookback_ms: u64,
    /// By how much the control's window is earlier.
    pub baseline_offset_ms: u64,
    /// When the run began, Unix.
    pub start_ms: i64,
    /// A score that is not above the marginal threshold ends the run.
    pub stop_at_marginal: bool,
}

/// One query of a metric store over one window.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricQuestion {
    /// The application.
    pub application: String,
    /// The metric store's account.
    pub account: String,
    /// As in a canary config's metric, with its `type`.
    pub query: Value,
    /// Kayenta's scope: `{scope, location, start, end, step, extendedScopeParams}`.
    pub scope: Value,
    /// Templates that the query names.
    pub templates: Value,
}

/// What stages ask of the canary judge.
#[async_trait]
pub trait CanaryJudge: Send + Sync {
    /// Summaries of an application's configs, `{id, name, applications, …}`.
    async fn configs(&self, by: &OnBehalf, application: &str) -> Result<Vec<Value>, Failure>;
    /// A config; none if there is none.
    async fn config(&self, by: &OnBehalf, id: &str) -> Result<Option<Value>, Failure>;
    /// Starts a run, or finds the one of the same effect id; answers its id.
    async fn start(&self, by: &OnBehalf, run: NewRun) -> Result<String, Failure>;
    /// A run as Kayenta tells of it, with `intervals`, `decision` and `warnings` beside it; none if there is none.
    async fn run(&self, by: &OnBehalf, id: &str) -> Result<Option<Value>, Failure>;
    /// Cancels a run; one that is over or gone is no error.
    async fn cancel(&self, by: &OnBehalf, id: &str, reason: &str) -> Result<(), Failure>;
    /// Asks a metric store: `{query, metricSets: […]}`.
    async fn query(&self, by: &OnBehalf, question: MetricQuestion) -> Result<Value, Failure>;
}

/// All doors together.
pub trait Services: Send + Sync {
    /// cloud-driver.
    fn cloud_driver(&self) -> &dyn CloudDriver;
    /// HTTP to users' addresses.
    fn http(&self) -> &dyn Http;
    /// Applications and pipelines.
    fn definitions(&self) -> &dyn Definitions;
    /// Other executions.
    fn executions(&self) -> &dyn Executions;
    /// Build servers.
    fn builds(&self) -> &dyn Builds;
    /// The canary judge.
    fn canary_judge(&self) -> &dyn CanaryJudge {
        &NoJudge
    }
    /// Who may do what; without authentication everybody everything.
    fn access(&self) -> &dyn Access {
        &Open
    }
    /// What the operator set, as plans see it.
    fn settings(&self) -> &Settings {
        static UNSET: LazyLock<Settings> = LazyLock::new(Settings::default);
        &UNSET
    }
}

/// The doors of a running service.
pub struct Doors {
    /// See [`Services::cloud_driver`].
    pub cloud_driver: std::sync::Arc<dyn CloudDriver>,
    /// See [`Services::http`].
    pub http: std::sync::Arc<dyn Http>,
    /// See [`Services::definitions`].
    pub definitions: std::sync::Arc<dyn Definitions>,
    /// See [`Services::executions`].
    pub executions: std::sync::Arc<dyn Executions>,
    /// See [`Services::builds`].
    pub builds: std::sync::Arc<dyn Builds>,
    /// See [`Services::canary_judge`].
    pub canary_judge: std::sync::Arc<dyn CanaryJudge>,
    /// See [`Services::access`].
    pub access: std::sync::Arc<dyn Access>,
    /// See [`Services::settings`].
    pub settings: Settings,
}

impl Services for Doors {
    fn cloud_driver(&self) -> &dyn CloudDriver {
        &*self.cloud_driver
    }

    fn http(&self) -> &dyn Http {
        &*self.http
    }

    fn definitions(&self) -> &dyn Definitions {
        &*self.definitions
    }

    fn executions(&self) -> &dyn Executions {
        &*self.executions
    }

    fn builds(&self) -> &dyn Builds {
        &*self.builds
    }

    fn canary_judge(&self) -> &dyn CanaryJudge {
        &*self.canary_judge
    }

    fn access(&self) -> &dyn Access {
        &*self.access
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }
}
