//! Good canaries that are watched at every step: how many fail all the same.

use judge::Decision;
use judge::sequential::block_for;

use crate::plot::{Line, Plot};
use crate::random::{Random, Wander};
use crate::trial::{Asked, Values, compatible, each, median, percent, sequential, threshold};

/// Steps of a run: a day of minutes.
const STEPS: usize = 1440;
/// Steps of the A/A data that a run's block is calibrated on: a week.
const CALIBRATED_ON: usize = 7 * STEPS;
/// The promise.
const ALPHA: f64 = 0.01;
/// Autocorrelation of noise that wanders.
const COEFFICIENT: f64 = 0.8;
/// The compatible judge looks this often, at all values so far.
const LOOKS_EVERY: usize = 60;

/// Steps at which runs failed, if they did.
type Failures = Vec<Option<usize>>;

/// A rule and how it did.
struct Row {
    noise: &'static str,
    rule: String,
    block: Option<usize>,
    failures: Failures,
    /// Whether the promise is made for it.
    promised: bool,
}

/// How all did.
pub(crate) struct Null {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Each step by itself.
    Independent,
    /// Noise that wanders, on a swing that both sides share.
    Wandering,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Wandering => "AR(1) 0.8, common daily swing",
        }
    }

    /// Both sides alike: level 100, deviation 10, swing 30.
    fn values(self, steps: usize, random: &mut Random) -> Values {
        let mut values = Values::default();
        let mut noise = [
            Wander::new(COEFFICIENT, random),
            Wander::new(COEFFICIENT, random),
        ];
        for step in 0..steps {
            let [canary, baseline] = match self {
                Self::Independent => [random.gaussian(), random.gaussian()],
                Self::Wandering => noise.each_mut().map(|noise| noise.next(random)),
            };
            let level = match self {
                Self::Independent => 100.0,
                Self::Wandering => {
                    100.0 + 30.0 * (step as f64 / STEPS as f64 * std::f64::consts::TAU).sin()
                }
            };
            values.canary.push(level + 10.0 * canary);
            values.baseline.push(level + 10.0 * baseline);
        }
        values
    }
}

/// Where a canary failed by the sequential judge. `allowed` 1 is the border of its hypothesis, where failing is likeliest.
fn failed(allowed: f64, block: usize, values: &Values) -> Option<usize> {
    let asked = Asked {
        alpha: ALPHA,
        allowed,
        block,
        early_pass: false,
    };
    let (decision, step) = sequential(asked, values);
    (decision == Decision::Fail).then_some(step)
}

/// The block length of A/A data. Where they are refused, another week is added, as whoever is told so would do.
fn calibrated(kind: Kind, random: &mut Random) -> usize {
    let mut sides: Vec<(f64, f64)> = Vec::new();
    loop {
        let week = kind.values(CALIBRATED_ON, random);
        sides.extend(week.canary.into_iter().zip(week.baseline));
        if let Ok(calibrated) = block_for(&sides) {
            return calibrated.block;
        }
    }
}

/// Watches `runs` good canaries, half of each kind, and fewer with rules that promise nothing.
pub(crate) fn watch(runs: u32) -> Null {
    let mut rows = Vec::new();
    for (experiment, kind) in [(1, Kind::Independent), (2, Kind::Wandering)] {
        let watched = each(runs / 2, |run| {
            let mut random = Random::new(experiment, run);
            let block = calibrated(kind, &mut random);
            (block, failed(1.0, block, &kind.values(STEPS, &mut random)))
        });
        let block = median(watched.iter().map(|(block, _)| *block).collect());
        rows.push(Row {
            noise: kind.name(),
            rule: "sequential, calibrated block".to_owned(),
            block,
            failures: watched.into_iter().map(|(_, failure)| failure).collect(),
            promised: true,
        });
        // Controls, each on runs of its own.
        let mut control =
            |rule: &str,
             block: Option<usize>,
             runs: u32,
             own: u64,
             judge: &(dyn Fn(&Values) -> Option<usize> + Sync)| {
                let failures = each(runs, |run| {
                    judge(&kind.values(STEPS, &mut Random::new(10 * experiment + own, run)))
                });
                let rule = rule.to_owned();
                rows.push(Row {
                    noise: kind.name(),
                    rule,
                    block,
                    failures,
                    promised: false,
                });
            };
        if matches!(kind, Kind::Wandering) {
            control(
                "sequential, block of 1 (not calibrated)",
                Some(1),
                runs / 10,
                1,
                &|values| failed(1.0, 1, values),
            );
        }
        let margin = block.unwrap_or(1);
        control(
            "sequential, calibrated, margin of 5 %",
            block,
            runs / 10,
            2,
            &|values| failed(1.05, margin, values),
        );
        let asked = Asked {
            alpha: ALPHA,
            allowed: 1.0,
            block: 1,
            early_pass: false,
        };
        control(
            "compatible, looked at every 60 steps",
            None,
            runs / 40,
            3,
            &|values| {
                let mut looks = (LOOKS_EVERY..=STEPS).step_by(LOOKS_EVERY);
                looks.find(|steps| compatible(asked, &values.until(*steps)))
            },
        );
        control(
            "threshold: 3 steps in a row 20 % above",
            None,
            runs / 10,
            4,
            &threshold,
        );
    }
    Null { rows }
}

