//! What is judged as one: a pair, a pair with its denominators, or the pods of a metric.

use std::collections::{BTreeMap, BTreeSet};

use super::align::{Both, Steps};
use super::counts;
use super::pods::{self, Pods};
use super::settings::{MetricSettings, Settings};
use super::shift::{Minded, Point, Run};
use super::weights::{shares, weights};
use crate::config::CanaryConfig;
use crate::error::{Error, Unreadable};
use crate::judges::{Outlook, metric_of};
use crate::metric_set::MetricSetPair;

/// Where the evidence of a unit comes from.
#[derive(Debug, Clone)]
pub(crate) enum Evidence {
    /// Values that are compared step by step.
    Shift(Box<Run>),
    /// Events of requests.
    Counts(Box<counts::Run>),
    /// Pods.
    Pods,
}

/// What is judged as one.
#[derive(Debug, Clone)]
pub(crate) struct Unit<'a> {
    pub(crate) name: &'a str,
    /// Places of its pairs; the first one's id and tags tell it apart. None of a metric that must have data and has no
    /// pair: its silence is waited for like that of any other.
    pub(crate) pairs: Vec<usize>,
    pub(crate) settings: MetricSettings,
    pub(crate) minded: Minded,
    /// Its part of the whole, at most 1; 0 if it is muted.
    pub(crate) weight: f64,
    pub(crate) evidence: Evidence,
    /// After each step.
    pub(crate) points: Vec<Point>,
    /// Whether each step has what is needed.
    pub(crate) valid: Vec<bool>,
    /// When each step is, Unix milliseconds.
    pub(crate) times: Option<Vec<i64>>,
    /// Values of the steps that have both sides.
    pub(crate) values: Vec<Both>,
    /// What the evidence is of: its steps, and their requests if it counts.
    source: (Steps, Option<Steps>),
    /// Whether it had more steps than it was decided by, which are forgotten.
    pub(crate) is_cut: bool,
    pub(crate) warnings: Vec<String>,
}

/// All units of a canary.
#[derive(Debug, Clone)]
pub(crate) struct Units<'a> {
    pub(crate) judged: Vec<Unit<'a>>,
    /// Places of pairs that are denominators of others.
    pub(crate) denominators: BTreeSet<usize>,
    /// Metrics that count and have no pair.
    pub(crate) absent: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl<'a> Units<'a> {
    /// Of all `pairs`, without the newest steps that a store may still revise.
    pub(crate) fn of(
        config: &'a CanaryConfig,
        settings: &Settings,
        pairs: &'a [MetricSetPair],
        outlook: Outlook,
    ) -> Result<Self, Error> {
        // What is judged once and for all is there as a whole; what is watched has waited for what it has waited for.
        let unsettled = match (outlook.remaining, outlook.waited) {
            (0, 0) => 0,
            (_, waited) => {
                let waited = usize::try_from(waited).unwrap_or(usize::MAX);
                settings.settle.saturating_sub(waited)
            }
        };
        let mut own: BTreeMap<&'a str, MetricSettings> = BTreeMap::new();
        for metric in &config.metrics {
            let name = metric.name.as_deref().unwrap_or_default();
            if !own.contains_key(name) {
                own.insert(name, MetricSettings::read(metric, settings)?);
            }
        }
        let denominators = denominators(config, &own)?;
        let judged = |name: &str| !denominators.contains(name);
        let counting: Vec<&str> = own
            .iter()
            .filter(|(name, own)| judged(name) && !own.options.muted)
            .map(|(name, _)| *name)
            .collect();
        let (weights, warnings) = weights(config, &counting)?;
        let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, pair) in pairs.iter().enumerate() {
            metric_of(config, pair)?;
            places.entry(&pair.name).or_default().push(place);
        }
        let absent = counting.iter().filter(|name| !places.contains_key(**name));
        let mut units = Self {
            judged: Vec::new(),
            denominators: BTreeSet::new(),
            absent: absent.map(|name| (*name).to_owned()).collect(),
            warnings,
        };
        for (name, own) in &own {
            let counts = counting.contains(name) && !places.contains_key(name);
            if counts && own.options.must_have_data {
                units.judged.push(Unit::absent(name, own));
            }
        }
        for (name, places) in places {
            if !judged(name) {
                units.denominators.extend(places);
                continue;
            }
            let Some(own) = own.get(name) else { continue };
            let weight = weights.get(name).copied().unwrap_or(0.0);
            let together: Vec<Vec<usize>> = match own.pods {
                Some(_) => vec![places],
                None => places.into_iter().map(|place| vec![place]).collect(),
            };
            let firsts = together.iter().map(|places| {
                let pair = places.first().and_then(|place| pairs.get(*place));
                first_value(pair, own, unsettled)
            });
            let firsts = firsts.collect::<Result<Vec<_>, _>>()?;
            let is_tagged = own.pods.is_none()
                && pairs.iter().any(|pair| {
                    pair.name == name && pair.tags.as_ref().is_some_and(|tags| !tags.is_empty())
                });
            for (places, share) in together.into_iter().zip(shares(&firsts, is_tagged)) {
                let unit = Builder {
                    settings,
                    own,
                    pairs,
                    weight: weight * share,
                    unsettled,
                };
                units.judged.push(unit.build(name, places)?);
            }
        }
        // In the order of the pairs, as results are.
        units.judged.sort_by_key(|unit| unit.pairs.first().copied());
        Ok(units)
    }

    /// As they were when so many steps of each were `seen`: what is told of a decision is of what decided it, since a
    /// canary may turn to the contrary afterwards.
    pub(crate) fn at(mut self, seen: &[usize]) -> Self {
        for (unit, seen) in self.judged.iter_mut().zip(seen) {
            unit.cut(*seen);
        }
        self
    }
}

