//! Operations on many groups of a cluster at once: which groups they choose, the
//! task that sends them in one request, the task that waits. Source: `orca:
//! AbstractClusterWideClouddriverTask` and its kinds.
//!
//! Of each region the groups an earlier stage deployed, and all that are newer
//! than the oldest of those, are left alone.

use std::cmp::Reverse;

use async_trait::async_trait;
use orchestrator_core::{TaskError, TaskPolicy, TaskResult};
use serde_json::{Map, Value, json};

use super::server_group::{self, Capacity};
use super::{Task, TaskContext, failed, submit_operation, traffic_guard};
use crate::provider::{self, Part};

/// What a cluster-wide operation does, and to whom.
pub(crate) struct ClusterOperation {
    /// Type of the task.
    pub(crate) kind: &'static str,
    /// Kind of the operation sent for each group.
    pub(crate) operation: &'static str,
    /// What it is called where a traffic guard refuses it.
    pub(crate) guarded: &'static str,
    /// Which of a region's groups it is for, in the order they are named.
    pub(crate) choose: fn(&TaskContext<'_>, &Members<'_>) -> Vec<String>,
    /// A cluster without groups is as asked for.
    pub(crate) absent_is_done: fn(&TaskContext<'_>) -> bool,
}

/// The groups of a cluster in one region.
pub(crate) struct Members<'a> {
    /// All of them, as listed.
    pub(crate) all: Vec<&'a Value>,
    /// Names of those that are left alone.
    pub(crate) kept: Vec<&'a str>,
}

impl<'a> Members<'a> {
    fn rest(&self) -> Vec<&'a Value> {
        let chosen = |g: &&&Value| !self.kept.contains(&server_group::name(g));
        self.all.iter().filter(chosen).copied().collect()
    }

    /// Those to take away so that `keep` stay (`orca: ShrinkClusterTask.filterServerGroups`).
    pub(crate) fn beyond(&self, keep: i64, active_too: bool, larger_stay: bool) -> Vec<String> {
        let mut rest = self.rest();
        rest.retain(|g| active_too || !is_active(g));
        rest.sort_by_key(|g| {
            let size = server_group::instances(g).len();
            (
                Reverse(active_too && is_active(g)),
                Reverse(if larger_stay { size } else { 0 }),
                Reverse(created(g)),
            )
        });
        let stay = count(self.all.len() - rest.len());
        names(&rest, keep - stay)
    }

    /// Those that serve, so that `keep` go on (`orca: DisableClusterTask.filterServerGroups`).
    pub(crate) fn serving_beyond(&self, keep: i64, larger_stay: bool) -> Vec<String> {
        let mut rest = self.rest();
        let stay = count(self.all.len() - rest.len());
        rest.retain(|g| is_active(g));
        rest.sort_by_key(|g| {
            if larger_stay {
                (Reverse(server_group::instances(g).len()), Reverse(0))
            } else {
                (Reverse(0), Reverse(created(g)))
            }
        });
        names(&rest, keep - stay)
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn created(group: &Value) -> i64 {
    let created = group.get("createdTime").and_then(server_group::whole);
    created.unwrap_or(0)
}

fn names(groups: &[&Value], skip: i64) -> Vec<String> {
    let skip = usize::try_from(skip.max(0)).unwrap_or(usize::MAX);
    let names = groups.iter().skip(skip).map(|g| server_group::name(g));
    names.map(ToOwned::to_owned).collect()
}

/// Takes requests, or has an instance that would.
fn is_active(group: &Value) -> bool {
    let mut instances = server_group::instances(group).iter();
    !server_group::is_disabled(group) || instances.any(|i| server_group::is_up(i, None))
}

/// A number of the stage; `default` without one.
pub(crate) fn number(ctx: &TaskContext<'_>, key: &str, default: i64) -> i64 {
    let own = ctx.own(key).and_then(server_group::whole);
    own.unwrap_or(default)
}

/// The regions of a cluster-wide stage: the first list or name that is there.
fn regions(context: &Map<String, Value>) -> Vec<String> {
    let texts = |value: &Value| -> Vec<String> {
        let one = value.as_str().into_iter();
        let many = value.as_array().into_iter().flatten();
        let all = one.chain(many.filter_map(Value::as_str));
        all.filter(|t| !t.is_empty())
            .map(ToOwned::to_owned)
            .collect()
    };
    let keys = ["namespaces", "regions", "zones", "namespace", "region"];
    let found = keys.iter().filter_map(|key| context.get(*key)).map(texts);
    found
        .into_iter()
        .find(|list| !list.is_empty())
        .unwrap_or_default()
}

/// Groups that an earlier stage of the same account deployed, and all newer ones.
fn kept<'a>(
    ctx: &TaskContext<'_>,
    account: &str,
    region: &str,
    groups: &[&'a Value],
) -> Vec<&'a str> {
    let deployed: Vec<&str> = ctx
        .execution
        .ancestors(ctx.stage)
        .into_iter()
        .filter(|s| ["createServerGroup", "cloneServerGroup"].contains(&s.kind.as_str()))
        .filter(|s| {
            let text = |key: &str| s.context.get(key).and_then(Value::as_str);
            text("account").or_else(|| text("credentials")) == Some(account)
        })
        .filter_map(|s| {
            s.context
                .get("deploy.server.groups")?
                .get(region)?
                .as_array()
        })
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let own = |g: &&&Value| deployed.contains(&server_group::name(g));
    let Some(oldest) = groups.iter().filter(own).map(|g| created(g)).min() else {
        return Vec::new();
    };
    let stays = |g: &&&Value| own(g) || created(g) > oldest;
    let stay = groups.iter().filter(stays);
    stay.map(|g| server_group::name(g)).collect()
}

