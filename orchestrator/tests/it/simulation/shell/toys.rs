//! The toys of `shape.rs` as tasks that a service really runs: they ask the peer for their
//! answer, and know of the seed by the execution's trigger.

use async_trait::async_trait;
use orchestrator::services::HttpRequest;
use orchestrator::task::{Pool, Task, TaskContext};
use orchestrator_core::{ErrorClass, StageCatalog, Status, TaskError, TaskPolicy, TaskResult};
use serde::{Deserialize, Serialize};

use super::super::catalog::{Catalog, TOY, UNDO};
use super::super::plan::Plan;
use super::super::worker::judgment;
use super::super::world::instant;

/// What a toy asks its peer for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    /// Number of the run; 0: undo what was done.
    pub(super) run: u32,
    pub(super) task: String,
}

/// What the peer says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Says {
    Status(Status),
    Undone,
    Permanent,
    Cancelled,
}

struct Toy(&'static str);

static TOYS: [Toy; 2] = [Toy(TOY), Toy(UNDO)];

/// A toy's task by its type.
pub(super) fn find(kind: &str) -> Option<&'static dyn Task> {
    let found = TOYS.iter().find(|toy| toy.0 == kind)?;
    Some(found)
}

/// A whole number of the trigger.
fn told(ctx: &TaskContext<'_>, key: &str) -> Option<u64> {
    ctx.execution.trigger.get(key)?.as_u64()
}

#[async_trait]
impl Task for Toy {
    fn kind(&self) -> &'static str {
        self.0
    }

    fn policy(&self) -> TaskPolicy {
        Catalog.task(self.0).unwrap_or(TaskPolicy::PLAIN)
    }

    fn pool(&self) -> Pool {
        Pool::Definitions
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let task = ctx.task().filter(|_| self.0 == TOY)?;
        let number = usize::try_from(told(ctx, "number")?).ok()?;
        let plan = Plan::new(told(ctx, "seed")?);
        let place = (ctx.execution, ctx.stage, task.id.as_str());
        instant(&plan, number, place, task.runs)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        if let Some(decided) = self.decide(ctx) {
            return decided;
        }
        if self.0 == TOY && ctx.stage.kind == "judged" {
            return Ok(judgment(ctx.stage));
        }
        let runs = ctx.task().map_or(0, |task| task.runs);
        let question = Question {
            run: if self.0 == UNDO { 0 } else { runs },
            task: ctx.task_id.to_string(),
        };
        let request = HttpRequest {
            method: "POST".to_owned(),
            url: "http://peer/toy".to_owned(),
            headers: Vec::new(),
            body: serde_json::to_vec(&question).unwrap(),
            effect_id: ctx.effect_id.to_owned(),
            timeout_ms: 10_000,
            follow_redirects: false,
        };
        let sent = ctx.services.http().send(request).await;
        let answer = sent.map_err(|error| TaskError::transient(error.message))?;
        match serde_json::from_slice(&answer.body).unwrap() {
            Says::Status(status) => Ok(TaskResult::status(status)),
            Says::Undone => Ok(TaskResult::succeeded().with_context("undone", true)),
            Says::Permanent => Err(TaskError::permanent("it does not work")),
            Says::Cancelled => Err(TaskError::new(ErrorClass::Cancelled, "told to stop")),
        }
    }
}
