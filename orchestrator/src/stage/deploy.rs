//! `deploy`: server groups in one cluster or several, at the same time.
//! Source: `orca: ParallelDeployStage`.

mod in_strategy;

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, NewStage, PlanError, Stage, StageDefinition, StageView, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, strategy, unbuilt};
use crate::task::server_group::regions_of;
use crate::task::{Task, TaskContext};

/// The type.
pub(super) static STAGE: Deploy = Deploy;

const DEPLOYED: &str = "deploy.server.groups";
/// What clusters do not take over from the stage.
const NOT_INHERITED: &[&str] = &[
    "clusters",
    "cluster",
    "trafficOptions",
    "expressionEvaluationSummary",
    "restartDetails",
    "restrictExecutionDuringTimeWindow",
    "restrictedExecutionWindow",
    "stageEnabled",
];

/// Clusters of one stage; each becomes a stage.
const MOST_CLUSTERS: usize = 50;

/// See the module.
#[derive(Debug)]
pub(super) struct Deploy;

impl StageDefinition for Deploy {
    fn kind(&self) -> &'static str {
        "deploy"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Deploy",
            text: "Deploys an image as new server groups, with a strategy for the old ones.",
            category: "deploy",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(
            "completeParallelDeploy",
            Complete.kind(),
        )])
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let parameters = stage.execution.trigger.get("parameters");
        let clone = parameters.and_then(|p| p.get("clone"));
        let clone = clone.is_some_and(|c| *c == json!(true) || *c == json!("true"));
        let (kind, verb) = if clone {
            ("cloneServerGroup", "Clone")
        } else {
            ("createServerGroup", "Deploy")
        };
        let mut planned = Vec::new();
        let of_strategy = in_strategy::cluster(stage)?;
        let found = match &of_strategy {
            Some(cluster) => vec![("cluster.".to_owned(), cluster)],
            None => clusters(&stage.stage.context)?,
        };
        if found.is_empty() || found.len() > MOST_CLUSTERS {
            let count = found.len();
            return Err(format!(
                "{count} clusters are to be deployed; name 1 to {MOST_CLUSTERS}"
            ));
        }
        for (path, cluster) in found {
            let mut context = stage.stage.context.clone();
            context.retain(|key, _| !NOT_INHERITED.contains(&key.as_str()));
            for (key, value) in cluster {
                context.insert(key.clone(), value.clone());
            }
            unbuilt::require_provider_of(&stage.stage.kind, &context)?;
            let account = ["account", "credentials"]
                .iter()
                .find_map(|key| context.get(*key).filter(|v| v.is_string()).cloned())
                .ok_or_else(|| {
                    format!("{path}account is missing; name the account to deploy to")
                })?;
            context.insert("account".to_owned(), account);
            let region = regions_of(&context)
                .into_iter()
                .next()
                .ok_or_else(|| format!("{path}region is missing; name a region of the account"))?;
            context.insert("region".to_owned(), region.clone().into());
            let name = format!("{verb} in {region}");
            context.insert("type".to_owned(), kind.into());
            context.insert("name".to_owned(), name.clone().into());
            planned.push(NewStage::new(kind, &name, context));
        }
        Ok(planned)
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        stage.context.remove(DEPLOYED);
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let found = match clusters(context) {
            Ok(found) => found,
            Err(message) => return vec![Fault::new(format!("{path}.clusters"), message)],
        };
        let mut faults = Vec::new();
        if found.is_empty() || found.len() > MOST_CLUSTERS {
            let message = match found.len() {
                0 => "it is empty; name what to deploy".to_owned(),
                many => format!("{many} are more than the {MOST_CLUSTERS} allowed"),
            };
            return vec![Fault::new(format!("{path}.clusters"), message)];
        }
        for (at, cluster) in found {
            let own = |key: &str| {
                cluster
                    .get(key)
                    .or_else(|| context.get(key))
                    .and_then(Value::as_str)
            };
            if own("account")
                .or_else(|| own("credentials"))
                .is_none_or(str::is_empty)
            {
                let message = "it is missing; name the account to deploy to";
                faults.push(Fault::new(format!("{path}.{at}account"), message));
            }
            if regions_of(cluster).is_empty() && regions_of(context).is_empty() {
                let message = "it is missing; name a region of the account";
                faults.push(Fault::new(format!("{path}.{at}region"), message));
            }
            let key = cluster.get("strategy");
            let is_template = key
                .and_then(Value::as_str)
                .is_some_and(|k| k.contains("${"));
            if let Err(message) = strategy::named(key)
                && !is_template
            {
                faults.push(Fault::new(format!("{path}.{at}strategy"), message));
            }
        }
        faults
    }

    fn schema(&self) -> Value {
        let keys: Vec<_> = strategy::STRATEGIES.iter().map(|s| s.key()).collect();
        let cluster = json!({
            "type": "object",
            "properties": {
                "application": {"type": "string"},
                "stack": {"type": "string"},
                "freeFormDetails": {"type": "string"},
                "account": {"type": "string"},
                "region": {"type": "string"},
                "imageId": {"type": "string", "title": "Image", "description": "registry/repository:tag"},
                "strategy": {"type": "string", "enum": keys, "default": "none"},
                "strategyApplication": {"type": "string", "title": "Application of a custom strategy"},
                "strategyPipeline": {"type": "string", "title": "Id of a custom strategy"},
                "pipelineParameters": {"type": "object", "title": "Parameters of a custom strategy"},
                "deploySteps": {"type": "array", "items": {"type": "integer"}, "title": "Steps, in percent"},
                "deploymentMonitor": {
                    "type": "object", "title": "Who judges each step",
                    "properties": {"id": {"type": "string"}, "parameters": {"type": "object"}},
                },
                "failureActions": {
                    "type": "object", "title": "After a step that is judged bad",
                    "properties": {
                        "rollback": {"type": "string", "enum": ["None", "Automatic", "Manual"]},
                        "destroyInstances": {"type": "boolean"},
                    },
                },
                "capacity": {"type": "object"},
                "loadBalancers": {"type": "array", "items": {"type": "string"}},
                "env": {"type": "object"},
                "healthCheck": {"type": "object"},
                "drain": {
                    "type": "object", "title": "How workers behind no load balancer are drained",
                    "properties": {
                        "path": {"type": "string", "title": "Hook: POST drains, GET asks, DELETE resumes"},
                        "signal": {"type": "string", "title": "Signal, instead of the hook's POST"},
                        "resume": {"type": "boolean"},
                        "timeoutMs": {"type": "integer", "default": 60_000},
                        "onDeadline": {"type": "string", "enum": ["wait", "fail", "stop"], "default": "fail"},
                    },
                },
                "floor": {"type": "integer", "title": "Instances that always serve"},
                "allowOutage": {"type": "boolean"},
                "rollback": {"type": "object", "properties": {"onFailure": {"type": "boolean"}}},
            },
            "required": ["account", "region"],
        });
        schema(
            &json!({
                "clusters": {"type": "array", "title": "Clusters", "items": cluster},
                "trafficOptions": {
                    "type": "string", "title": "Traffic, in a strategy",
                    "enum": ["inherit", "enable", "disable"],
                },
            }),
            &["clusters"],
        )
    }
}