impl Null {
    /// α and three standard errors.
    fn limit(runs: usize) -> f64 {
        ALPHA + 3.0 * (ALPHA * (1.0 - ALPHA) / runs as f64).sqrt()
    }

    fn promised(&self) -> (usize, usize) {
        let promised = self.rows.iter().filter(|row| row.promised);
        promised.fold((0, 0), |(failed, runs), row| {
            (
                failed + row.failures.iter().flatten().count(),
                runs + row.failures.len(),
            )
        })
    }

    /// Whether the promise holds for all runs together, and for each kind.
    pub(crate) fn holds(&self) -> bool {
        let within = |failed: usize, runs: usize| failed as f64 / runs as f64 <= Self::limit(runs);
        let (failed, runs) = self.promised();
        let promised = self.rows.iter().filter(|row| row.promised);
        within(failed, runs)
            && promised
                .into_iter()
                .all(|row| within(row.failures.iter().flatten().count(), row.failures.len()))
    }

    /// For the document.
    pub(crate) fn table(&self) -> String {
        let mut table =
            "| noise | rule | block | runs | failed | limit (α + 3 standard errors) |\n\
            |---|---|---|---|---|---|\n"
                .to_owned();
        for row in &self.rows {
            let (failed, runs) = (row.failures.iter().flatten().count(), row.failures.len());
            let block = row
                .block
                .map_or_else(|| "–".to_owned(), |block| block.to_string());
            let limit = if row.promised {
                format!("{:.2} %", Self::limit(runs) * 100.0)
            } else {
                "–".to_owned()
            };
            let failed = percent(failed, runs);
            table += &format!(
                "| {} | {} | {block} | {runs} | {failed} | {limit} |\n",
                row.noise, row.rule
            );
        }
        let (failed, runs) = self.promised();
        let limit = Self::limit(runs) * 100.0;
        table
            + &format!(
                "| both | **sequential, calibrated block** | | {runs} | **{}** | {limit:.2} % |\n",
                percent(failed, runs)
            )
    }

    /// Share that failed up to each step, of noise that wanders.
    pub(crate) fn plot(&self) -> String {
        let rows = self
            .rows
            .iter()
            .filter(|row| row.noise == Kind::Wandering.name());
        let lines = rows.map(|row| {
            let points = (0..=STEPS).step_by(20).map(|step| {
                let failed = row
                    .failures
                    .iter()
                    .flatten()
                    .filter(|at| **at <= step)
                    .count();
                (
                    step as f64,
                    failed as f64 / row.failures.len() as f64 * 100.0,
                )
            });
            Line {
                name: row.rule.clone(),
                points: points.collect(),
            }
        });
        let mut lines: Vec<Line> = lines.collect();
        let promise = vec![(0.0, ALPHA * 100.0), (STEPS as f64, ALPHA * 100.0)];
        lines.push(Line {
            name: "promised".to_owned(),
            points: promise,
        });
        Plot {
            title: "Good canaries that failed, noise AR(1) 0.8 on a daily swing",
            x: "steps watched",
            y: "failed, %",
            lines,
            logarithmic: true,
        }
        .svg()
    }
}
