//! `NetflixACAJudge-v1.0`: each pair is transformed, described and classified by the Mann-Whitney classifier. Source:
//! `kayenta: NetflixACAJudge`.

use std::borrow::Cow;

use serde_json::Map;

use super::{Judge, metric_of, pair_by_pair};
use crate::classify::{Classification, Classifier, MannWhitney, Rules, Samples};
use crate::config::{CanaryConfig, MetricConfig, Thresholds};
use crate::descriptive::Statistics;
use crate::error::Error;
use crate::metric_set::MetricSetPair;
use crate::noise::Noise;
use crate::number;
use crate::options::Options;
use crate::random::Random;
use crate::rank::Ranking;
use crate::result::{AnalysisResult, JudgeResult};
use crate::trace::{Test, Traced};
use crate::transform::transform;

/// The judge that users mean.
#[derive(Debug, Clone, Copy)]
pub struct NetflixAca;

/// A pair as it is compared.
struct Prepared<'a> {
    metric: &'a MetricConfig,
    options: Options,
    control: Cow<'a, [f64]>,
    experiment: Cow<'a, [f64]>,
}

impl<'a> Prepared<'a> {
    fn of(config: &'a CanaryConfig, pair: &'a MetricSetPair) -> Result<Self, Error> {
        let metric = metric_of(config, pair)?;
        let (experiment, control) = (pair.side("experiment")?, pair.side("control")?);
        let options = Options::read(&pair.name, metric.analysis.as_ref())?;
        Ok(Self {
            metric,
            experiment: transform(experiment, &options)?,
            control: transform(control, &options)?,
            options,
        })
    }

    fn samples<'s>(&'s self, name: &'s str) -> Samples<'s> {
        Samples {
            name,
            control: &self.control,
            experiment: &self.experiment,
        }
    }
}

fn analyse(
    config: &CanaryConfig,
    pair: &MetricSetPair,
    random: &mut Random,
) -> Result<AnalysisResult, Error> {
    let prepared = Prepared::of(config, pair)?;
    let classifier = MannWhitney::from(&prepared.options);
    let rules = Rules::from(&prepared.options);
    let classified = classifier.classify(prepared.samples(&pair.name), rules, random);
    let (classification, reason, ratio, critical) = match classified {
        Ok(classified) => (
            classified.classification,
            classified.reason,
            Some(classified.deviation),
            classified.critical,
        ),
        // As there, even if the metric is critical.
        Err(_) => (
            Classification::Error,
            Some("Metric Classification Failed".to_owned()),
            None,
            false,
        ),
    };
    Ok(AnalysisResult {
        name: pair.name.clone(),
        tags: pair.tags.clone(),
        id: pair.id.clone(),
        classification,
        classification_reason: reason,
        groups: prepared.metric.groups.clone(),
        experiment_metadata: Statistics::of(&prepared.experiment).to_json(),
        control_metadata: Statistics::of(&prepared.control).to_json(),
        result_metadata: ratio
            .map(|ratio| Map::from_iter([("ratio".to_owned(), number::to_json(ratio))])),
        critical,
        muted: prepared.options.muted,
    })
}

fn traced(
    config: &CanaryConfig,
    pair: &MetricSetPair,
    random: &mut Random,
) -> Result<Traced, Error> {
    let prepared = Prepared::of(config, pair)?;
    let samples = prepared.samples(&pair.name);
    let mut ranking = Ranking::new(samples.experiment, samples.control);
    let test = if samples.experiment.is_empty() || samples.control.is_empty() {
        Test::SkippedEmpty
    } else if ranking.identical() {
        Test::SkippedIdentical
    } else {
        let classifier = MannWhitney::from(&prepared.options);
        Test::Made(classifier.compare(samples, &mut ranking, random))
    };
    Ok(Traced {
        name: pair.name.clone(),
        experiment_count: samples.experiment.len(),
        control_count: samples.control.len(),
        test,
    })
}

impl Judge for NetflixAca {
    fn name(&self) -> &'static str {
        "NetflixACAJudge-v1.0"
    }

    fn is_visible(&self) -> bool {
        true
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

    fn trace(
        &self,
        config: &CanaryConfig,
        pairs: &[MetricSetPair],
        noise: &mut Noise,
    ) -> Option<Result<Vec<Traced>, Error>> {
        let traced = pairs
            .iter()
            .map(|pair| traced(config, pair, noise.begin(pair)));
        Some(traced.collect())
    }
}
