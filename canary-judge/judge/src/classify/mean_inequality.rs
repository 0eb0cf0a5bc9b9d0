//! By the means alone, for measuring other classifiers against it; no judge uses it. Source:
//! `kayenta: MeanInequalityClassifier`.

use super::{Classification, Classified, Classifier, Rules, Samples, without_data};
use crate::descriptive::mean;
use crate::error::AllTied;
use crate::random::Random;

/// Higher mean is High, lower mean is Low.
#[derive(Debug, Clone, Copy)]
pub struct MeanInequality;

impl Classifier for MeanInequality {
    fn classify(
        &self,
        samples: Samples<'_>,
        rules: Rules,
        _random: &mut Random,
    ) -> Result<Classified, AllTied> {
        if let Some(classified) = without_data(samples, rules, None, 0.0) {
            return Ok(classified);
        }
        let (experiment, control) = (mean(samples.experiment), mean(samples.control));
        let (classification, word) = if rules.direction.minds_increase() && experiment > control {
            (Classification::High, "greater")
        } else if rules.direction.minds_decrease() && experiment < control {
            (Classification::Low, "less")
        } else {
            return Ok(Classified::pass(None));
        };
        Ok(Classified {
            classification,
            reason: Some(format!("The Canary mean was {word} than the Baseline mean")),
            deviation: experiment / control,
            critical: rules.critical,
        })
    }
}