/// When a pair has its first value of both sides, or at which place if nobody says when.
fn first_value(
    pair: Option<&MetricSetPair>,
    own: &MetricSettings,
    unsettled: usize,
) -> Result<Option<i64>, Unreadable> {
    let Some(pair) = pair else {
        return Ok(None);
    };
    let steps = Steps::of(pair, own.options.nan_strategy, unsettled)?;
    let place = steps.values.iter().position(Option::is_some);
    Ok(place.and_then(|place| match &steps.times {
        Some(times) => times.get(place).copied(),
        None => i64::try_from(place).ok(),
    }))
}

/// The names of all metrics that others are counted by.
fn denominators<'a>(
    config: &CanaryConfig,
    own: &'a BTreeMap<&str, MetricSettings>,
) -> Result<BTreeSet<&'a str>, Unreadable> {
    let mut names = BTreeSet::new();
    for (name, settings) in own {
        if let Some(requests) = settings.requests.as_deref() {
            let known = config.metric(requests).is_some() && requests != *name;
            let remedy = if !known {
                Some("give the name of another metric of this config, the one with the requests")
            } else if is_counted_by_itself(name, own) {
                Some("give a metric that is not counted by this one in turn, or neither is judged")
            } else {
                None
            };
            if let Some(remedy) = remedy {
                let field =
                    format!("analysisConfigurations.canary.sequential.requests of metric {name:?}");
                let value = serde_json::Value::from(requests);
                return Err(Unreadable::new(&field, Some(&value), remedy));
            }
            names.insert(requests);
        }
    }
    Ok(names)
}

/// Whether the denominators of `name`, and theirs in turn, lead back to it.
fn is_counted_by_itself(name: &str, own: &BTreeMap<&str, MetricSettings>) -> bool {
    let requests = |name: &str| own.get(name)?.requests.as_deref();
    // A way that does not come back may end in another ring, so it is gone for no more steps than there are metrics.
    std::iter::successors(requests(name), |next| requests(next))
        .take(own.len())
        .any(|next| next == name)
}

/// What a unit is built of.
struct Builder<'a, 's> {
    settings: &'s Settings,
    own: &'s MetricSettings,
    pairs: &'a [MetricSetPair],
    weight: f64,
    unsettled: usize,
}

