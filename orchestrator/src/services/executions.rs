//! Executions of this service itself, for stages that start others.

use std::sync::OnceLock;

use async_trait::async_trait;
use orchestrator_core::{ExecutionType, Status};
use proto::status::{Failure, Kind};
use serde_json::Value;

use super::Executions;
use crate::engine::Engine;
use crate::executions::Listing;
use crate::start::Start;

/// Executions of a pipeline that are looked at for the one that started last.
const LOOKED_AT: usize = 20;

/// The engine behind the door; it is given when it is there, for it has the door.
#[derive(Default)]
pub struct OwnExecutions(OnceLock<Engine>);

impl OwnExecutions {
    /// From now on this engine is asked.
    pub fn open(&self, engine: Engine) {
        // A second call changes nothing: there is one engine.
        let _ = self.0.set(engine);
    }

    fn engine(&self) -> Result<&Engine, Failure> {
        let missing = || Failure::new(Kind::Unavailable, "the engine is starting");
        self.0.get().ok_or_else(missing)
    }
}

#[async_trait]
impl Executions for OwnExecutions {
    async fn start(
        &self,
        pipeline: Value,
        user: &str,
        event_id: &str,
        since: i64,
    ) -> Result<String, Failure> {
        let start = Start {
            kind: ExecutionType::Pipeline,
            body: pipeline,
            event_id: event_id.to_owned(),
            user: user.to_owned(),
            failure: None,
            by_stage: Some(since),
        };
        Ok(self.engine()?.start(&start).await?.id)
    }

    async fn get(&self, id: &str) -> Result<Option<Value>, Failure> {
        match self.engine()?.executions().get(id, None).await {
            Ok(execution) => Ok(Some(execution.to_json())),
            Err(failure) if failure.kind == Kind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn newest(
        &self,
        application: &str,
        config: &str,
        statuses: &[Status],
        but: &str,
    ) -> Result<Option<Value>, Failure> {
        let asked = Listing {
            kind: Some(ExecutionType::Pipeline),
            application: application.to_lowercase(),
            configs: vec![config.to_owned()],
            statuses: statuses.iter().map(ToString::to_string).collect(),
            size: LOOKED_AT,
            ..Listing::default()
        };
        let (found, _) = self.engine()?.executions().list(&asked).await?;
        let own = found.into_iter().filter(|execution| {
            execution.application.eq_ignore_ascii_case(application) && execution.id.as_str() != but
        });
        // Those that wait were made after others that run.
        let last = own.max_by_key(|execution| (execution.start_time, execution.build_time));
        Ok(last.map(|execution| execution.to_json()))
    }

    async fn cancel(&self, id: &str, user: &str, reason: &str) -> Result<(), Failure> {
        match self.engine()?.cancel(id, user, reason).await {
            Err(failure) if failure.kind == Kind::NotFound => Ok(()),
            other => other,
        }
    }
}
