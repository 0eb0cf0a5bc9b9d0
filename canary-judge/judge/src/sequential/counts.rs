//! Whether a canary has too many events for its requests: errors among answers, hits among look-ups.
//!
//! Of a step with x events of e requests on the canary and y of f on the baseline, given N = x + y, x is binomial with
//! p(ρ) = ρe/(ρe + f), where ρ is the ratio of both rates. Against ρ ≤ ρ₀, the allowed ratio,
//!
//! M = mean over ρₖ in ρ₀·{1.1, 1.25, 1.5, 2, 3, 5, 10} of ∏ (p(ρₖ)/p(ρ₀))ˣ ((1−p(ρₖ))/(1−p(ρ₀)))ʸ
//!
//! is a supermartingale for all ρ ≤ ρ₀, since the factor of an event is linear and increasing in p and 1 at p(ρ₀); against
//! ρ ≥ ρ₀ the same with quotients. With equal requests eleven events against none decide at 0.01. Lindon, Malek (NeurIPS
//! 2022, arXiv 2011.03567); Lindon, Sanden, Shirikian (KDD 2022, arXiv 2205.14762).
//!
//! *Safe* has two ways, and is their mean: the ratio is below the critical one, or the canary's rate is below a share that
//! is acceptable whatever the baseline does, since a good canary may have no event to compare. Against a rate p ≥ q it
//! bets on p′ in q·{½, ¼, ⅒, ¹⁄₁₀₀}: ∏ (p′/q)ˣ ((1−p′)/(1−q))ᵉ⁻ˣ.
//!
//! Events that come in bursts, as retries, are not binomial: windows of ten steps whose median dispersion (χ²/(n−1)) is too
//! large have the evidence refused, and from then on it is the lesser of this and of the shift between the rates.

use super::align::{Both, Steps};
use super::settings::MetricSettings;
use super::shift::{Minded, Point, Run as Shifted, e_value};

/// Alternatives beyond the ratio that is tested.
const BEYOND: [f64; 7] = [1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0];
/// Alternatives below the acceptable rate, as parts of it.
const BELOW: [f64; 4] = [0.5, 0.25, 0.1, 0.01];
/// Steps of a window in which dispersion is measured.
const WINDOW: usize = 10;
/// Nobody counts more; what is computed of it stays finite.
const MOST: f64 = 1e100;
/// From this dispersion on counts are not believed to be binomial; and how far the median of k windows may be above by
/// chance, by √k.
const DISPERSION: (f64, f64) = (1.5, 0.97);

/// Events and requests of both sides in a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Counted {
    /// Events: canary, baseline.
    pub(crate) events: Both,
    /// Requests: canary, baseline.
    pub(crate) requests: Both,
}

impl Counted {
    /// None unless all are numbers from zero to [`MOST`], and both sides have requests.
    fn of(events: Option<Both>, requests: Option<Both>) -> Option<Self> {
        let (events, requests) = (events?, requests?);
        let count = |value: f64| (0.0..=MOST).contains(&value);
        let counts = [events.0, events.1, requests.0, requests.1]
            .into_iter()
            .all(count);
        (counts && requests.0 > 0.0 && requests.1 > 0.0).then_some(Self { events, requests })
    }

    /// Rates: canary, baseline.
    fn rates(self) -> Both {
        (
            self.events.0 / self.requests.0,
            self.events.1 / self.requests.1,
        )
    }
}

/// A ratio of rates that is tested.
#[derive(Debug, Clone, Copy)]
struct Ratio {
    tested: f64,
    alternatives: [f64; BEYOND.len()],
    ln: [f64; BEYOND.len()],
}

impl Ratio {
    /// Against at most `tested`, or against at least.
    fn new(tested: f64, at_most: bool) -> Self {
        Self {
            tested,
            alternatives: BEYOND.map(|beyond| {
                if at_most {
                    tested * beyond
                } else {
                    tested / beyond
                }
            }),
            ln: [0.0; BEYOND.len()],
        }
    }

    fn push(&mut self, counted: Counted) {
        let ((x, y), (e, f)) = (counted.events, counted.requests);
        if self.tested <= 0.0 || x + y <= 0.0 {
            return;
        }
        for (ln, alternative) in self.ln.iter_mut().zip(self.alternatives) {
            let all = (alternative * e + f) / (self.tested * e + f);
            *ln += x * (alternative / self.tested).ln() - (x + y) * all.ln();
        }
    }

    fn value(&self) -> f64 {
        mean_of(&self.ln)
    }
}

/// The mean of e-values given by their logarithms.
fn mean_of(ln: &[f64]) -> f64 {
    let sum: f64 = ln.iter().map(|ln| ln.exp()).sum();
    e_value(sum / ln.len() as f64)
}

/// The canary's rate against an acceptable one.
#[derive(Debug, Clone, Copy)]
struct Rate {
    acceptable: f64,
    ln: [f64; BELOW.len()],
}