#[async_trait]
impl Task for ClusterOperation {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn policy(&self) -> TaskPolicy {
        submit_operation::SUBMISSION
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let account = server_group::account(ctx)?;
        let name = server_group::cluster_of(&ctx.stage.context, &ctx.execution.application);
        // A second run must choose the same, so it goes by what the first one saw.
        let chosen = match ctx.own("deploy.server.groups").and_then(Value::as_object) {
            Some(chosen) => chosen.clone(),
            None => self.chosen(ctx, account, &name).await?,
        };
        let mut parts = Vec::new();
        for (region, groups) in &chosen {
            let groups: Vec<String> = groups
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|g| Some(g.as_str()?.to_owned()))
                .collect();
            traffic_guard::check(ctx, self.guarded, region, &groups).await?;
            for group in groups {
                parts.extend(self.parts(ctx, account, region, &group));
            }
        }
        if parts.is_empty() {
            return Ok(TaskResult::succeeded());
        }
        let result = submit_operation::submit_all(ctx, parts).await?;
        Ok(result
            .with_context("remainingDeployServerGroups", chosen.clone())
            .with_context("deploy.server.groups", chosen))
    }
}

impl ClusterOperation {
    /// `{region: [group, …]}`.
    async fn chosen(
        &self,
        ctx: &TaskContext<'_>,
        account: &str,
        name: &str,
    ) -> Result<Map<String, Value>, TaskError> {
        let application = ctx
            .text("application")
            .unwrap_or(&ctx.execution.application);
        let driver = ctx.services.cloud_driver();
        let found = driver
            .cluster(application, account, name, server_group::provider(ctx))
            .await
            .map_err(failed)?
            .unwrap_or_default();
        let listed: &[Value] = found
            .get("serverGroups")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice);
        if listed.is_empty() && !(self.absent_is_done)(ctx) {
            return Err(TaskError::user(format!(
                "cluster {name} of {account} has no server groups; correct cluster, or set \
                 continueIfClusterNotFound"
            )));
        }
        let mut chosen = Map::new();
        for region in regions(&ctx.stage.context) {
            let all: Vec<&Value> = listed
                .iter()
                .filter(|g| server_group::region(g) == region)
                .collect();
            let members = Members {
                kept: kept(ctx, account, &region, &all),
                all,
            };
            let groups = (self.choose)(ctx, &members);
            if !groups.is_empty() {
                chosen.insert(region, json!(groups));
            }
        }
        Ok(chosen)
    }

    fn parts(&self, ctx: &TaskContext<'_>, account: &str, region: &str, group: &str) -> Vec<Part> {
        let own = provider::of(&ctx.stage.context);
        let input = json!({
            "accountName": account, "credentials": account, "region": region,
            "cloudProvider": server_group::provider(ctx),
            "asgName": group, "serverGroupName": group,
        });
        let mut input = input.as_object().cloned().unwrap_or_default();
        if let Some(part) = ctx.own("desiredPercentage") {
            input.insert("desiredPercentage".to_owned(), part.clone());
        }
        let mut parts = Vec::new();
        if self.operation == "resizeServerGroup" {
            parts.extend(own.before_scale_down(&input));
            let nothing = Capacity::default().to_json();
            input.insert("capacity".to_owned(), nothing);
        }
        parts.push((self.operation.to_owned(), input));
        parts
    }
}

