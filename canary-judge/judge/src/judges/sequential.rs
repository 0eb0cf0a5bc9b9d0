//! `SequentialJudge-v1.0`: looks after every step, and decides as soon as the evidence suffices. What it knows is in
//! [`crate::sequential`].

use super::{Judge, Outlook};
use crate::config::{CanaryConfig, Thresholds};
use crate::error::Error;
use crate::metric_set::MetricSetPair;
use crate::noise::Noise;
use crate::result::JudgeResult;
use crate::sequential::Settings;
use crate::sequential::beware::beware;
use crate::sequential::report::Report;
use crate::sequential::unit::Units;
use crate::sequential::verdict::verdict;

/// The judge that may be asked after every step.
#[derive(Debug, Clone, Copy)]
pub struct Sequential;

impl Judge for Sequential {
    fn name(&self) -> &'static str {
        "SequentialJudge-v1.0"
    }

    fn is_visible(&self) -> bool {
        true
    }

    /// The last look.
    fn judge(
        &self,
        config: &CanaryConfig,
        thresholds: Thresholds,
        pairs: &[MetricSetPair],
        noise: &mut Noise,
    ) -> Result<JudgeResult, Error> {
        self.look(config, thresholds, pairs, noise, Outlook::default())
    }

    fn look(
        &self,
        config: &CanaryConfig,
        thresholds: Thresholds,
        pairs: &[MetricSetPair],
        _noise: &mut Noise,
        outlook: Outlook,
    ) -> Result<JudgeResult, Error> {
        let settings = Settings::read(config)?;
        let units = Units::of(config, &settings, pairs, outlook)?;
        let verdict = verdict(&units, &settings, outlook);
        let mut units = units.at(&verdict.seen);
        let told = beware(config, &settings, &units)?;
        units.warnings.extend(told);
        let report = Report {
            judge_name: self.name(),
            config,
            thresholds,
            settings: &settings,
            pairs,
            units: &units,
            verdict: &verdict,
        };
        report.result()
    }
}
