//! Executions that others started, or that are there from the start.

use async_trait::async_trait;
use orchestrator_core::Status;
use proto::status::Failure;
use serde_json::{Value, json};

use super::Fake;
use crate::services::Executions;

#[async_trait]
impl Executions for Fake {
    async fn start(
        &self,
        pipeline: Value,
        _user: &str,
        event: &str,
        _since: i64,
    ) -> Result<String, Failure> {
        self.faulty(|world| {
            let known = world.started.iter().find(|(known, _)| known == event);
            if known.is_none() {
                world.started.push((event.to_owned(), pipeline));
            }
            Ok(format!("child-{event}"))
        })
    }

    async fn get(&self, id: &str) -> Result<Option<Value>, Failure> {
        self.faulty(|world| {
            if let Some(known) = world.executions.iter().find(|e| e["id"] == json!(id)) {
                return Ok(Some(known.clone()));
            }
            let status = world.child_status.as_deref().unwrap_or("SUCCEEDED");
            Ok(Some(json!({"id": id, "status": status, "stages": []})))
        })
    }

    async fn newest(
        &self,
        _application: &str,
        config: &str,
        statuses: &[Status],
        but: &str,
    ) -> Result<Option<Value>, Failure> {
        self.faulty(|world| {
            let is = |e: &&Value| {
                let status = e["status"].as_str().and_then(Status::parse);
                e["pipelineConfigId"] == json!(config)
                    && e["id"] != json!(but)
                    && status.is_some_and(|status| statuses.contains(&status))
            };
            let own = world.executions.iter().filter(is);
            Ok(own.max_by_key(|e| e["startTime"].as_i64()).cloned())
        })
    }

    async fn cancel(&self, id: &str, _user: &str, _reason: &str) -> Result<(), Failure> {
        self.faulty(|world| {
            world.canceled.push(id.to_owned());
            Ok(())
        })
    }
}
