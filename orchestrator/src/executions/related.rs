//! Executions as others need them: the one that started an execution, the last one of a
//! pipeline.

use orchestrator_core::flow::{referred_parent, without_stages};
use orchestrator_core::{Execution, ExecutionId, ExecutionType, PipelineConfigId, Status};
use proto::status::{Failure, Kind};
use serde_json::Value;

use store::Order;

use super::{Executions, Listing};
use crate::commit;
use crate::definition::unavailable;

/// Executions under way that are looked at for those that did not pass a gate.
const MOST_BESIDE: usize = 100;
/// Executions of a pipeline that are looked at for the one that started last.
const LOOKED_AT: usize = 50;

impl Executions {
    /// An execution as clients see it: the one that started it is there whole, the one
    /// above that as a reference. One that was deleted stays a reference.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn served(&self, execution: &Execution) -> Result<Value, Failure> {
        let mut json = execution.to_json();
        let Some(Value::Object(trigger)) = json.get_mut("trigger") else {
            return Ok(json);
        };
        let Some(id) = referred_parent(trigger).map(ToOwned::to_owned) else {
            return Ok(json);
        };
        match self.get(&id, None).await {
            Ok(parent) => {
                let mut parent = parent.to_json();
                if let Some(Value::Object(above)) = parent.get_mut("trigger") {
                    without_stages(above);
                }
                trigger.insert("parentExecution".to_owned(), parent);
            }
            Err(failure) if failure.kind == Kind::NotFound => without_stages(trigger),
            Err(failure) => return Err(failure),
        }
        Ok(json)
    }

    /// The execution of a pipeline that started last, whatever became of it; of those that
    /// never started the newest.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last_started(
        &self,
        application: &str,
        config: &str,
    ) -> Result<Option<Execution>, Failure> {
        let newest = Listing {
            application: application.to_lowercase(),
            configs: vec![config.to_owned()],
            size: LOOKED_AT,
            ..Listing::default()
        };
        let (found, _) = self.list(&newest).await?;
        // Newest first, and the first of those that started at the same time.
        // An id of another application's pipeline tells nothing of it.
        let own = |execution: &Execution| execution.application.eq_ignore_ascii_case(application);
        let last = found.into_iter().rev().filter(own);
        Ok(last.max_by_key(|execution| execution.start_time.unwrap_or(0)))
    }

    /// Executions of a pipeline that are under way without having passed its gate: the
    /// pipeline had no limit when they began. At most 100.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn beside_the_gate(
        &self,
        application: &str,
        config: &PipelineConfigId,
    ) -> Result<Vec<ExecutionId>, Failure> {
        let shard = self.store.shards().of_application(application);
        let plural = ExecutionType::Pipeline.plural();
        let index = commit::active_of(plural, application);
        let newest = Order::Descending;
        let active = self.store.page(shard, &index, None, newest, MOST_BESIDE);
        let mut found = Vec::new();
        let active = active.await.map_err(unavailable)?.into_iter();
        let ids = active.map(|entry| entry.member).collect();
        for (id, header) in self.headers(shard, ids).await? {
            let Some(header) = header else { continue };
            let field = |key: &str| header.get(key);
            let number = field("maxConcurrentExecutions").and_then(Value::as_i64);
            let limited = field("limitConcurrent") == Some(&Value::Bool(true));
            let own = field("pipelineConfigId").and_then(Value::as_str) == Some(config.as_str());
            if own && !limited && number.unwrap_or(0) <= 0 {
                found.push(ExecutionId::new(id));
            }
        }
        Ok(found)
    }

    /// Whether an execution is in the store or in the archive.
    ///
    /// # Errors
    /// When store or archive cannot be read.
    pub async fn is_known(&self, id: &str) -> Result<bool, Failure> {
        let live = self.header(self.shard(id), id).await?.is_some();
        Ok(live || self.located(id).await?.is_some())
    }

    /// Whether an execution is still under way; one that is gone is not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_under_way(&self, id: &str) -> Result<bool, Failure> {
        let found = self.header(self.shard(id), id).await?;
        let status = found.as_ref().and_then(|h| h.get("status")?.as_str());
        Ok(status
            .and_then(Status::parse)
            .is_some_and(|status| !status.is_complete()))
    }
}
