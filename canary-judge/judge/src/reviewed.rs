//! A judgement as people get it: by the judge of the config, with what must be said beside it.
//!
//! A result of `NetflixACAJudge-v1.0` is told where that judge does not see ([`crate::blind_spots`]). Where the config chose
//! `SequentialJudge-v1.0`, or asks by `judgeConfigurations.compare`, the other of both looks too: its answer stands in
//! `comparison`, and a warning says if it disagrees. Neither changes classification, score or decision.

use crate::blind_spots::blind_spots;
use crate::config::{CanaryConfig, Thresholds};
use crate::error::Error;
use crate::judges::{Judge, NetflixAca, Outlook, Sequential, resolve};
use crate::metric_set::MetricSetPair;
use crate::noise::Noise;
use crate::result::{Comparison, Decision, JudgeResult};
use crate::sequential::Settings;

/// The judge that `config` names looks at `pairs`; its result carries warnings.
pub fn reviewed(
    config: &CanaryConfig,
    thresholds: Thresholds,
    pairs: &[MetricSetPair],
    noise: &mut Noise,
    outlook: Outlook,
) -> Result<JudgeResult, Error> {
    let judge = resolve(config.judge.as_deref())?;
    let (compatible, sequential) = (NetflixAca.name(), Sequential.name());
    let mut other_noise = noise.again();
    let mut result = judge.look(config, thresholds, pairs, noise, outlook)?;
    let other: &dyn Judge = if judge.name() == compatible {
        result.warnings.extend(blind_spots(config, pairs, &result)?);
        // What the original ignores must not make its judgement fail.
        match Settings::read(config) {
            Ok(settings) if settings.compare => &Sequential,
            Ok(_) | Err(_) => return Ok(result),
        }
    } else if judge.name() == sequential {
        &NetflixAca
    } else {
        return Ok(result);
    };
    match other.look(config, thresholds, pairs, &mut other_noise, outlook) {
        Ok(other) => {
            let compared = Comparison::of(&other);
            result.warnings.extend(disagreement(&result, &compared));
            result.comparison = Some(compared);
        }
        Err(error) => {
            let name = other.name();
            result
                .warnings
                .push(format!("{name} could not look beside this judge: {error}"));
        }
    }
    Ok(result)
}

/// What is said if the second judge says otherwise.
fn disagreement(result: &JudgeResult, second: &Comparison) -> Option<String> {
    let (Opinion { good, bad }, other) = (Opinion::of_result(result), Opinion::of(second));
    let disagree = (good && other.bad) || (bad && other.good);
    let name = &second.judge_name;
    let reason = second
        .decision_reason
        .as_deref()
        .filter(|reason| !reason.is_empty());
    let reason = reason.unwrap_or(&second.score.classification_reason);
    let because = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    let said = second.decision.map_or_else(
        || {
            format!(
                "{} with a score of {}",
                second.score.classification, second.score.score
            )
        },
        |decision| decision.to_string(),
    );
    disagree.then(|| format!("{name} disagrees: it says {said}{because}"))
}

/// What a judge thinks of a canary, if it knows.
struct Opinion {
    good: bool,
    bad: bool,
}

impl Opinion {
    fn new(decision: Option<Decision>, classification: &str) -> Self {
        match decision {
            Some(decision) => Self {
                good: decision == Decision::Pass,
                bad: decision == Decision::Fail,
            },
            None => Self {
                good: classification == "Pass",
                bad: classification == "Fail",
            },
        }
    }

    fn of(compared: &Comparison) -> Self {
        Self::new(compared.decision, &compared.score.classification)
    }

    fn of_result(result: &JudgeResult) -> Self {
        Self::new(result.decision, &result.score.classification)
    }
}
