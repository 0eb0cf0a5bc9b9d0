//! What a config asks of `SequentialJudge-v1.0`: `judge.judgeConfigurations`, and of each metric
//! `analysisConfigurations.canary.sequential` beside Kayenta's own options.
//!
//! | field of `judgeConfigurations` | default | meaning |
//! |---|---|---|
//! | `alpha` | 0.01 | a good canary fails with at most this probability, whenever and however often it is looked at |
//! | `beta` | 0.05 | a canary that, given its past, is no likelier within `criticalIncrease` than beyond it passes with at most this probability |
//! | `block` | 1 | steps that are averaged into one comparison: see [`super::calibration`] |
//! | `settle` | 2 | newest steps left for the next look, as a store may still revise them; those waited for count |
//! | `silence` | 30 | steps without data after which a metric with `mustHaveData` fails |
//! | `earlyPass` | true | whether a canary may pass before its last look |
//! | `pods` | none | the tag whose values are pods: the replicated mode, see [`super::pods`] |
//! | `compare` | false | whether the other judge looks too: see [`crate::reviewed`] |
//!
//! `beta` is about signs, not about means: a step that is exactly at the margin counts as within, and most steps within make a
//! canary that passes, however bad the others. With `requests` it is about the ratio of the rates.
//!
//! | field of `sequential` | default | meaning |
//! |---|---|---|
//! | `requests` | none | the metric with the denominators: this one counts events, see [`super::counts`] |
//! | `acceptable` | 0.005 | with `requests`: a share of events with which it may pass, whatever the baseline's |
//! | `block`, `pods` | those above | for this metric alone |

use serde_json::{Map, Value};

use crate::config::{CanaryConfig, MetricConfig};
use crate::error::Unreadable;
use crate::number;
use crate::options::{Measure, Options};
use crate::read;

/// The allowed ratio of a config that gives none.
pub const ALLOWED: f64 = 1.05;
/// The ratio that may not pass, of a config that gives none.
pub const CRITICAL: f64 = 1.25;
/// The least risk: evidence of its inverse can be had, while that of 1e-320 is infinite.
const LEAST_RISK: f64 = 1e-12;
/// The longest block, steps.
pub const LONGEST_BLOCK: u64 = 1440;

/// What is asked for the whole canary.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Bound of the probability that a good canary ever fails.
    pub alpha: f64,
    /// Bound of the probability that a canary passes that is no likelier within its critical margin than beyond.
    pub beta: f64,
    /// Steps of a block.
    pub block: usize,
    /// Whether somebody gave the block length.
    pub block_given: bool,
    /// Newest steps that are not looked at yet.
    pub settle: usize,
    /// Steps without data after which a metric that must have data fails.
    pub silence: usize,
    /// Whether it may pass before the last look.
    pub early_pass: bool,
    /// The tag that names pods.
    pub pods: Option<String>,
    /// Whether the judge that the config does not name looks too.
    pub compare: bool,
    /// Fields that nobody knows.
    pub unknown: Vec<String>,
}

/// What is asked for one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSettings {
    /// Kayenta's options.
    pub options: Options,
    /// Margins upwards, above 0, as parts of the baseline: allowed, and what may not pass.
    pub up: Margins,
    /// Margins downwards, alike.
    pub down: Margins,
    /// The metric with the denominators.
    pub requests: Option<String>,
    /// A share of events with which the canary may pass, whatever the baseline's.
    pub acceptable: f64,
    /// Steps of a block.
    pub block: usize,
    /// Whether somebody gave the block length.
    pub block_given: bool,
    /// The tag that names pods.
    pub pods: Option<String>,
    /// Fields of `sequential` that nobody knows.
    pub unknown: Vec<String>,
}

/// By which part of the baseline a canary may differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margins {
    /// Beyond this it is worse; 0.05 for a ratio of 1.05, or of 0.95 downwards.
    pub allowed: f64,
    /// Beyond this it must not pass; more than `allowed`.
    pub critical: f64,
}

/// An object of settings and where it stands.
struct Source<'a> {
    object: Option<&'a Map<String, Value>>,
    path: &'static str,
    /// Whose it is, after the path.
    of: String,
}

