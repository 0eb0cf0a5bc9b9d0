//! `promoteEnvironment`: what runs healthy in one environment is deployed to another, by copying
//! what runs there. Spinnaker has no such verb; there a pipeline has to be written for it.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, NewStage, PlanError, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use proto::moniker::Moniker;
use serde_json::{Map, Value, json};

use super::{StageType, schema, strategy};
use crate::provider;
use crate::task::environment::{self, PLANNED, Place};
use crate::task::{Task, TaskContext, quarantine, server_group};

/// The type.
pub(super) static STAGE: PromoteEnvironment = PromoteEnvironment;

/// The old version goes on until the new one serves, unless the task names another strategy.
const STRATEGY: &str = "redblack";

/// See the module.
#[derive(Debug)]
pub(super) struct PromoteEnvironment;

impl StageDefinition for PromoteEnvironment {
    fn kind(&self) -> &'static str {
        "promoteEnvironment"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Promote environment",
            text: "Deploys what runs healthy in one environment to another.",
            category: "deploy",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new("determinePromotion", Determine.kind())])
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(environment::planned(stage))
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        for field in ["from", "to"] {
            let named = context.get(field).and_then(Value::as_str);
            if named.is_none_or(|name| name.trim().is_empty()) {
                let message = "it is missing; name an environment";
                faults.push(Fault::new(format!("{path}.{field}"), message));
            }
        }
        faults.extend(strategy::faults(context, path));
        faults
    }

    fn schema(&self) -> Value {
        let keys: Vec<_> = strategy::STRATEGIES.iter().map(|s| s.key()).collect();
        schema(
            &json!({
                "from": {"type": "string", "title": "Environment it runs in"},
                "to": {"type": "string", "title": "Environment to deploy to"},
                "cluster": {"type": "string", "title": "Only this cluster"},
                "strategy": {"type": "string", "enum": keys, "default": STRATEGY},
            }),
            &["from", "to"],
        )
    }
}

impl StageType for PromoteEnvironment {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Determine]
    }
}

#[derive(Debug)]
struct Determine;

#[async_trait]
impl Task for Determine {
    fn kind(&self) -> &'static str {
        "determinePromotion"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 300_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        if ctx.own(PLANNED).is_some() {
            return Ok(TaskResult::succeeded());
        }
        strategy::named(ctx.own("strategy")).map_err(TaskError::user)?;
        let application = environment::application(ctx)?;
        let (from, to) = (ctx.text("from"), ctx.text("to"));
        let sources = environment::accounts(ctx, "from").await?;
        let targets = environment::accounts(ctx, "to").await?;
        let sources = environment::places(ctx, application, &sources).await?;
        let targets = environment::places(ctx, application, &targets).await?;
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
        if targets.is_empty() {
            return Err(TaskError::user(format!(
                "application {application} has no server group in environment {to} to copy; deploy \
                 there once by a pipeline"
            )));
        }
        let mut planned = Vec::new();
        for target in &targets {
            let image = version(&sources, &target.cluster, application, from)?;
            let serving = target.serving().and_then(server_group::image);
            if serving == Some(image) {
                continue;
            }
            let held = quarantine::of_cluster(ctx, &target.account, &target.cluster).await?;
            if quarantine::holds(&held, Some(image)) {
                return Err(TaskError::user(format!(
                    "{image} was rolled back and is in quarantine for {}; release {}/{}/{image} \
                     (DELETE /quarantine/{{id}}), or promote another version",
                    target.words(),
                    target.account,
                    target.cluster,
                )));
            }
            planned.extend(copied(ctx, target, image));
        }
        Ok(TaskResult::succeeded().with_context(PLANNED, planned))
    }
}

/// The one version that runs healthy in a cluster of that name, else in all clusters.
fn version<'a>(
    sources: &'a [Place],
    cluster: &str,
    application: &str,
    from: &str,
) -> Result<&'a str, TaskError> {
    let named: Vec<&Place> = sources.iter().filter(|p| p.cluster == cluster).collect();
    let considered = if named.is_empty() {
        sources.iter().collect()
    } else {
        named
    };
    let mut images: Vec<&str> = considered.iter().flat_map(|p| p.healthy()).collect();
    images.sort_unstable();
    images.dedup();
    match images.as_slice() {
        [one] => Ok(one),
        [] => Err(TaskError::user(format!(
            "nothing of application {application} runs healthy in environment {from}; deploy there first"
        ))),
        many => Err(TaskError::user(format!(
            "environment {from} runs {} beside each other, so what is to be promoted to cluster \
             {cluster} is open; name a cluster, or wait until one version runs",
            many.join(" and ")
        ))),
    }
}

/// The stage that deploys an image as the successor of what runs at a place.
fn copied(ctx: &TaskContext<'_>, target: &Place, image: &str) -> Option<Value> {
    let source = target.serving().or_else(|| target.groups.first())?;
    let name = server_group::name(source);
    let moniker = Moniker::parse(name);
    let copies = provider::of(&ctx.stage.context).pins_new_group();
    let mut context = json!({
        "account": target.account, "credentials": target.account, "region": target.region,
        "cloudProvider": server_group::provider(ctx), "imageId": image,
        "application": moniker.app.unwrap_or_else(|| ctx.execution.application.clone()),
        "strategy": ctx.text("strategy").unwrap_or(STRATEGY),
        "source": {
            "account": target.account, "region": target.region, "asgName": name,
            "serverGroupName": name, "useSourceCapacity": copies,
        },
        "rollback": {"onFailure": true},
    });
    for (key, value) in [
        ("stack", moniker.stack),
        ("freeFormDetails", moniker.detail),
    ] {
        if let Some(value) = value {
            context[key] = value.into();
        }
    }
    if copies {
        context["useSourceCapacity"] = true.into();
    } else {
        context["capacity"] = server_group::capacity(source).to_json();
    }
    let name = format!("Deploy {image} to {} in {}", target.cluster, target.region);
    Some(json!({"type": "cloneServerGroup", "name": name, "context": context}))
}
