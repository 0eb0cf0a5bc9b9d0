//! `checkPreconditions`: conditions that must hold, each a stage of its own.
//! Source: `orca: CheckPreconditionsStage`, `ExpressionPreconditionTask`,
//! `StageStatusPreconditionTask`, `ClusterSizePreconditionTask`.

use async_trait::async_trait;
use authorization::Permission;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, NewStage, PlanError, StageDefinition, StageView, Status, TaskError, TaskPolicy,
    TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, bare_expression, schema};
use crate::task::{Task, TaskContext, access, failed, number, server_group};

/// The type.
pub(super) static STAGE: CheckPreconditions = CheckPreconditions;

const TASK: &str = "checkPrecondition";
const TYPES: [&str; 3] = ["expression", "stageStatus", "clusterSize"];
/// What a precondition takes over from its stage.
const INHERITED: [&str; 4] = ["cluster", "regions", "credentials", "zones"];

/// Preconditions of one stage; each becomes a stage.
const MOST: usize = 100;

fn kind_of(precondition: &Value) -> &str {
    precondition
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// See the module.
#[derive(Debug)]
pub(super) struct CheckPreconditions;

impl StageDefinition for CheckPreconditions {
    fn kind(&self) -> &'static str {
        "checkPreconditions"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Check preconditions",
            text: "Checks conditions before the pipeline goes on.",
            category: "flow",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let is_one = stage.stage.context.contains_key("preconditionType");
        Ok(if is_one {
            vec![TaskSpec::new("checkPrecondition", TASK)]
        } else {
            Vec::new()
        })
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        if stage.stage.context.contains_key("preconditionType") {
            return Ok(Vec::new());
        }
        let listed = stage
            .stage
            .context
            .get("preconditions")
            .and_then(Value::as_array);
        if let Some(count) = listed.map(Vec::len).filter(|count| *count > MOST) {
            return Err(format!(
                "{count} preconditions are more than the {MOST} allowed"
            ));
        }
        listed
            .into_iter()
            .flatten()
            .map(|one| child(stage, one))
            .collect()
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let Some(Value::Array(listed)) = context.get("preconditions") else {
            return Vec::new();
        };
        let mut faults = Vec::new();
        if listed.len() > MOST {
            let message = format!("{} are more than the {MOST} allowed", listed.len());
            faults.push(Fault::new(format!("{path}.preconditions"), message));
        }
        for (i, one) in listed.iter().take(MOST).enumerate() {
            let condition = one.pointer("/context/expression").and_then(Value::as_str);
            if kind_of(one) == "expression"
                && let Some(Err(message)) = condition.map(bare_expression)
            {
                let at = format!("{path}.preconditions[{i}].context.expression");
                faults.push(Fault::new(at, message));
            }
            let kind = kind_of(one);
            if !TYPES.contains(&kind) {
                faults.push(Fault::new(
                    format!("{path}.preconditions[{i}].type"),
                    format!(
                        "\"{kind}\" is no precondition; use one of {}",
                        TYPES.join(", ")
                    ),
                ));
            }
        }
        faults
    }

    fn schema(&self) -> Value {
        let one = json!({
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": TYPES},
                "failPipeline": {"type": "boolean", "default": true},
                "context": {"type": "object"},
            },
            "required": ["type"],
        });
        schema(
            &json!({"preconditions": {"type": "array", "title": "Preconditions", "items": one}}),
            &["preconditions"],
        )
    }
}

impl StageType for CheckPreconditions {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&CheckPrecondition]
    }
}

fn child(stage: StageView<'_>, precondition: &Value) -> Result<NewStage, PlanError> {
    let Value::Object(precondition) = precondition else {
        return Err(format!(
            "precondition {precondition} is not an object; correct it"
        ));
    };
    let kind = precondition
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut context = stage.stage.context.clone();
    context.shift_remove("preconditions");
    context.shift_remove("expressionEvaluationSummary");
    context.extend(precondition.clone());
    context.insert("preconditionType".to_owned(), kind.into());
    context.insert("type".to_owned(), "checkPreconditions".into());
    let mut own = match context.get("context") {
        Some(Value::Object(own)) => own.clone(),
        _ => Map::new(),
    };
    for key in INHERITED {
        if let Some(value) = stage.stage.context.get(key) {
            own.entry(key).or_insert_with(|| value.clone());
        }
    }
    context.insert("context".to_owned(), own.into());
    Ok(NewStage::new(
        "checkPreconditions",
        &format!("Check precondition ({kind})"),
        context,
    ))
}

#[derive(Debug)]
struct CheckPrecondition;

#[async_trait]
impl Task for CheckPrecondition {
    fn kind(&self) -> &'static str {
        TASK
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(5_000, 30_000)
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        let own = own(ctx);
        match ctx.text("preconditionType") {
            Some("expression") => {
                let evaluated = ctx.evaluate(&template(&own))?;
                Some(Ok(holding(own, evaluated.ok())))
            }
            Some("stageStatus") => Some(stage_status(ctx, &own)),
            Some("clusterSize") => None,
            other => Some(Err(TaskError::user(format!(
                "precondition type \"{}\" does not exist; use one of {}",
                other.unwrap_or_default(),
                TYPES.join(", ")
            )))),
        }
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        if let Some(decided) = self.decide(ctx) {
            return decided;
        }
        let own = own(ctx);
        if ctx.text("preconditionType") == Some("expression") {
            let evaluated = ctx.evaluate_fetching(&template(&own)).await;
            return Ok(holding(own, evaluated.ok()));
        }
        cluster_size(ctx, &own).await
    }
}

