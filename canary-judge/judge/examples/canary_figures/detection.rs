//! Bad canaries: how many are found, and after how many steps.

use judge::Decision;
use judge::sequential::block_for;

use crate::plot::{Line, Plot};
use crate::random::{Random, Wander};
use crate::trial::{Asked, Values, compatible, each, median, percent, sequential, threshold};

/// Runs of each row.
const RUNS: u32 = 2000;
/// Steps of a run: an hour of minutes.
const STEPS: usize = 60;
/// Effects: the canary's mean over the baseline's.
const EFFECTS: [f64; 8] = [1.075, 1.10, 1.125, 1.15, 1.20, 1.30, 1.50, 2.0];

/// How the rules did on canaries of one kind.
pub(crate) struct Found {
    name: String,
    effect: f64,
    /// Steps at which the sequential judge failed runs.
    failed: Vec<Option<usize>>,
    /// Runs that it passed before the end, with the default of an early pass, and when.
    passed: Vec<usize>,
    /// Runs that the compatible judge found at the end.
    compatible: usize,
    /// Steps at which the plain rule failed runs.
    threshold: Vec<Option<usize>>,
    runs: usize,
}

fn run(
    name: &str,
    effect: f64,
    experiment: u64,
    allowed: f64,
    block: usize,
    draw: &(dyn Fn(&mut Random) -> Values + Sync),
) -> Found {
    let asked = Asked {
        alpha: 0.01,
        allowed,
        block,
        early_pass: false,
    };
    let all = each(RUNS, |run| {
        let values = draw(&mut Random::new(experiment, run));
        let (decision, step) = sequential(asked, &values);
        let (early, passed) = sequential(
            Asked {
                early_pass: true,
                ..asked
            },
            &values,
        );
        (
            (decision == Decision::Fail).then_some(step),
            (early == Decision::Pass).then_some(passed),
            compatible(asked, &values),
            threshold(&values),
        )
    });
    Found {
        name: name.to_owned(),
        effect,
        failed: all.iter().map(|(failed, ..)| *failed).collect(),
        passed: all.iter().filter_map(|(_, passed, ..)| *passed).collect(),
        compatible: all
            .iter()
            .filter(|(_, _, compatible, _)| *compatible)
            .count(),
        threshold: all.iter().map(|(.., threshold)| *threshold).collect(),
        runs: all.len(),
    }
}

/// Draws both sides of each step.
fn steps(mut draw: impl FnMut(usize) -> (f64, f64)) -> Values {
    let (canary, baseline) = (0..STEPS).map(&mut draw).unzip();
    Values {
        canary,
        baseline,
        requests: None,
    }
}

/// Eight effects and none, of normal values: mean 100, deviation 10, with the default margin of 5 %.
pub(crate) fn effects() -> Vec<Found> {
    let all = std::iter::once(1.0).chain(EFFECTS).zip(100..);
    let found = all.map(|(effect, experiment)| {
        let name = format!("{:+.1} %", (effect - 1.0) * 100.0);
        let name = if effect > 1.0 {
            name
        } else {
            "none".to_owned()
        };
        run(&name, effect, experiment, 1.05, 1, &|random| {
            steps(|_| {
                (
                    100.0 * effect + 10.0 * random.gaussian(),
                    100.0 + 10.0 * random.gaussian(),
                )
            })
        })
    });
    found.collect()
}