impl Source<'_> {
    fn at(&self, name: &str) -> String {
        format!("{}.{name}{}", self.path, self.of)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        read::field(self.object?, name)
    }

    /// A number for which `holds`.
    fn number(
        &self,
        name: &str,
        default: f64,
        holds: fn(f64) -> bool,
        remedy: &'static str,
    ) -> Result<f64, Unreadable> {
        let Some(value) = self.value(name) else {
            return Ok(default);
        };
        let read = value.as_number().map(number::of_number);
        let read = read.filter(|number| holds(*number));
        read.ok_or_else(|| Unreadable::new(&self.at(name), Some(value), remedy))
    }

    /// A whole number from `least` to `most`.
    fn whole(
        &self,
        name: &str,
        default: usize,
        (least, most): (u64, u64),
        remedy: &'static str,
    ) -> Result<usize, Unreadable> {
        let Some(value) = self.value(name) else {
            return Ok(default);
        };
        let read = value.as_u64().filter(|n| (least..=most).contains(n));
        let read = read.and_then(|n| usize::try_from(n).ok());
        read.ok_or_else(|| Unreadable::new(&self.at(name), Some(value), remedy))
    }

    fn truth(&self, name: &str, default: bool) -> Result<bool, Unreadable> {
        let Some(value) = self.value(name) else {
            return Ok(default);
        };
        let remedy = "give true or false, not a text";
        value
            .as_bool()
            .ok_or_else(|| Unreadable::new(&self.at(name), Some(value), remedy))
    }

    fn name(&self, name: &str, remedy: &'static str) -> Result<Option<String>, Unreadable> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let text = value.as_str().filter(|text| !text.is_empty());
        let refused = || Unreadable::new(&self.at(name), Some(value), remedy);
        Ok(Some(text.ok_or_else(refused)?.to_owned()))
    }

    fn block(&self, default: usize) -> Result<usize, Unreadable> {
        const REMEDY: &str =
            "give a whole number of steps from 1 to 1440, best the one that calibration found";
        self.whole("block", default, (1, LONGEST_BLOCK), REMEDY)
    }

    fn pods(&self) -> Result<Option<String>, Unreadable> {
        self.name(
            "pods",
            "give the name of the tag that tells pods apart, as in \"pod\"",
        )
    }
}

impl Settings {
    /// Of `config`. Null is as if it was not there.
    pub fn read(config: &CanaryConfig) -> Result<Self, Unreadable> {
        const KNOWN: [&str; 8] = [
            "alpha",
            "beta",
            "block",
            "settle",
            "silence",
            "earlyPass",
            "pods",
            "compare",
        ];
        const RISK: &str = "give a probability from 1e-12 to 0.5, as in 0.01";
        let path = "canaryConfig.judge.judgeConfigurations";
        let judge = config.document().get("judge").and_then(Value::as_object);
        let object = match judge.and_then(|judge| read::field(judge, "judgeConfigurations")) {
            None => None,
            given => Some(read::object(given, path)?),
        };
        let source = Source {
            object,
            path,
            of: String::new(),
        };
        let risk = |risk: f64| (LEAST_RISK..=0.5).contains(&risk);
        let keys = object.into_iter().flat_map(|object| object.keys());
        let unknown = keys.filter(|key| !KNOWN.contains(&key.as_str()));
        Ok(Self {
            alpha: source.number("alpha", 0.01, risk, RISK)?,
            beta: source.number("beta", 0.05, risk, RISK)?,
            block: source.block(1)?,
            block_given: source.value("block").is_some(),
            settle: source.whole(
                "settle",
                2,
                (0, 1000),
                "give a whole number of steps from 0 to 1000",
            )?,
            silence: source.whole(
                "silence",
                30,
                (1, 1_000_000),
                "give a whole number of steps from 1 on",
            )?,
            early_pass: source.truth("earlyPass", true)?,
            pods: source.pods()?,
            compare: source.truth("compare", false)?,
            unknown: unknown.cloned().collect(),
        })
    }
}

impl MetricSettings {
    /// The fields of `sequential`.
    pub const KNOWN: [&str; 4] = ["requests", "acceptable", "block", "pods"];