/// Waits until every group that was chosen is as it was to become.
pub(crate) struct ClusterWait {
    /// Type of the task.
    pub(crate) kind: &'static str,
    /// Whether a group, if it is still there, is so.
    pub(crate) is_done: fn(&TaskContext<'_>, &Value) -> bool,
}

#[async_trait]
impl Task for ClusterWait {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 1_800_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let Some(waited) = ctx.own("remainingDeployServerGroups") else {
            return Ok(TaskResult::succeeded());
        };
        let account = server_group::account(ctx)?;
        let driver = ctx.services.cloud_driver();
        let mut remaining = Map::new();
        for (region, groups) in waited.as_object().into_iter().flatten() {
            let mut left = Vec::new();
            for group in groups.as_array().into_iter().flatten() {
                let name = group.as_str().unwrap_or_default();
                let found = driver.server_group(account, region, name).await;
                if let Some(found) = found.map_err(failed)?
                    && !(self.is_done)(ctx, &found)
                {
                    left.push(group.clone());
                }
            }
            if !left.is_empty() {
                remaining.insert(region.clone(), left.into());
            }
        }
        let result = if remaining.is_empty() {
            TaskResult::succeeded()
        } else {
            TaskResult::running()
        };
        Ok(result.with_context("remainingDeployServerGroups", remaining))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, created: u64, size: usize, disabled: bool) -> Value {
        let state = if disabled { "OutOfService" } else { "Up" };
        let instance = json!({"health": [{"state": state}]});
        json!({"name": name, "createdTime": created, "isDisabled": disabled,
            "instances": vec![instance; size]})
    }

    #[test]
    fn the_newest_stay_unless_the_larger_ones_are_to() {
        let groups = [
            group("v0", 1, 2, false),
            group("v1", 2, 5, false),
            group("v2", 3, 2, false),
        ];
        let members = Members {
            all: groups.iter().collect(),
            kept: Vec::new(),
        };
        assert_eq!(members.serving_beyond(1, false), ["v1", "v0"]);
        assert_eq!(members.serving_beyond(1, true), ["v0", "v2"]);
        assert_eq!(members.beyond(1, true, true), ["v2", "v0"]);
        assert_eq!(members.beyond(1, true, false), ["v1", "v0"]);
        assert!(members.beyond(0, false, false).is_empty());
    }

    #[test]
    fn those_left_alone_count_as_staying() {
        let groups = [
            group("v0", 1, 2, true),
            group("v1", 2, 2, false),
            group("v2", 3, 2, false),
        ];
        let members = Members {
            all: groups.iter().collect(),
            kept: vec!["v2"],
        };
        assert_eq!(members.serving_beyond(1, false), ["v1"]);
        assert!(members.serving_beyond(2, false).is_empty());
        assert_eq!(members.beyond(1, true, false), ["v1", "v0"]);
        assert_eq!(members.beyond(1, false, false), ["v0"]);
    }
}
