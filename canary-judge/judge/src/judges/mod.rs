//! The judges, by name.

mod dredd;
mod netflix;
mod sequential;

use std::fmt::Debug;

use crate::config::{CanaryConfig, MetricConfig, Thresholds};
use crate::error::Error;
use crate::metric_set::MetricSetPair;
use crate::noise::Noise;
use crate::random::Random;
use crate::result::{AnalysisResult, JudgeResult};
use crate::score::score;
use crate::trace::Traced;

pub use dredd::Dredd;
pub use netflix::NetflixAca;
pub use sequential::Sequential;

/// Who compares the canary with its baseline.
pub trait Judge: Debug + Sync {
    /// The name configs have it by.
    fn name(&self) -> &'static str;

    /// Whether it is proposed to people.
    fn is_visible(&self) -> bool;

    /// Judges all pairs of a canary. The judge that the config names is not asked for: whoever calls has chosen.
    fn judge(
        &self,
        config: &CanaryConfig,
        thresholds: Thresholds,
        pairs: &[MetricSetPair],
        noise: &mut Noise,
    ) -> Result<JudgeResult, Error>;

    /// Looks at what there is of a canary that runs, with `outlook` on what may still come. A judge that decides only
    /// at the end judges as ever.
    fn look(
        &self,
        config: &CanaryConfig,
        thresholds: Thresholds,
        pairs: &[MetricSetPair],
        noise: &mut Noise,
        _outlook: Outlook,
    ) -> Result<JudgeResult, Error> {
        self.judge(config, thresholds, pairs, noise)
    }

    /// The values on the way to its classifications, one entry a pair in order; none if it has no such values.
    fn trace(
        &self,
        _config: &CanaryConfig,
        _pairs: &[MetricSetPair],
        _noise: &mut Noise,
    ) -> Option<Result<Vec<Traced>, Error>> {
        None
    }
}

/// What a look may still hope for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlook {
    /// Steps that are still to come until the canary's horizon; 0 if this is the last look.
    pub remaining: u64,
    /// Steps that have passed since the newest value's; a store has settled that many. 0 if nobody knows.
    pub waited: u64,
}

/// All judges, the one for configs that name none first.
pub const JUDGES: [&dyn Judge; 3] = [&NetflixAca, &Sequential, &Dredd];

/// The judge of this name, the first one without a name.
pub fn resolve(name: Option<&str>) -> Result<&'static dyn Judge, Error> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(JUDGES[0]);
    };
    let found = JUDGES.iter().find(|judge| judge.name() == name).copied();
    found.ok_or_else(|| Error::UnknownJudge {
        name: name.to_owned(),
    })
}

/// What `analyse` says of each pair, and the score of all: a judge that looks at one pair at a time.
fn pair_by_pair(
    judge: &dyn Judge,
    config: &CanaryConfig,
    thresholds: Thresholds,
    pairs: &[MetricSetPair],
    noise: &mut Noise,
    analyse: fn(&CanaryConfig, &MetricSetPair, &mut Random) -> Result<AnalysisResult, Error>,
) -> Result<JudgeResult, Error> {
    let results = pairs
        .iter()
        .map(|pair| analyse(config, pair, noise.begin(pair)));
    let results = results.collect::<Result<_, _>>()?;
    Ok(score(judge.name(), config, thresholds, results)?)
}

/// The metric that `pair` is of.
pub(crate) fn metric_of<'a>(
    config: &'a CanaryConfig,
    pair: &MetricSetPair,
) -> Result<&'a MetricConfig, Error> {
    let metric = config.metric(&pair.name);
    metric.ok_or_else(|| Error::NoMetricConfig {
        name: pair.name.clone(),
    })
}
