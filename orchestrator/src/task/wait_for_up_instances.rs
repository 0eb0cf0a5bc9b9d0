//! Waits until enough instances of the deployed or enabled group are up.
//! Source: `orca: WaitForUpInstancesTask`.
//!
//! Operations of the local provider end only after this was observed, so the
//! first look normally suffices.

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};
use serde_json::{Value, json};

use super::server_group::{self, Capacity};
use super::{Task, TaskContext};
use crate::provider;

/// The task.
pub static WAIT_FOR_UP_INSTANCES: WaitForUpInstances = WaitForUpInstances;

/// See the module.
#[derive(Debug)]
pub struct WaitForUpInstances;

#[async_trait]
impl Task for WaitForUpInstances {
    fn kind(&self) -> &'static str {
        "waitForUpInstances"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 7_200_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let mut groups = server_group::deployed(ctx);
        if groups.is_empty() {
            let name = server_group::target_name(ctx)?;
            groups.push((server_group::region_of(ctx)?, name));
        }
        let mut check = json!({});
        let mut done = true;
        for (region, name) in &groups {
            let Some(group) = server_group::live_in(ctx, region, name).await? else {
                return Err(TaskError::permanent(format!(
                    "server group {name} is gone; it was deployed a moment ago"
                )));
            };
            let seen = look(ctx, &group)?;
            done &= seen.is_enough();
            check = seen.to_json();
        }
        let result = if done {
            TaskResult::succeeded()
        } else {
            TaskResult::running()
        };
        Ok(result.with_context("lastCapacityCheck", check))
    }
}

struct Seen {
    up: i64,
    down: i64,
    instances: i64,
    wanted: i64,
    health_matters: bool,
}

impl Seen {
    fn is_enough(&self) -> bool {
        self.instances >= self.wanted && (!self.health_matters || self.up >= self.wanted)
    }

    fn to_json(&self) -> Value {
        json!({"up": self.up, "down": self.down, "targetDesiredSize": self.wanted})
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}

fn look(ctx: &TaskContext<'_>, group: &Value) -> Result<Seen, TaskError> {
    let interesting = server_group::interesting(ctx);
    let interesting = interesting.as_deref();
    let all = server_group::instances(group);
    let balanced = group
        .get("loadBalancers")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    let running_is_up = provider::of(&ctx.stage.context).running_is_up();
    let up = |instance: &&Value| {
        if balanced || interesting.is_some() || !running_is_up {
            server_group::is_up(instance, interesting)
        } else {
            // No load balancer says anything: the process runs.
            is_alive(instance)
        }
    };
    Ok(Seen {
        up: count(all.iter().filter(up)),
        down: count(all.iter().filter(|i| server_group::is_down(i, interesting))),
        instances: count(all.iter()),
        wanted: wanted(ctx, server_group::capacity(group))?,
        health_matters: interesting.is_none_or(|types| !types.is_empty()),
    })
}

fn is_alive(instance: &Value) -> bool {
    let health = instance.get("health").and_then(Value::as_array);
    let platform = |h: &&Value| h.get("healthClass").and_then(Value::as_str) == Some("platform");
    match health.and_then(|list| list.iter().find(platform)) {
        Some(health) => health.get("state").and_then(Value::as_str) != Some("Down"),
        None => server_group::is_up(instance, None),
    }
}

/// How many must be up.
fn wanted(ctx: &TaskContext<'_>, current: Capacity) -> Result<i64, TaskError> {
    let configured = ctx.own("capacity").and_then(Capacity::of);
    let desired = match configured {
        Some(configured) if configured.is_pinned() || current.is_pinned() => {
            configured.desired.min(current.desired)
        }
        _ => current.desired,
    };
    for key in ["targetHealthyDeployPercentage", "desiredPercentage"] {
        if let Some(percentage) = ctx.number(key) {
            if !(0.0..=100.0).contains(&percentage) {
                let message = format!("{key} {percentage} is not 0 to 100; correct it");
                return Err(TaskError::user(message));
            }
            return Ok(server_group::share(percentage, desired));
        }
    }
    Ok(desired)
}