impl Rate {
    fn push(&mut self, counted: Counted) {
        let (x, e) = (counted.events.0, counted.requests.0);
        for (ln, below) in self.ln.iter_mut().zip(BELOW) {
            let without = (1.0 - self.acceptable * below) / (1.0 - self.acceptable);
            *ln += x * below.ln() + (e - x).max(0.0) * without.ln();
        }
    }
}

/// What is watched in one direction.
#[derive(Debug, Clone, Copy)]
struct Direction {
    harm: Ratio,
    safe: Ratio,
    /// Few events are good only where many are bad.
    rate: Option<Rate>,
}

impl Direction {
    fn safe(&self) -> f64 {
        let ratio = self.safe.value();
        self.rate
            .map_or(ratio, |rate| f64::midpoint(ratio, mean_of(&rate.ln)))
    }
}

/// How much counts vary beside what chance explains.
#[derive(Debug, Clone, Default)]
struct Dispersion {
    window: Vec<Counted>,
    /// Of the windows that are full, ascending.
    windows: Vec<f64>,
}

impl Dispersion {
    fn push(&mut self, counted: Counted) {
        self.window.push(counted);
        if self.window.len() == WINDOW {
            if let Some(found) = self.of_window() {
                let place = self.windows.partition_point(|other| *other < found);
                self.windows.insert(place, found);
            }
            self.window.clear();
        }
    }

    fn of_window(&self) -> Option<f64> {
        let sum = |of: fn(&Counted) -> f64| self.window.iter().map(of).sum::<f64>();
        let canary = sum(|c| c.events.0) / sum(|c| c.requests.0);
        let baseline = sum(|c| c.events.1) / sum(|c| c.requests.1);
        let squares = self.window.iter().filter_map(|counted| {
            let (expected, other) = (canary * counted.requests.0, baseline * counted.requests.1);
            let p = expected / (expected + other);
            let n = counted.events.0 + counted.events.1;
            let variance = n * p * (1.0 - p);
            (variance > 0.0).then(|| (counted.events.0 - n * p).powi(2) / variance)
        });
        let (sum, count) = squares.fold((0.0, 0), |(sum, count), square| (sum + square, count + 1));
        (count > 2).then(|| sum / f64::from(count - 1))
    }

    /// The median, if it is too large, and not by chance.
    fn too_much(&self) -> Option<f64> {
        let median = *self.windows.get(self.windows.len() / 2)?;
        let chance = DISPERSION.1 / (self.windows.len() as f64).sqrt();
        (median > DISPERSION.0 + chance).then_some(median)
    }
}

/// A metric of counts that was watched from its first step to its last.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// After each step.
    pub(crate) points: Vec<Point>,
    /// What was counted.
    pub(crate) counted: Vec<Counted>,
    /// When each of the points is, Unix milliseconds.
    pub(crate) times: Option<Vec<i64>>,
    up: Option<Direction>,
    down: Option<Direction>,
    /// The last dispersion by which the counts were refused.
    pub(crate) refused: Option<f64>,
    /// The shift between the rates.
    pub(crate) rates: Shifted,
    /// Whether each step has what is needed.
    pub(crate) valid: Vec<bool>,
}

impl Run {
    /// Of events and requests, step by step.
    pub(crate) fn of(
        events: &Steps,
        requests: &Steps,
        settings: &MetricSettings,
        minded: Minded,
    ) -> Self {
        let (times, steps) = joined(events, requests);
        let direction = |allowed: f64, critical: f64, up: bool| Direction {
            harm: Ratio::new(allowed, up),
            safe: Ratio::new(critical, !up),
            rate: (up && settings.acceptable > 0.0).then_some(Rate {
                acceptable: settings.acceptable,
                ln: [0.0; BELOW.len()],
            }),
        };
        let mut up = minded
            .up
            .map(|m| direction(1.0 + m.allowed, 1.0 + m.critical, true));
        let mut down = minded
            .down
            .map(|m| direction(1.0 - m.allowed, 1.0 - m.critical, false));
        let mut dispersion = Dispersion::default();
        let mut points = Vec::with_capacity(steps.len());
        let mut refusals = Vec::with_capacity(steps.len());
        let mut counted = Vec::new();
        let mut point = Point::NOTHING;
        let mut refused = None;
        for step in &steps {
            if let Some(step) = step {
                for direction in [&mut up, &mut down].into_iter().flatten() {
                    direction.harm.push(*step);
                    direction.safe.push(*step);
                    if let Some(rate) = &mut direction.rate {
                        rate.push(*step);
                    }
                }
                dispersion.push(*step);
                counted.push(*step);
                // Kept once made: bursts pause, and what was held back would be there at once.
                refused = dispersion.too_much().or(refused);
                let harm = |direction: &Direction| direction.harm.value();
                point = Point {
                    harm: Minded::mean(up.as_ref().map(harm), down.as_ref().map(harm)),
                    safe: Minded::least(
                        up.as_ref().map(Direction::safe),
                        down.as_ref().map(Direction::safe),
                    ),
                };
            }
            points.push(point);
            refusals.push(refused.is_some());
        }
        let rates: Vec<Option<Both>> = steps.iter().map(|step| step.map(Counted::rates)).collect();
        let rates = Shifted::of(&rates, minded, settings.block);
        let both = points.iter_mut().zip(&rates.points).zip(refusals);
        for ((point, other), _) in both.filter(|(_, refused)| *refused) {
            *point = point.min(*other);
        }
        Self {
            points,
            counted,
            times,
            up,
            down,
            refused,
            rates,
            valid: steps.iter().map(Option::is_some).collect(),
        }
    }

