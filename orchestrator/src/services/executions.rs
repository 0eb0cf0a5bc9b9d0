//! Executions of this service itself, for stages that start others.

use std::sync::OnceLock;

use async_trait::async_trait;
use orchestrator_core::ExecutionType;
use proto::status::{Failure, Kind};
use serde_json::Value;

use super::Executions;
use crate::engine::Engine;
use crate::start::Start;

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
    async fn start(&self, pipeline: Value, user: &str, event_id: &str) -> Result<String, Failure> {
        let start = Start {
            kind: ExecutionType::Pipeline,
            body: pipeline,
            event_id: event_id.to_owned(),
            user: user.to_owned(),
            by_stage: true,
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

    async fn cancel(&self, id: &str, user: &str, reason: &str) -> Result<(), Failure> {
        match self.engine()?.cancel(id, user, reason).await {
            Err(failure) if failure.kind == Kind::NotFound => Ok(()),
            other => other,
        }
    }
}
