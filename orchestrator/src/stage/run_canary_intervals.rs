//! `runCanaryIntervals`: one judgement after the other, with the waits between them. Planned by `kayentaCanary`.
//! Source: `orca: RunCanaryIntervalsStage`.
//!
//! Differs from Spinnaker: a judge that decides after every step gets one run for the whole time, warm-up included,
//! instead of a stage per interval.

use orchestrator_core::{Description, NewStage, Owner, PlanError, StageDefinition, StageView};
use serde_json::{Map, Value, json};

use super::kayenta_canary::ON_INCONCLUSIVE;
use super::kayenta_canary::duration::seconds;
use super::kayenta_canary::settings::{Schedule, Settings};
use super::resolve_canary_config::{JUDGE, decides};
use super::{StageType, schema};
use crate::services::CanaryPlan;

/// The type.
pub(super) static STAGE: RunCanaryIntervals = RunCanaryIntervals;

/// What a run may take longer than its plan, ms: as long as Orca waits for a judgement.
const MARGIN_MS: u64 = 43_200_000;

/// See the module.
#[derive(Debug)]
pub(super) struct RunCanaryIntervals;

impl StageDefinition for RunCanaryIntervals {
    fn kind(&self) -> &'static str {
        "runCanaryIntervals"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Run canary intervals",
            text: "Judges a canary again and again over its lifetime.",
            category: "deploy",
        }
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let own = stage.stage.context.get("canaryConfig");
        let settings =
            Settings::read(own.or_else(|| stage.parent()?.stage.context.get("canaryConfig")))?;
        let schedule = settings.schedule(stage.stage.start_time.unwrap_or(0))?;
        let judge = stage.text(JUDGE).unwrap_or_default();
        if decides(judge) {
            return Ok(vec![one_run(stage, &settings, schedule)]);
        }
        schedule.check_count()?;
        let mut planned = Vec::new();
        if settings.warm_up_ms > 0 {
            planned.push(wait("Warmup Wait", settings.warm_up_ms));
        }
        for n in 1..=schedule.count {
            if !schedule.retrospective {
                planned.push(wait(&format!("Interval Wait #{n}"), schedule.interval_ms));
            }
            let window = schedule.window(n, settings.lookback_ms);
            let context = context(stage, &settings, window);
            planned.push(NewStage::new(
                "runCanary",
                &format!("Run Canary #{n}"),
                context,
            ));
        }
        Ok(NewStage::chain(planned))
    }

    fn schema(&self) -> Value {
        schema(
            &json!({"canaryConfig": {"type": "object"}}),
            &["canaryConfig"],
        )
    }
}

impl StageType for RunCanaryIntervals {}

fn wait(name: &str, ms: u64) -> NewStage {
    let mut context = Map::new();
    context.insert("waitTime".to_owned(), seconds(ms));
    NewStage::new("wait", name, context)
}

/// What the canary's own deployment made, as the first pair of it.
fn deployed(stage: StageView<'_>) -> Option<&Value> {
    let parent = stage.stage.parent_stage_id.as_ref()?;
    let mut beside = stage.execution.synthetics(parent, Some(Owner::StageBefore));
    let deployment = beside.find(|s| s.kind == "deployCanaryServerGroups")?;
    deployment.outputs.get("deployedServerGroups")?.get(0)
}

/// The context of one judgement (`orca: RunCanaryContext`).
fn context(stage: StageView<'_>, settings: &Settings, window: (i64, i64)) -> Map<String, Value> {
    let mut context = settings.accounts.clone();
    let resolved = stage.get("canaryConfigId").and_then(Value::as_str);
    let id = settings.config_id.as_deref().or(resolved);
    for (key, value) in [
        ("canaryConfigId", id),
        ("canaryConfigName", settings.config_name.as_deref()),
    ] {
        if let Some(value) = value {
            context.insert(key.to_owned(), value.into());
        }
    }
    let scopes = settings.request_scopes(window, deployed(stage));
    context.insert("scopes".to_owned(), scopes);
    context.insert("scoreThresholds".to_owned(), settings.thresholds.to_json());
    context.insert("siteLocal".to_owned(), settings.site_local.clone().into());
    for key in ["continuePipeline", ON_INCONCLUSIVE] {
        if let Some(value) = stage.stage.context.get(key).filter(|v| !v.is_null()) {
            context.insert(key.to_owned(), value.clone());
        }
    }
    context
}

/// One run that looks after every step.
fn one_run(stage: StageView<'_>, settings: &Settings, schedule: Schedule) -> NewStage {
    let whole = Schedule {
        interval_ms: schedule.lifetime_ms,
        ..schedule
    };
    let mut context = context(stage, settings, whole.window(1, 0));
    let plan = CanaryPlan {
        lifetime_ms: schedule.lifetime_ms,
        interval_ms: schedule.interval_ms,
        begin_after_ms: schedule.warm_up_ms,
        lookback_ms: settings.lookback_ms,
        baseline_offset_ms: settings.offset_ms,
        start_ms: schedule.base_ms,
        stop_at_marginal: true,
    };
    context.insert(
        "plan".to_owned(),
        serde_json::to_value(plan).unwrap_or_default(),
    );
    let limit = (schedule.lifetime_ms + schedule.warm_up_ms).saturating_add(MARGIN_MS);
    context.insert("stageTimeoutMs".to_owned(), limit.into());
    NewStage::new("runCanary", "Run Canary #1", context)
}
