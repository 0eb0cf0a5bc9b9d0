//! `resolveCanaryConfig`: finds the config of a canary stage, by id or name, and says who judges by it. Planned by
//! `kayentaCanary`, before anything is deployed. Source of the texts: `orca: ResolveKayentaConfigIdTask`.

use async_trait::async_trait;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use proto::history::{LATE_MS, REMEMBERED_S};
use serde_json::{Value, json};

use super::kayenta_canary::on_behalf;
use super::kayenta_canary::settings::{Settings, text};
use super::{StageType, schema};
use crate::services::OnBehalf;
use crate::task::{Task, TaskContext, access, failed};

/// The type.
pub(super) static STAGE: ResolveCanaryConfig = ResolveCanaryConfig;

/// The name of the judge, in the outputs.
pub(super) const JUDGE: &str = "canaryJudge";

/// How far back the balancer's own history goes, ms, and its type among the queries. Every other store is asked by the
/// judge when a run starts.
const REMEMBERED_MS: u64 = REMEMBERED_S as u64 * 1_000;
const LOCAL: &str = "local";

/// How the judges begin that decide after every step.
const DECIDING: &str = "SequentialJudge";

/// Whether the judge of this name decides after every step.
pub(super) fn decides(judge: &str) -> bool {
    judge.starts_with(DECIDING)
}

/// See the module.
#[derive(Debug)]
pub(super) struct ResolveCanaryConfig;

impl StageDefinition for ResolveCanaryConfig {
    fn kind(&self) -> &'static str {
        "resolveCanaryConfig"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Resolve canary config",
            text: "Finds the config of a canary analysis.",
            category: "deploy",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new("resolveCanaryConfig", Resolve.kind())])
    }

    fn schema(&self) -> Value {
        schema(
            &json!({"canaryConfig": {"type": "object"}}),
            &["canaryConfig"],
        )
    }
}

impl StageType for ResolveCanaryConfig {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Resolve]
    }
}

#[derive(Debug)]
struct Resolve;

#[async_trait]
impl Task for Resolve {
    fn kind(&self) -> &'static str {
        "resolveCanaryConfig"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 600_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let settings = Settings::read(ctx.own("canaryConfig")).map_err(TaskError::user)?;
        let by = on_behalf(ctx).await?;
        let id = match (&settings.config_id, &settings.config_name) {
            (Some(id), _) => id.clone(),
            (None, name) => by_name(ctx, &by, name.as_deref().unwrap_or_default()).await?,
        };
        let config = readable_config(ctx, &by, &id).await?;
        check_scopes(&config, &settings)?;
        let judge = config.get("judge").and_then(|judge| judge.get("name"));
        let judge = judge.and_then(text).unwrap_or("NetflixACAJudge-v1.0");
        if !decides(judge) {
            // Before anything is deployed.
            let schedule = settings.schedule(ctx.now).map_err(TaskError::user)?;
            schedule.check_count().map_err(TaskError::user)?;
            check_memory(&config, &settings, settings.age_ms(&schedule, ctx.now))?;
        }
        let mut result = TaskResult::succeeded()
            .with_output("canaryConfigId", id)
            .with_output(JUDGE, judge);
        if let Some(name) = config.get("name").and_then(text) {
            result = result.with_output("canaryConfigName", name);
        }
        Ok(result)
    }
}

/// The config, if whom the stage acts for may READ one of its applications, as at the edge: judgements by it tell what
/// is in it.
pub(super) async fn readable_config(
    ctx: &TaskContext<'_>,
    by: &OnBehalf,
    id: &str,
) -> Result<Value, TaskError> {
    let judge = ctx.services.canary_judge();
    let Some(config) = judge.config(by, id).await.map_err(failed)? else {
        return Err(TaskError::user(format!(
            "canary config {id} does not exist; correct canaryConfig.canaryConfigId, or save the config first"
        )));
    };
    access::readable_canary_config(ctx.services.access(), ctx.user(), &config)
        .await
        .map_err(failed)?;
    Ok(config)
}