impl StageType for Deploy {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Complete]
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        let mut found = match stage.contains_key("clusters") || stage.contains_key("cluster") {
            // What clusters take over.
            true => accounts_of(stage, ""),
            false => Vec::new(),
        };
        for (path, cluster) in clusters(stage).unwrap_or_default() {
            found.extend(accounts_of(cluster, &path));
        }
        found
    }
}

/// Whether a stage says what it deploys.
fn has_clusters(context: &Map<String, Value>) -> bool {
    let own = |key: &str| {
        context
            .get(key)
            .is_some_and(|v| !v.is_null() && *v != json!([]))
    };
    own("clusters") || own("cluster") || own("account") || own("credentials")
}

/// A cluster with its path, such as `clusters[0].`.
type Cluster<'a> = (String, &'a Map<String, Value>);

/// The clusters of a stage: of its list, its one cluster, or the stage itself when
/// it is an ad-hoc job.
fn clusters(context: &Map<String, Value>) -> Result<Vec<Cluster<'_>>, PlanError> {
    match (context.get("clusters"), context.get("cluster")) {
        (Some(Value::Array(list)), _) => list
            .iter()
            .enumerate()
            .map(|(i, cluster)| {
                let cluster = cluster.as_object();
                cluster
                    .map(|c| (format!("clusters[{i}]."), c))
                    .ok_or_else(|| format!("clusters[{i}] is not an object; correct it"))
            })
            .collect(),
        (Some(Value::Null) | None, Some(Value::Object(cluster))) => {
            Ok(vec![("cluster.".to_owned(), cluster)])
        }
        (Some(Value::Null) | None, _) => Ok(vec![(String::new(), context)]),
        (Some(_), _) => Err("it is not a list; send a list of clusters".to_owned()),
    }
}

/// Closes the stage. What was deployed is in the contexts of the stages below, as in
/// Orca; this one says nothing of it.
#[derive(Debug)]
struct Complete;

#[async_trait]
impl Task for Complete {
    fn kind(&self) -> &'static str {
        "completeParallelDeploy"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, _ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(Ok(TaskResult::succeeded()))
    }
}