    /// Of `metric`, where `settings` hold for all.
    pub fn read(metric: &MetricConfig, settings: &Settings) -> Result<Self, Unreadable> {
        const SHARE: &str = "give a share from 0 up to, not including, 1, as in 0.005";
        let name = metric.name.as_deref().unwrap_or_default();
        let analysis = metric.analysis.as_ref();
        let options = Options::read(name, analysis)?;
        let field =
            |inner: &str| format!("analysisConfigurations.canary.{inner} of metric {name:?}");
        if options.measure == Measure::Cles {
            let remedy = "leave it out and give ratios: SequentialJudge-v1.0 compares by them";
            let cles = Value::from("cles");
            return Err(Unreadable::new(
                &field("effectSize.measure"),
                Some(&cles),
                remedy,
            ));
        }
        let object = match analysis.and_then(|analysis| read::field(analysis, "sequential")) {
            None => None,
            given => Some(read::object(given, &field("sequential"))?),
        };
        let source = Source {
            object,
            path: "analysisConfigurations.canary.sequential",
            of: format!(" of metric {name:?}"),
        };
        let effect = analysis.and_then(|analysis| read::field(analysis, "effectSize"));
        let effect = effect.and_then(Value::as_object);
        let up = Margins::read(effect, &field, Side::UP)?;
        let down = Margins::read(effect, &field, Side::DOWN)?;
        let keys = object.into_iter().flat_map(|object| object.keys());
        let unknown = keys.filter(|key| !Self::KNOWN.contains(&key.as_str()));
        let share = |share: f64| (0.0..1.0).contains(&share);
        Ok(Self {
            options,
            up,
            down,
            requests: source.name(
                "requests",
                "give the name of the metric with the denominators",
            )?,
            acceptable: source.number("acceptable", 0.005, share, SHARE)?,
            block: source.block(settings.block)?,
            block_given: settings.block_given || source.value("block").is_some(),
            pods: source.pods()?.or_else(|| settings.pods.clone()),
            unknown: unknown.cloned().collect(),
        })
    }
}

/// How the margins of a side are written.
struct Side {
    allowed: &'static str,
    critical: &'static str,
    /// From a ratio to a part of the baseline, and which ratios make sense.
    part: fn(f64) -> Option<f64>,
    remedy: &'static str,
    /// The part below which `critical` must be: nothing is less than nothing.
    most: f64,
}

impl Side {
    const UP: Self = Self {
        allowed: "allowedIncrease",
        critical: "criticalIncrease",
        part: |ratio| (ratio >= 1.0 && ratio.is_finite()).then_some(ratio - 1.0),
        remedy: "give a ratio from 1 on, as in 1.05 for five per cent more",
        most: f64::INFINITY,
    };
    const DOWN: Self = Self {
        allowed: "allowedDecrease",
        critical: "criticalDecrease",
        part: |ratio| (0.0..=1.0).contains(&ratio).then_some(1.0 - ratio),
        remedy: "give a ratio from 0 to 1, as in 0.95 for five per cent less",
        most: 1.0,
    };
}

impl Margins {
    fn read(
        effect: Option<&Map<String, Value>>,
        field: &dyn Fn(&str) -> String,
        side: Side,
    ) -> Result<Self, Unreadable> {
        let part = |name: &str| -> Result<Option<f64>, Unreadable> {
            let Some(value) = effect.and_then(|effect| read::field(effect, name)) else {
                return Ok(None);
            };
            let read = value.as_number().map(number::of_number);
            let refused = || {
                Unreadable::new(
                    &field(&format!("effectSize.{name}")),
                    Some(value),
                    side.remedy,
                )
            };
            Ok(Some(read.and_then(side.part).ok_or_else(refused)?))
        };
        let allowed = part(side.allowed)?.unwrap_or(ALLOWED - 1.0);
        let critical = match part(side.critical)? {
            Some(critical) if critical > allowed => critical,
            Some(_) => {
                let remedy =
                    "give one that is further from 1 than the allowed one, or leave it out";
                let name = format!("effectSize.{}", side.critical);
                let value = effect.and_then(|effect| effect.get(side.critical));
                return Err(Unreadable::new(&field(&name), value, remedy));
            }
            // What is allowed may be more than what may not pass by default.
            None => {
                let usual = (CRITICAL - 1.0).max(allowed + (CRITICAL - 1.0) * 0.8);
                usual.min(f64::midpoint(allowed, side.most))
            }
        };
        Ok(Self { allowed, critical })
    }
}