/// The one config of the application that has this name.
pub(super) async fn by_name(
    ctx: &TaskContext<'_>,
    by: &OnBehalf,
    name: &str,
) -> Result<String, TaskError> {
    let application = &ctx.execution.application;
    let judge = ctx.services.canary_judge();
    let configs = judge.configs(by, application).await.map_err(failed)?;
    let of_application = |config: &&Value| {
        let listed = config.get("applications").and_then(Value::as_array);
        listed.is_none_or(|list| list.iter().any(|a| a == application))
    };
    let named = configs
        .iter()
        .filter(|config| config.get("name").and_then(Value::as_str) == Some(name))
        .filter(of_application);
    let ids: Vec<&str> = named
        .filter_map(|config| config.get("id")?.as_str())
        .collect();
    match ids.as_slice() {
        [id] => Ok((*id).to_owned()),
        [] => Err(TaskError::user(format!(
            "Couldn't find a canary configId for configName {name} and application {application}"
        ))),
        _ => Err(TaskError::user(format!(
            "Found more than one canary configId for configName {name} and application {application}"
        ))),
    }
}

/// A metric whose scope the stage does not name would fail the first judgement, after the warm-up.
fn check_scopes(config: &Value, settings: &Settings) -> Result<(), TaskError> {
    let metrics = config.get("metrics").and_then(Value::as_array);
    for metric in metrics.into_iter().flatten() {
        let Some(wanted) = metric.get("scopeName").and_then(text) else {
            continue;
        };
        if settings.scopes.iter().all(|scope| scope.name != wanted) {
            let name = metric.get("name").and_then(text).unwrap_or("?");
            return Err(TaskError::user(format!(
                "canaryConfig.scopes: the config's metric \"{name}\" asks for scope \"{wanted}\", which is not among \
                 them; add it, or correct scopeName"
            )));
        }
    }
    Ok(())
}

/// Each judgement is a run of its own, so that the judge itself sees only at the last one that the balancer forgot what
/// it asks for, and a good canary would fail for it.
fn check_memory(config: &Value, settings: &Settings, age_ms: u64) -> Result<(), TaskError> {
    let metrics = config.get("metrics").and_then(Value::as_array);
    let mut metrics = metrics.into_iter().flatten();
    let forgets = |metric: &&Value| {
        let kind = metric.get("query").and_then(|query| query.get("type"));
        kind.and_then(Value::as_str) == Some(LOCAL)
    };
    let Some(metric) = metrics.find(forgets) else {
        return Ok(());
    };
    let over_ms = age_ms.saturating_add(LATE_MS.into());
    if settings.end_ms.is_some() || over_ms <= REMEMBERED_MS {
        return Ok(());
    }
    let (field, value_ms, remedy) = match settings.lookback_ms {
        0 => (
            "lifetimeDuration",
            settings.lifetime_ms.unwrap_or(0),
            "give lookbackMins or a shorter lifetime",
        ),
        lookback => ("lookbackMins", lookback, "give a shorter look-back"),
    };
    let less = match (settings.offset_ms, settings.start_ms) {
        (0, None) => "",
        (0, Some(_)) => ", or begin later",
        _ => ", or a smaller baselineAnalysisOffsetInMins",
    };
    let name = metric.get("name").and_then(text).unwrap_or("?");
    Err(TaskError::user(format!(
        "canaryConfig.{field}: of {} the last judgement would ask for metric \"{name}\" of {} ago, and the balancer \
         remembers {}, less a minute to judge: {remedy}{less}, or use a metric store that keeps its values",
        span(value_ms),
        span(age_ms),
        span(REMEMBERED_MS),
    )))
}

fn span(ms: u64) -> String {
    jiff::SignedDuration::from_secs(i64::try_from(ms / 1_000).unwrap_or(i64::MAX)).to_string()
}
