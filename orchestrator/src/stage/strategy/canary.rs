//! `canary`: the new group stands beside the old one at full size and is given a
//! growing share of the requests; in the end the old one is taken out of traffic.
//!
//! Fields: `trafficPercentages`, closed by 100; `delayBeforeCleanup`, seconds a step
//! lasts; `pipelineBeforeCleanup`, a pipeline that must succeed after each step;
//! `scaleDown`. Spinnaker has no such strategy: it is for providers whose load
//! balancer weighs groups.

use orchestrator_core::{NewStage, PlanError, StageView};
use serde_json::{Map, Value, json};

use super::{Strategy, steps};
use crate::provider;
use crate::stage::create_server_group::deployed_here;

/// The strategy.
pub(super) static STRATEGY: Canary = Canary;

const PERCENTAGES: &str = "trafficPercentages";

/// See the module.
#[derive(Debug)]
pub(super) struct Canary;

fn shift(stage: StageView<'_>, source: &str, deployed: &str, step: i64) -> NewStage {
    let weights = if step == 100 {
        // What it has from now on; the old group is drained next.
        json!({ deployed: 100 })
    } else {
        json!({ deployed: step, source: 100 - step })
    };
    let context = steps::with(stage, json!({ "weights": weights }));
    let name = format!("Shift {step}% of Traffic to {deployed}");
    NewStage::new("shiftTraffic", &name, context)
}

impl Strategy for Canary {
    fn key(&self) -> &'static str {
        "canary"
    }

    fn label(&self) -> &'static str {
        "Canary by weight"
    }

    /// It begins with next to nothing of the requests.
    fn prepare(&self, context: &Map<String, Value>) -> Map<String, Value> {
        let mut changes = Map::new();
        let source = context.get("source").and_then(|s| s.get("serverGroupName"));
        if source.is_some() {
            changes.insert("weight".to_owned(), 1.into());
        }
        changes
    }

    fn faults(&self, context: &Map<String, Value>) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let own = provider::of(context);
        if !own.shifts_traffic() {
            let message = format!(
                "canary needs a load balancer that weighs server groups, which {} has not; \
                 use rollingredblack",
                own.key()
            );
            faults.push(("strategy", message));
        }
        let steps = steps::percentages(context, PERCENTAGES).err();
        faults.extend(steps.map(|message| (PERCENTAGES, message)));
        faults
    }

    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let percentages = steps::percentages(&stage.stage.context, PERCENTAGES)
            .map_err(|message| format!("{PERCENTAGES}: {message}"))?;
        let Some(source) = steps::source(stage) else {
            return Ok(Vec::new());
        };
        let (_, deployed) = deployed_here(stage).ok_or("nothing was deployed to shift to")?;
        let mut planned = Vec::new();
        for step in percentages {
            planned.push(shift(stage, &source, &deployed, step));
            if step < 100 {
                let name = format!("Wait at {step}%");
                planned.extend(steps::wait(stage, &name, &steps::DELAY));
                planned.extend(steps::validation(stage, &deployed, step).map(|mut s| {
                    s.name = format!("{} at {step}%", s.name);
                    s
                }));
            }
        }
        planned.push(steps::disable_cluster(stage));
        planned.extend(steps::scale_down(stage));
        Ok(planned)
    }

    fn rollback(&self, _stage: StageView<'_>) -> Option<Value> {
        Some(json!({"enableAndDisableOnly": true, "onlyEnabledServerGroups": true}))
    }
}