impl<'a> Builder<'a, '_> {
    fn build(self, name: &'a str, places: Vec<usize>) -> Result<Unit<'a>, Error> {
        let direction = self.own.options.direction;
        let minded = Minded {
            up: direction.minds_increase().then_some(self.own.up),
            down: direction.minds_decrease().then_some(self.own.down),
        };
        let mut warnings = Vec::new();
        let built = if let Some(tag) = &self.own.pods {
            self.pods(&places, tag, minded, &mut warnings)?
        } else {
            self.single(&places, minded, &mut warnings)?
        };
        let (evidence, points, (steps, requests), valid) = built;
        if !steps.values.is_empty() && !steps.values.iter().any(Option::is_some) {
            warnings.push(format!(
                "metric {name:?} has {} steps and none with values on both sides: look whether both have data, and at the \
                 same times",
                steps.values.len()
            ));
        }
        Ok(Unit {
            name,
            pairs: places,
            settings: self.own.clone(),
            minded,
            weight: self.weight,
            evidence,
            points,
            valid,
            values: steps.valid().collect(),
            times: steps.times.clone(),
            source: (steps, requests),
            is_cut: false,
            warnings,
        })
    }

    fn single(
        &self,
        places: &[usize],
        minded: Minded,
        warnings: &mut Vec<String>,
    ) -> Result<Built, Error> {
        let pair = places.first().and_then(|place| self.pairs.get(*place));
        let Some(pair) = pair else {
            return Ok(shifted(self.own, Steps::default(), minded));
        };
        let strategy = self.own.options.nan_strategy;
        let steps = Steps::of(pair, strategy, self.unsettled)?;
        let Some(requests) = &self.own.requests else {
            return Ok(shifted(self.own, steps, minded));
        };
        // Those of the same tags; else those without any.
        let of = |pair: &&MetricSetPair| pair.name == *requests;
        let tags = |pair: &MetricSetPair| pair.tags.clone().unwrap_or_default();
        let mut candidates = self.pairs.iter().filter(of);
        let same = candidates.find(|other| tags(other) == tags(pair));
        let other = same.or_else(|| {
            self.pairs
                .iter()
                .filter(of)
                .find(|other| tags(other).is_empty())
        });
        let Some(other) = other else {
            warnings.push(format!(
                "metric {:?} has no requests: there is no metric set pair of {requests:?} with its tags or without any",
                pair.name
            ));
            let nothing = Steps {
                values: vec![None; steps.values.len()],
                ..steps
            };
            return Ok(shifted(self.own, nothing, minded));
        };
        let requests = Steps::of(other, strategy, self.unsettled)?;
        let run = counts::Run::of(&steps, &requests, self.own, minded);
        let (points, valid) = (run.points.clone(), run.valid.clone());
        let steps = Steps {
            times: run.times.clone(),
            ..steps
        };
        let source = (steps, Some(requests));
        Ok((Evidence::Counts(Box::new(run)), points, source, valid))
    }

    fn pods(
        &self,
        places: &[usize],
        tag: &str,
        minded: Minded,
        warnings: &mut Vec<String>,
    ) -> Result<Built, Error> {
        let pairs: Vec<&MetricSetPair> = places
            .iter()
            .filter_map(|place| self.pairs.get(*place))
            .collect();
        let pods = Pods::of(&pairs, tag, self.unsettled)?;
        let name = pairs.first().map_or("", |pair| pair.name.as_str());
        let steps = pods.averaged();
        let chosen = pods::chosen(&steps);
        let (canary, baseline) = pods.counts(chosen.unwrap_or(pods.steps));
        if canary < pods::FEWEST || baseline < pods::FEWEST {
            warnings.push(format!(
                "metric {name:?} has {canary} pods of the canary and {baseline} of the baseline by the tag {tag:?} in its \
                 first {} steps: fewer than {} a side are not compared pod by pod, so their means are compared step by step",
                pods::FIRST_LOOK,
                pods::FEWEST
            ));
            let (evidence, mut points, source, valid) = shifted(self.own, steps, minded);
            pods::hide(&mut points, chosen);
            return Ok((evidence, points, source, valid));
        }
        // A level of its own, so that what is proved alone fails the canary.
        let level = if self.weight > 0.0 {
            self.settings.alpha * self.weight
        } else {
            self.settings.alpha
        };
        let mut points = pods.points(minded, level, self.settings.beta);
        pods::hide(&mut points, chosen);
        let valid = steps.values.iter().map(Option::is_some).collect();
        Ok((Evidence::Pods, points, (steps, None), valid))
    }
}