    /// Sums: events of canary and baseline, requests of canary and baseline.
    pub(crate) fn sums(&self) -> (Both, Both) {
        self.counted
            .iter()
            .fold(((0.0, 0.0), (0.0, 0.0)), |(events, requests), step| {
                (
                    (events.0 + step.events.0, events.1 + step.events.1),
                    (requests.0 + step.requests.0, requests.1 + step.requests.1),
                )
            })
    }

    /// Whether more speaks for an increase than for a decrease.
    pub(crate) fn leans_up(&self) -> bool {
        let harm =
            |direction: &Option<Direction>| direction.as_ref().map_or(0.0, |d| d.harm.value());
        harm(&self.up) >= harm(&self.down)
    }
}

/// Events and requests of the same steps: by time where both have times, else by place.
fn joined(events: &Steps, requests: &Steps) -> (Option<Vec<i64>>, Vec<Option<Counted>>) {
    if let (Some(times), Some(others)) = (&events.times, &requests.times) {
        let at = |time: &i64| {
            others
                .binary_search(time)
                .ok()
                .and_then(|place| requests.values.get(place))
        };
        let steps = times.iter().zip(&events.values);
        let steps = steps.map(|(time, events)| Counted::of(*events, at(time).copied().flatten()));
        return (Some(times.clone()), steps.collect());
    }
    let requests = requests
        .values
        .iter()
        .copied()
        .chain(std::iter::repeat(None));
    let steps = events.values.iter().zip(requests);
    (
        None,
        steps
            .map(|(events, requests)| Counted::of(*events, requests))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CanaryConfig;
    use crate::sequential::settings::Settings;
    use serde_json::json;

    /// A metric of events that minds an increase.
    fn watched(events: Vec<Option<Both>>, requests: f64) -> Run {
        let metric = json!({
            "name": "errors",
            "query": {"type": "t"},
            "scopeName": "default",
            "analysisConfigurations": {"canary": {"direction": "increase"}},
        });
        let document = json!({
            "name": "c",
            "metrics": [metric],
            "judge": {"name": "SequentialJudge-v1.0"},
            "classifier": {"groupWeights": {}},
        });
        let config = CanaryConfig::read(document).unwrap();
        let settings = Settings::read(&config).unwrap();
        let own = MetricSettings::read(&config.metrics[0], &settings).unwrap();
        let minded = Minded {
            up: Some(own.up),
            down: None,
        };
        let requests = Steps {
            values: vec![Some((requests, requests)); events.len()],
            ..Steps::default()
        };
        let events = Steps {
            values: events,
            ..Steps::default()
        };
        Run::of(&events, &requests, &own, minded)
    }

    #[test]
    fn counts_too_large_to_compute_with_are_no_evidence() {
        for (events, requests) in [(1e307, 1e308), (1e99, 1e308), (f64::MAX, f64::MAX)] {
            let run = watched(vec![Some((events, events)); 30], requests);
            assert!(
                run.points.iter().all(|point| *point == Point::NOTHING),
                "{events} of {requests}"
            );
        }
        let run = watched(vec![Some((1e99, 1e99)); 30], 1e100);
        assert!(run.points.iter().all(|point| point.harm <= 1.0));
        assert!(run.points.iter().all(|point| point.safe.is_finite()));
    }

    #[test]
    fn counts_that_are_refused_stay_refused_when_bursts_pause() {
        // Bursts on one side and the other for four windows, then twice as many events on the canary, step by step.
        let events = |step: i32| match (step < 40, step % 4) {
            (true, 0) => (40.0, 0.0),
            (true, 2) => (0.0, 40.0),
            (true, _) => (0.0, 0.0),
            (false, _) => (8.0, 4.0),
        };
        let run = watched((0..200).map(|step| Some(events(step))).collect(), 1000.0);
        let found = run.refused.expect("the refusal stays, and is told");
        assert!(found > DISPERSION.0);
        let pairs = run.points.iter().zip(&run.rates.points).skip(40);
        for (step, (point, rates)) in pairs.enumerate() {
            let held = point.harm <= rates.harm && point.safe <= rates.safe;
            assert!(held, "step {}: {point:?} against {rates:?}", step + 40);
        }
    }
}