/// Kinds of values that differ in more than their mean. No margin.
pub(crate) fn shapes() -> Vec<Found> {
    let normal = |mean: f64, sd: f64, shift: f64| {
        move |random: &mut Random| {
            steps(|_| {
                (
                    mean + shift + sd * random.gaussian(),
                    mean + sd * random.gaussian(),
                )
            })
        }
    };
    let wandering = |shift: f64, count: usize, random: &mut Random| {
        let mut noise = [Wander::new(0.8, random), Wander::new(0.8, random)];
        let draw = |_| {
            let [canary, baseline] = noise.each_mut().map(|noise| noise.next(random));
            (100.0 + shift + 10.0 * canary, 100.0 + 10.0 * baseline)
        };
        let (canary, baseline): (Vec<f64>, Vec<f64>) = (0..count).map(draw).unzip();
        Values {
            canary,
            baseline,
            requests: None,
        }
    };
    let calibration = wandering(0.0, 10_080, &mut Random::new(200, 0));
    let calibration: Vec<(f64, f64)> = calibration
        .canary
        .into_iter()
        .zip(calibration.baseline)
        .collect();
    let block = block_for(&calibration).expect("a week is enough").block;
    let run = |name: &str,
               experiment: u64,
               block: usize,
               draw: &(dyn Fn(&mut Random) -> Values + Sync)| {
        run(name, 0.0, experiment, 1.0, block, draw)
    };
    vec![
        run(
            "normal(100, 10), +1 deviation",
            201,
            1,
            &normal(100.0, 10.0, 10.0),
        ),
        run(
            "normal(−100, 10), +2 deviations",
            202,
            1,
            &normal(-100.0, 10.0, 20.0),
        ),
        run("normal(0, 1), +1 deviation", 203, 1, &normal(0.0, 1.0, 1.0)),
        run(
            "normal(1e-6, 1e-7), +1 deviation",
            204,
            1,
            &normal(1e-6, 1e-7, 1e-7),
        ),
        run("exponential, twice the mean", 205, 1, &|random| {
            steps(|_| (2.0 * random.exponential(), random.exponential()))
        }),
        run("Poisson 1 to 2", 206, 1, &|random| {
            steps(|_| (random.poisson(2.0), random.poisson(1.0)))
        }),
        run(
            "errors of 200 requests a step, 0.5 % to 2.5 %, counted",
            207,
            1,
            &|random| Values {
                requests: Some(200.0),
                ..steps(|_| (random.poisson(5.0), random.poisson(1.0)))
            },
        ),
        run("half of the values 3 times as large", 208, 1, &|random| {
            steps(|_| {
                let factor = if random.uniform() < 0.5 { 3.0 } else { 1.0 };
                (
                    factor * (100.0 + 10.0 * random.gaussian()),
                    100.0 + 10.0 * random.gaussian(),
                )
            })
        }),
        run("common swing of ±30, deviation 2, +6", 209, 1, &|random| {
            steps(|step| {
                let level =
                    100.0 + 30.0 * (step as f64 / STEPS as f64 * std::f64::consts::TAU).sin();
                (
                    level + 6.0 + 2.0 * random.gaussian(),
                    level + 2.0 * random.gaussian(),
                )
            })
        }),
        run(
            &format!("AR(1) 0.8, +4 deviations, 480 steps, blocks of {block}"),
            210,
            block,
            &|random| wandering(40.0, 480, random),
        ),
    ]
}

fn when(steps: &[Option<usize>]) -> String {
    let median = median(steps.iter().copied().flatten().collect());
    median.map_or_else(|| "–".to_owned(), |step| step.to_string())
}

fn row(found: &Found) -> String {
    let share = |steps: &[Option<usize>]| percent(steps.iter().flatten().count(), found.runs);
    format!(
        "| {} | {} | {} | {} | {} | {} |",
        found.name,
        share(&found.failed),
        when(&found.failed),
        percent(found.compatible, found.runs),
        share(&found.threshold),
        when(&found.threshold),
    )
}

/// For the document.
pub(crate) fn table(effects: &[Found]) -> String {
    let mut table = "| effect | sequential: failed | at step, median | compatible at step 60: High | threshold rule: failed | \
        at step, median | sequential passed early | at step, median |\n|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for found in effects {
        let passed =
            median(found.passed.clone()).map_or_else(|| "–".to_owned(), |step| step.to_string());
        table += &format!(
            "{} {} | {passed} |\n",
            row(found),
            percent(found.passed.len(), found.runs)
        );
    }
    table
}

/// For the document.
pub(crate) fn shape_table(shapes: &[Found]) -> String {
    let head = "| values | sequential: failed | at step, median | compatible at the end: High | threshold rule: failed | \
        at step, median |\n|---|---|---|---|---|---|\n";
    shapes
        .iter()
        .fold(head.to_owned(), |table, found| table + &row(found) + "\n")
}

/// Share that was found up to each step, by effect.
pub(crate) fn plot_share(effects: &[Found]) -> String {
    let lines = effects.iter().map(|found| {
        let points = (0..=STEPS).map(|step| {
            let failed = found
                .failed
                .iter()
                .flatten()
                .filter(|at| **at <= step)
                .count();
            (step as f64, failed as f64 / found.runs as f64 * 100.0)
        });
        Line {
            name: found.name.clone(),
            points: points.collect(),
        }
    });
    Plot {
        title: "Bad canaries that SequentialJudge-v1.0 failed, by effect",
        x: "steps watched",
        y: "failed, %",
        lines: lines.collect(),
        logarithmic: false,
    }
    .svg()
}

/// The mean step at which a canary ends, found or not, by rule.
pub(crate) fn plot_time(effects: &[Found]) -> String {
    let mean = |steps: &[Option<usize>]| {
        let sum: usize = steps.iter().map(|step| step.unwrap_or(STEPS)).sum();
        sum as f64 / steps.len() as f64
    };
    let bad: Vec<&Found> = effects.iter().filter(|found| found.effect > 1.0).collect();
    let line = |name: &str, of: &dyn Fn(&Found) -> f64| Line {
        name: name.to_owned(),
        points: bad
            .iter()
            .map(|found| ((found.effect - 1.0) * 100.0, of(found)))
            .collect(),
    };
    Plot {
        title: "Steps that a bad canary serves, mean",
        x: "effect, %",
        y: "steps",
        lines: vec![
            line("sequential", &|found| mean(&found.failed)),
            line("compatible (always at the end)", &|_| STEPS as f64),
            line("threshold: 3 steps in a row 20 % above", &|found| {
                mean(&found.threshold)
            }),
        ],
        logarithmic: false,
    }
    .svg()
}
