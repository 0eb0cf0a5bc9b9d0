//! `bulkDestroyServerGroup`: takes several groups of one cluster out of traffic and
//! removes them. Source: `orca: BulkDestroyServerGroupStage`.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult,
    TaskSpec,
};
use proto::moniker::Moniker;
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, targeted, unbuilt};
use crate::task::cluster::ClusterWait;
use crate::task::{
    CANCEL_OPERATION, MONITOR_OPERATION, Task, TaskContext, failed, server_group, submit_operation,
    traffic_guard,
};

/// The type.
pub(super) static STAGE: BulkDestroy = BulkDestroy;

/// The groups that are still waited for.
const LEFT: &str = "remainingDeployServerGroups";

static DISABLE: Bulk = Bulk {
    kind: "bulkDisableServerGroup",
    operation: "disableServerGroup",
};
static DESTROY: Bulk = Bulk {
    kind: "bulkDestroyServerGroup",
    operation: "destroyServerGroup",
};
static NOT_UP: ClusterWait = ClusterWait {
    kind: "waitForNotUpInstances",
    is_done: |_, group| {
        let mut instances = server_group::instances(group).iter();
        !instances.any(|i| server_group::is_up(i, None))
    },
};
static GONE: ClusterWait = ClusterWait {
    kind: "waitForDestroyedServerGroups",
    is_done: |_, _| false,
};

/// See the module.
#[derive(Debug)]
pub(super) struct BulkDestroy;

fn names(context: &Map<String, Value>) -> Vec<&str> {
    let listed = context.get("serverGroupNames").and_then(Value::as_array);
    let texts = listed.into_iter().flatten().filter_map(Value::as_str);
    texts.filter(|name| !name.is_empty()).collect()
}

impl StageDefinition for BulkDestroy {
    fn kind(&self) -> &'static str {
        "bulkDestroyServerGroup"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Destroy server groups",
            text: "Takes several server groups of a cluster out of traffic and removes them.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        unbuilt::require_provider(stage.stage)?;
        Ok(vec![
            TaskSpec::new("bulkDisableServerGroup", DISABLE.kind),
            TaskSpec::new("monitorServerGroups", MONITOR_OPERATION.kind()),
            TaskSpec::new("waitForNotUpInstances", NOT_UP.kind),
            TaskSpec::new("bulkDestroyServerGroup", DESTROY.kind),
            TaskSpec::new("monitorServerGroups", MONITOR_OPERATION.kind()),
            TaskSpec::new("waitForDestroyedServerGroup", GONE.kind),
        ])
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        stage.context.shift_remove(LEFT);
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = targeted::place_faults(context, path);
        let listed = context.get("serverGroupNames");
        let template = listed
            .and_then(Value::as_str)
            .is_some_and(|t| t.contains("${"));
        if names(context).is_empty() && !template {
            let message = "it is missing; name the server groups";
            faults.push(Fault::new(format!("{path}.serverGroupNames"), message));
        }
        faults
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "account": {"type": "string", "title": "Account"},
                "region": {"type": "string", "title": "Region"},
                "serverGroupNames": {"type": "array", "items": {"type": "string"},
                    "title": "Server groups"},
            }),
            &["account", "region", "serverGroupNames"],
        )
    }
}

impl StageType for BulkDestroy {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        static OWN: &[&dyn Task] = &[&DISABLE, &NOT_UP, &DESTROY, &GONE];
        OWN
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

/// One operation on every group, in one request.
#[derive(Debug)]
struct Bulk {
    kind: &'static str,
    operation: &'static str,
}

/// The one cluster that all of them belong to.
fn cluster_of(names: &[&str]) -> Result<String, TaskError> {
    let mut cluster: Option<String> = None;
    for name in names {
        let own = Moniker::parse(name)
            .cluster
            .unwrap_or_else(|| (*name).to_owned());
        match &cluster {
            Some(first) if *first != own => {
                return Err(TaskError::user(format!(
                    "serverGroupNames: {name} is not of cluster {first}; use one stage a cluster"
                )));
            }
            _ => cluster = Some(own),
        }
    }
    cluster.ok_or_else(|| TaskError::user("serverGroupNames is missing; name the server groups"))
}

#[async_trait]
impl Task for Bulk {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn policy(&self) -> TaskPolicy {
        submit_operation::SUBMISSION
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let names = names(&ctx.stage.context);
        let cluster = cluster_of(&names)?;
        let (account, region) = (server_group::account(ctx)?, server_group::region_of(ctx)?);
        let provider = server_group::provider(ctx);
        // What a first run sent may be done already, so only that finds them all.
        let first = ctx.own(LEFT).is_none();
        if first {
            let application = ctx
                .text("application")
                .unwrap_or(&ctx.execution.application);
            let driver = ctx.services.cloud_driver();
            let found = driver
                .cluster(application, account, &cluster, provider)
                .await;
            let found = found.map_err(failed)?.unwrap_or_default();
            let known: Vec<&str> = server_group::of_cluster(&found, &region)
                .map(server_group::name)
                .collect();
            if let Some(missing) = names.iter().find(|name| !known.contains(name)) {
                return Err(TaskError::user(format!(
                    "serverGroupNames: {missing} does not exist in {region} of {account}; correct \
                     its name"
                )));
            }
            let going: Vec<String> = names.iter().map(ToString::to_string).collect();
            traffic_guard::check(ctx, "Destroying", &region, &going).await?;
        }
        let part = |name: &&str| {
            let input = json!({
                "account": account, "credentials": account, "region": region,
                "cloudProvider": provider, "serverGroupName": name, "asgName": name,
            });
            let input = input.as_object().cloned().unwrap_or_default();
            (self.operation.to_owned(), input)
        };
        let parts = names.iter().map(part).collect();
        let submitted = submit_operation::submit_all(ctx, parts).await?;
        Ok(submitted.with_context(LEFT, json!({ region: names })))
    }
}
