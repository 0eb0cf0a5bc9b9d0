//! What a judgement of one metric pair costs, and whether that stays within its limits: `cargo bench -p judge`. A look of the
//! sequential judge goes through all steps, so what it costs per step is what matters: it must not grow with their number.
//!
//! Processor time of the thread, so that others on the machine count little: the median of many judgements of two
//! normal samples of equal length, once as drawn, once rounded to four decimals, once to whole numbers. `-- --report`
//! prints and asserts nothing.

use std::hint::black_box;

use judge::{
    CanaryConfig, Judge, MetricSetPair, NetflixAca, Noise, Random, Sequential, Thresholds,
};
use rustix::time::{ClockId, clock_gettime};

/// Points of a side, and what their judgement may cost, µs.
const LIMITS: [(u32, f64); 4] = [(60, 40.0), (240, 100.0), (1440, 400.0), (5000, 1500.0)];

/// Steps of a canary, and what a look at all of them may cost, µs.
const LOOKS: [(u32, f64); 4] = [
    (60, 1_000.0),
    (1440, 10_000.0),
    (10_000, 100_000.0),
    (100_000, 2_000_000.0),
];

/// How drawn values are rounded.
type Round = fn(f64) -> f64;

/// Processor time of this thread, µs.
fn spent() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn samples(points: u32, round: Round, random: &mut Random) -> Vec<f64> {
    let drawn = |_| round(100.0 + 10.0 * random.gaussian());
    (0..points).map(drawn).collect()
}

/// Median, µs.
fn cost(judge: &dyn Judge, config: &CanaryConfig, points: u32, round: Round) -> f64 {
    let mut random = Random::new(i64::from(points));
    let thresholds = Thresholds {
        pass: 95.0,
        marginal: 75.0,
    };
    let mut times: Vec<f64> = (0..200_000 / points + 3)
        .map(|_| {
            let mut pair = MetricSetPair {
                name: "latency".to_owned(),
                ..MetricSetPair::default()
            };
            for side in ["control", "experiment"] {
                let values = samples(points, round, &mut random);
                pair.values.insert(side.to_owned(), values);
            }
            let pairs = [pair];
            let mut noise = Noise::of_pairs();
            let begun = spent();
            let result = judge.judge(config, thresholds, black_box(&pairs), &mut noise);
            let time = spent() - begun;
            assert!(black_box(result).is_ok(), "the judgement succeeds");
            time
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let config = serde_json::json!({
        "name": "bench",
        // To the last step, whatever is seen.
        "judge": {"judgeConfigurations": {"earlyPass": false}},
        "metrics": [{"name": "latency", "groups": ["g"], "analysisConfigurations": {"canary": {}}}],
        "classifier": {"groupWeights": {"g": 100.0}},
    });
    let config = CanaryConfig::read(config).expect("the config is well formed");
    let report = std::env::args().any(|argument| argument == "--report");
    let rounds: [(&str, Round); 3] = [
        ("as drawn", |value| value),
        ("four decimals", |value| (value * 1e4).round() / 1e4),
        ("whole", f64::round),
    ];
    for (points, limit) in LIMITS {
        for (name, round) in rounds {
            let median = cost(&NetflixAca, &config, points, round);
            println!("{points:5} points, {name}: {median:.1} µs of {limit} µs");
            assert!(
                report || median <= limit,
                "{points} points, {name}: {median:.1} µs, more than {limit} µs"
            );
        }
    }
    for (steps, limit) in LOOKS {
        let median = cost(&Sequential, &config, steps, |value| value);
        println!("look at {steps} steps: {median:.0} µs of {limit} µs");
        assert!(
            report || median <= limit,
            "a look at {steps} steps: {median:.0} µs, more than {limit} µs"
        );
    }
}
