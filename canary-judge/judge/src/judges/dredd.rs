//! `dredd-v1.0`: classifies by chance, for trying out what comes after a judgement. Source: `kayenta: RandomDummyJudge`.

use super::{Judge, metric_of, pair_by_pair};
use crate::classify::Classification;
use crate::config::{CanaryConfig, Thresholds};
use crate::descriptive::Statistics;
use crate::error::Error;
use crate::metric_set::MetricSetPair;
use crate::noise::Noise;
use crate::random::Random;
use crate::result::{AnalysisResult, JudgeResult};
use crate::score::round_half_up;

/// The judge that looks at no value.
#[derive(Debug, Clone, Copy)]
pub struct Dredd;

fn analyse(
    config: &CanaryConfig,
    pair: &MetricSetPair,
    random: &mut Random,
) -> Result<AnalysisResult, Error> {
    let metric = metric_of(config, pair)?;
    let (experiment, control) = (pair.side("experiment")?, pair.side("control")?);
    let drawn = round_half_up(random.uniform() * 100.0);
    let classification = if drawn >= 66.0 {
        Classification::High
    } else if drawn >= 33.0 {
        Classification::Pass
    } else {
        Classification::Low
    };
    Ok(AnalysisResult {
        name: pair.name.clone(),
        tags: pair.tags.clone(),
        id: pair.id.clone(),
        classification,
        classification_reason: None,
        groups: metric.groups.clone(),
        experiment_metadata: Statistics::of(experiment).to_json(),
        control_metadata: Statistics::of(control).to_json(),
        result_metadata: None,
        critical: false,
        muted: false,
    })
}

impl Judge for Dredd {
    fn name(&self) -> &'static str {
        "dredd-v1.0"
    }

    fn is_visible(&self) -> bool {
        false
    }

    fn judge(
        &self,
        config: &CanaryConfig,
        thresholds: Thresholds,
        pairs: &[MetricSetPair],
        noise: &mut Noise,
    ) -> Result<JudgeResult, Error> {
        pair_by_pair(self, config, thresholds, pairs, noise, analyse)
    }
}