fn own(ctx: &TaskContext<'_>) -> Map<String, Value> {
    ctx.own("context")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn written(own: &Map<String, Value>) -> String {
    own.get("expression").map(text_of).unwrap_or_default()
}

/// The condition, which may be written without its braces.
fn template(own: &Map<String, Value>) -> Value {
    let written = written(own);
    Value::from(if written.contains("${") {
        written
    } else {
        format!("${{{written}}}")
    })
}

/// What follows from the value of the condition; none if it could not be evaluated.
fn holding(mut own: Map<String, Value>, value: Option<Value>) -> TaskResult {
    let result = value.map_or_else(|| written(&own), |value| text_of(&value));
    let holds = result.trim().eq_ignore_ascii_case("true");
    own.insert("expressionResult".to_owned(), result.into());
    let status = if holds {
        Status::Succeeded
    } else {
        Status::Terminal
    };
    let mut answer = TaskResult::status(status);
    if !holds && let Some(message) = own.get("failureMessage").and_then(Value::as_str) {
        let details = json!({"error": "Precondition failed", "errors": [message]});
        answer = answer.with_context("exception", json!({"details": details}));
    }
    answer.with_context("context", own)
}

/// The failure of a precondition, in the user's words if there are any.
fn unmet(own: &Map<String, Value>, message: String) -> TaskError {
    let own = own
        .get("failureMessage")
        .and_then(Value::as_str)
        .filter(|m| !m.is_empty());
    TaskError::user(own.map_or(message, ToOwned::to_owned))
}

fn stage_status(ctx: &TaskContext<'_>, own: &Map<String, Value>) -> Result<TaskResult, TaskError> {
    let text = |key: &str| own.get(key).and_then(Value::as_str).unwrap_or_default();
    let (name, wanted) = (text("stageName"), text("stageStatus"));
    let Some(stage) = ctx.execution.stages.iter().find(|s| s.name == name) else {
        return Err(unmet(own, format!("Failed to find stage with name {name}")));
    };
    if stage.status.as_str() == wanted {
        return Ok(TaskResult::succeeded());
    }
    let message = format!(
        "The status of stage {name} was not {wanted}, but {}",
        stage.status
    );
    Err(unmet(own, message))
}

async fn cluster_size(
    ctx: &TaskContext<'_>,
    own: &Map<String, Value>,
) -> Result<TaskResult, TaskError> {
    let text = |key: &str| own.get(key).and_then(Value::as_str).unwrap_or_default();
    let moniker = |key: &str| {
        let part = own.get("moniker").and_then(|moniker| moniker.get(key));
        part.and_then(Value::as_str).filter(|text| !text.is_empty())
    };
    let cluster = moniker("cluster").unwrap_or_else(|| text("cluster"));
    let application = moniker("app").unwrap_or(&ctx.execution.application);
    if !application.eq_ignore_ascii_case(&ctx.execution.application) {
        access::require(ctx, application, Permission::Read).await?;
    }
    let account = text("credentials");
    let expected = own.get("expected").and_then(number).unwrap_or(1.0);
    let comparison = match text("comparison") {
        "" => "==",
        other => other,
    };
    let only_enabled = own.get("onlyEnabledServerGroups").and_then(Value::as_bool) == Some(true);
    let found = ctx
        .services
        .cloud_driver()
        .cluster(application, account, cluster, text("cloudProvider"))
        .await
        .map_err(failed)?
        .unwrap_or_default();
    let regions = own
        .get("regions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut faults = Vec::new();
    for region in regions.iter().filter_map(Value::as_str) {
        let mut groups: Vec<_> = server_group::of_cluster(&found, region)
            .filter(|g| !only_enabled || !server_group::is_disabled(g))
            .map(|g| server_group::name(g).to_owned())
            .collect();
        groups.sort();
        let size = f64::from(u32::try_from(groups.len()).unwrap_or(u32::MAX));
        let holds = match comparison {
            "<" => size < expected,
            "<=" => size <= expected,
            ">" => size > expected,
            ">=" => size >= expected,
            _ => (size - expected).abs() < 0.5,
        };
        if !holds {
            let which = if only_enabled { "enabled " } else { "" };
            // Names of groups tell which cluster it is; where there are none it has to be said.
            let of = match groups.is_empty() {
                true => format!(" of cluster {cluster}"),
                false => String::new(),
            };
            faults.push(format!(
                "expected {comparison} {expected} {which}server groups in {region} but found {}: \
                 [{}]{of}",
                groups.len(),
                groups.join(", ")
            ));
        }
    }
    if faults.is_empty() {
        Ok(TaskResult::succeeded())
    } else {
        let message = format!(
            "Precondition check failed: {}. Please clean up the cluster to only have the specific \
             number of server groups, or opt out of this check in your deploy stage.",
            faults.join(", ")
        );
        Err(unmet(own, message))
    }
}
