//! A simulated canary and what each rule says of it.

use std::sync::atomic::{AtomicU64, Ordering};

use judge::{
    CanaryConfig, Classification, Decision, Judge, MetricSetPair, NetflixAca, Noise, Outlook,
    Thresholds, reviewed,
};
use serde_json::{Value, json};

/// The rule beside the judges: so many steps in a row on which the canary is above its baseline by more than this ratio.
const THRESHOLD: (usize, f64) = (3, 1.2);

pub(crate) const THRESHOLDS: Thresholds = Thresholds {
    pass: 95.0,
    marginal: 75.0,
};

/// Values of a canary and of its baseline, step by step; with counts also their requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    pub(crate) canary: Vec<f64>,
    pub(crate) baseline: Vec<f64>,
    pub(crate) requests: Option<f64>,
}

impl Values {
    /// The first `steps`.
    pub(crate) fn until(&self, steps: usize) -> Self {
        Self {
            canary: self.canary[..steps].to_vec(),
            baseline: self.baseline[..steps].to_vec(),
            requests: self.requests,
        }
    }

    fn pairs(&self) -> Vec<MetricSetPair> {
        let pair = |name: &str, canary: Vec<f64>, baseline: Vec<f64>| MetricSetPair {
            name: name.to_owned(),
            values: [
                ("control".to_owned(), baseline),
                ("experiment".to_owned(), canary),
            ]
            .into(),
            ..MetricSetPair::default()
        };
        let mut pairs = vec![pair("m", self.canary.clone(), self.baseline.clone())];
        if let Some(requests) = self.requests {
            let all = vec![requests; self.canary.len()];
            pairs.push(pair("requests", all.clone(), all));
        }
        pairs
    }
}

/// A config for one metric of which more is worse.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) alpha: f64,
    pub(crate) allowed: f64,
    pub(crate) block: usize,
    pub(crate) early_pass: bool,
}

impl Asked {
    fn config(self, judge: &str, counts: bool) -> CanaryConfig {
        let mut options =
            json!({"direction": "increase", "effectSize": {"allowedIncrease": self.allowed}});
        if counts {
            options["sequential"] = json!({"requests": "requests"});
        }
        let metric = |name: &str, options: &Value| json!({"name": name, "groups": ["g"], "analysisConfigurations": {"canary": options}});
        let mut metrics = vec![metric("m", &options)];
        if counts {
            metrics.push(metric("requests", &json!({"muted": true})));
        }
        let settings =
            json!({"alpha": self.alpha, "block": self.block, "earlyPass": self.early_pass});
        let config = json!({
            "judge": {"name": judge, "judgeConfigurations": settings}, "metrics": metrics,
            "classifier": {"groupWeights": {"g": 100.0}},
        });
        CanaryConfig::read(config).expect("the config is well formed")
    }
}

/// What the sequential judge decides, and at which step: it may be looked at after each, and the first that decides
/// decides.
pub(crate) fn sequential(asked: Asked, values: &Values) -> (Decision, usize) {
    let config = asked.config("SequentialJudge-v1.0", values.requests.is_some());
    let judge = judge::resolve(config.judge.as_deref()).expect("the judge exists");
    let outlook = Outlook::default();
    let result = judge.look(
        &config,
        THRESHOLDS,
        &values.pairs(),
        &mut Noise::of_pairs(),
        outlook,
    );
    let result = result.expect("the canary can be judged");
    let steps = result
        .decision_steps
        .and_then(|steps| usize::try_from(steps).ok());
    (
        result.decision.expect("it decides"),
        steps.expect("it says when"),
    )
}

/// Whether the compatible judge finds the canary worse.
pub(crate) fn compatible(asked: Asked, values: &Values) -> bool {
    let config = asked.config("NetflixACAJudge-v1.0", false);
    let pairs = &values.pairs()[..1];
    let result = NetflixAca.judge(&config, THRESHOLDS, pairs, &mut Noise::of_pairs());
    result.expect("the canary can be judged").results[0].classification == Classification::High
}

/// At which step the plain rule finds it worse.
pub(crate) fn threshold(values: &Values) -> Option<usize> {
    let (enough, ratio) = THRESHOLD;
    let mut row = 0;
    for (step, (canary, baseline)) in values.canary.iter().zip(&values.baseline).enumerate() {
        row = if *canary > ratio * baseline {
            row + 1
        } else {
            0
        };
        if row == enough {
            return Some(step + 1);
        }
    }
    None
}

/// What both judges say of the values that users reported as spinnaker/spinnaker#6278.
pub(crate) fn reported() -> String {
    let (high, low) = (100.0, 1.0);
    let values = Values {
        canary: vec![high, low, high, high, low, high, high, low, high, high],
        baseline: vec![1.0; 10],
        requests: None,
    };
    let asked = Asked {
        alpha: 0.01,
        allowed: 1.05,
        block: 1,
        early_pass: true,
    };
    let mut told = String::new();
    for judge in ["NetflixACAJudge-v1.0", "SequentialJudge-v1.0"] {
        let config = asked.config(judge, false);
        let (pairs, mut noise) = (values.pairs(), Noise::of_pairs());
        let result = reviewed(&config, THRESHOLDS, &pairs, &mut noise, Outlook::default());
        let result = result.expect("the canary can be judged");
        let decision = result
            .decision
            .map_or_else(String::new, |decision| format!(", {decision}"));
        told += &format!(
            "* `{judge}`: {} ({}){decision}",
            result.score.score, result.score.classification
        );
        if let Some(reason) = result.decision_reason {
            told += &format!(": {reason}");
        }
        told += "\n";
        for warning in &result.warnings {
            told += &format!("  * warning: {warning}\n");
        }
    }
    told
}

/// `run` of each number below `runs`, in order, on all processors.
pub(crate) fn each<T: Send>(runs: u32, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(0);
    let mut all: Vec<(u64, T)> = std::thread::scope(|scope| {
        let work = || {
            let mut own = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= u64::from(runs) {
                    return own;
                }
                own.push((number, run(number)));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().expect("a run does not panic"));
        joined.flatten().collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, result)| result).collect()
}

/// The middle one; none of none.
pub(crate) fn median(mut steps: Vec<usize>) -> Option<usize> {
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied()
}

/// A share for people.
pub(crate) fn percent(part: usize, of: usize) -> String {
    let share = part as f64 / of as f64 * 100.0;
    if share > 0.0 && share < 10.0 {
        format!("{share:.2} %")
    } else {
        format!("{share:.0} %")
    }
}
