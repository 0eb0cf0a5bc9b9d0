//! `upsertLoadBalancers`: load balancers, made or changed, several at once.
//! Source: `orca: UpsertLoadBalancersStage`, `UpsertLoadBalancerResultObjectExtrapolationTask`.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, targeted, unbuilt};
use crate::task::server_group::regions_of;
use crate::task::{CANCEL_OPERATION, MONITOR_OPERATION, Task, TaskContext, submit_operation};

/// The type.
pub(super) static STAGE: Upsert = Upsert {
    kind: "upsertLoadBalancers",
    label: "Upsert load balancers",
    task: &SUBMIT,
    tasks: &[&SUBMIT, &Extrapolate],
};

static SUBMIT: Submit = Submit("upsertLoadBalancers");

/// A type that makes or changes load balancers.
pub(super) struct Upsert {
    pub(super) kind: &'static str,
    pub(super) label: &'static str,
    pub(super) task: &'static Submit,
    pub(super) tasks: &'static [&'static dyn Task],
}

/// A load balancer with its path, such as `loadBalancers[0].`.
type Described = (String, Map<String, Value>);

/// What a stage describes, with paths: those of its list, else itself.
fn described(context: &Map<String, Value>) -> Result<Vec<Described>, String> {
    match context.get("loadBalancers") {
        Some(Value::Array(list)) => {
            let one = |(n, entry): (usize, &Value)| match entry {
                // An account or a provider of the stage's is for all of them.
                Value::Object(own) => {
                    let mut all = Map::new();
                    for key in ["account", "credentials", "cloudProvider", "region"] {
                        if let Some(value) = context.get(key) {
                            all.insert(key.to_owned(), value.clone());
                        }
                    }
                    all.extend(own.clone());
                    Ok((format!("loadBalancers[{n}]."), all))
                }
                _ => Err(format!("loadBalancers[{n}] is not an object; correct it")),
            };
            list.iter().enumerate().map(one).collect()
        }
        _ => Ok(vec![(String::new(), context.clone())]),
    }
}

/// A load balancer's name; a stage's own `name` is the stage's.
fn name(balancer: &Map<String, Value>) -> Option<&str> {
    let text = |key: &&str| balancer.get(*key)?.as_str().filter(|t| !t.is_empty());
    ["loadBalancerName", "name", "balancer"]
        .iter()
        .find_map(text)
}

impl StageDefinition for Upsert {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn describe(&self) -> Description {
        Description {
            label: self.label,
            text: "Makes or changes load balancers.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        unbuilt::require_provider(stage.stage)?;
        Ok(vec![
            TaskSpec::new(self.kind, self.task.kind()),
            TaskSpec::new("monitorUpsert", MONITOR_OPERATION.kind()),
            TaskSpec::new("extrapolateUpsertResult", Extrapolate.kind()),
        ])
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let all = match described(context) {
            Ok(all) if !all.is_empty() => all,
            Ok(_) => {
                let message = "it is empty; describe a load balancer";
                return vec![Fault::new(format!("{path}.loadBalancers"), message)];
            }
            Err(message) => return vec![Fault::new(format!("{path}.loadBalancers"), message)],
        };
        let mut faults = Vec::new();
        for (at, balancer) in all {
            let own = format!("{path}.{at}");
            let own = own.trim_end_matches('.');
            faults.extend(targeted::place_faults(&balancer, own));
            if name(&balancer).is_none() {
                let message = "it is missing; name the load balancer";
                faults.push(Fault::new(format!("{own}.loadBalancerName"), message));
            }
        }
        faults
    }

    fn schema(&self) -> Value {
        let fields = json!({
            "account": {"type": "string", "title": "Account"},
            "region": {"type": "string", "title": "Region"},
            "loadBalancerName": {"type": "string", "title": "Name"},
            "path": {"type": "string", "title": "Path", "default": "/"},
            "host": {"type": "string", "title": "Host"},
        });
        if self.kind == "upsertLoadBalancer" {
            return schema(&fields, &["account", "region", "loadBalancerName"]);
        }
        let list = json!({"type": "array", "title": "Load balancers",
            "items": {"type": "object", "properties": fields}});
        schema(&json!({"loadBalancers": list}), &["loadBalancers"])
    }
}

impl StageType for Upsert {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        self.tasks
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        let all = described(stage).unwrap_or_default();
        let named = all
            .iter()
            .flat_map(|(at, balancer)| accounts_of(balancer, at));
        named.collect()
    }
}

/// Has them made, in one request.
#[derive(Debug)]
pub(super) struct Submit(pub(super) &'static str);

#[async_trait]
impl Task for Submit {
    fn kind(&self) -> &'static str {
        self.0
    }

    fn policy(&self) -> TaskPolicy {
        submit_operation::SUBMISSION
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let input = submit_operation::input_of(ctx);
        let all = described(&input).map_err(TaskError::user)?;
        let (mut parts, mut targets) = (Vec::new(), Vec::new());
        for (at, mut balancer) in all {
            let Some(name) = name(&balancer).map(ToOwned::to_owned) else {
                return Err(TaskError::user(format!(
                    "{at}loadBalancerName is missing; name the load balancer"
                )));
            };
            let account = balancer
                .get("account")
                .or_else(|| balancer.get("credentials"))
                .cloned()
                .unwrap_or_default();
            let regions = regions_of(&balancer);
            let mut target = json!({"credentials": account, "name": name, "regions": regions});
            for key in ["availabilityZones", "vpcId"] {
                if let Some(value) = balancer.get(key).filter(|v| !v.is_null()) {
                    target[key] = value.clone();
                }
            }
            targets.push(target);
            balancer.insert("account".to_owned(), account.clone());
            balancer.insert("credentials".to_owned(), account);
            balancer.insert("name".to_owned(), name.clone().into());
            balancer.insert("loadBalancerName".to_owned(), name.into());
            if let [region] = regions.as_slice() {
                balancer.insert("region".to_owned(), region.clone().into());
            }
            parts.push(("upsertLoadBalancer".to_owned(), balancer));
        }
        if parts.is_empty() {
            return Err(TaskError::user(
                "loadBalancers is empty; describe a load balancer",
            ));
        }
        let submitted = submit_operation::submit_all(ctx, parts).await?;
        Ok(submitted.with_context("targets", targets))
    }
}

/// The names that were given, and what leads there, next to what was asked for.
#[derive(Debug)]
pub(super) struct Extrapolate;

#[async_trait]
impl Task for Extrapolate {
    fn kind(&self) -> &'static str {
        "extrapolateUpsertResult"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let tasks = ctx.own("kato.tasks").and_then(Value::as_array);
        let made: Vec<&Value> = tasks
            .into_iter()
            .flatten()
            .filter_map(|task| task.get("resultObjects")?.as_array())
            .flatten()
            .filter_map(|result| result.get("loadBalancers"))
            .flat_map(|by_region| by_region.as_object().into_iter().flat_map(Map::values))
            .collect();
        let targets = ctx.own("targets").and_then(Value::as_array);
        let mut targets = targets.cloned().unwrap_or_default();
        for target in &mut targets {
            let own = made
                .iter()
                .find(|one| one.get("name") == target.get("name"));
            let address = own.and_then(|one| one.get("dnsName")).cloned();
            if let Some(address) = address {
                target["dnsName"] = address;
            }
        }
        Some(Ok(TaskResult::succeeded().with_context("targets", targets)))
    }
}