type Built = (Evidence, Vec<Point>, (Steps, Option<Steps>), Vec<bool>);

fn shifted(own: &MetricSettings, steps: Steps, minded: Minded) -> Built {
    let run = Run::of(&steps.values, minded, own.block);
    let valid = steps.values.iter().map(Option::is_some).collect();
    let points = run.points.clone();
    (Evidence::Shift(Box::new(run)), points, (steps, None), valid)
}

impl<'a> Unit<'a> {
    /// Of a metric without a pair. Times it has none, so that it does not keep others from theirs, and no weight, as
    /// nothing is known of it.
    fn absent(name: &'a str, own: &MetricSettings) -> Self {
        let minded = Minded {
            up: None,
            down: None,
        };
        let (evidence, points, source, valid) = shifted(own, Steps::default(), minded);
        Self {
            name,
            pairs: Vec::new(),
            settings: own.clone(),
            minded,
            weight: 0.0,
            evidence,
            points,
            valid,
            times: Some(Vec::new()),
            values: Vec::new(),
            source,
            is_cut: false,
            warnings: Vec::new(),
        }
    }
}

impl Unit<'_> {
    /// The evidence once `steps` of its steps are seen.
    pub(crate) fn after(&self, steps: usize) -> Point {
        let last = steps.min(self.points.len()).checked_sub(1);
        last.and_then(|last| self.points.get(last).copied())
            .unwrap_or(Point::NOTHING)
    }

    /// Whether its evidence is events of requests.
    pub(super) fn counts(&self) -> bool {
        matches!(self.evidence, Evidence::Counts(_))
    }

    /// What its steps come to, canary and baseline: events of one request if it counts, else means; NaN of nothing.
    pub(super) fn levels(&self) -> Both {
        match &self.evidence {
            Evidence::Counts(run) => {
                let (events, requests) = run.sums();
                (events.0 / requests.0, events.1 / requests.1)
            }
            Evidence::Shift(_) | Evidence::Pods => {
                let count = self.values.len() as f64;
                let add = |(c, b), (x, y): &Both| (c + x, b + y);
                let (canary, baseline) = self.values.iter().fold((0.0, 0.0), add);
                (canary / count, baseline / count)
            }
        }
    }

    /// Forgets all but its first `seen` steps. Their points stay: none depends on what comes after it.
    fn cut(&mut self, seen: usize) {
        if seen >= self.points.len() {
            return;
        }
        self.is_cut = true;
        let (steps, requests) = &mut self.source;
        steps.values.truncate(seen);
        if let Some(times) = &mut steps.times {
            times.truncate(seen);
        }
        self.points.truncate(seen);
        self.valid.truncate(seen);
        self.times.clone_from(&steps.times);
        self.values = steps.valid().collect();
        self.evidence = match (&self.evidence, &requests) {
            (Evidence::Pods, _) => Evidence::Pods,
            (Evidence::Counts(_), Some(requests)) => {
                let run = counts::Run::of(steps, requests, &self.settings, self.minded);
                Evidence::Counts(Box::new(run))
            }
            (Evidence::Shift(_) | Evidence::Counts(_), _) => {
                let run = Run::of(&steps.values, self.minded, self.settings.block);
                Evidence::Shift(Box::new(run))
            }
        };
    }

    /// The largest harm of its first `steps` steps.
    pub(crate) fn most_harm(&self, steps: usize) -> f64 {
        self.points
            .iter()
            .take(steps)
            .map(|point| point.harm)
            .fold(1.0, f64::max)
    }

    /// Whether more speaks for an increase.
    pub(crate) fn leans_up(&self) -> bool {
        match &self.evidence {
            Evidence::Shift(run) => run.accepted().watch.leans_up(),
            Evidence::Counts(run) => run.leans_up(),
            Evidence::Pods => {
                let (canary, baseline) = self
                    .values
                    .iter()
                    .fold((0.0, 0.0), |(c, b), (x, y)| (c + x, b + y));
                self.minded.down.is_none() || (self.minded.up.is_some() && canary >= baseline)
            }
        }
    }

    /// Whether it is reported and does not count.
    pub(crate) fn is_muted(&self) -> bool {
        self.settings.options.muted
    }
}
