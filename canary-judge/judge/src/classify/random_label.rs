//! By chance, whatever the values; no judge uses it. Source: `kayenta: RandomClassifier`.

use super::{Classification, Classified, Classifier, Rules, Samples, without_data};
use crate::descriptive::mean;
use crate::error::AllTied;
use crate::random::Random;

/// Pass, High or Low, each as likely.
#[derive(Debug, Clone, Copy)]
pub struct RandomLabel;

impl Classifier for RandomLabel {
    fn classify(
        &self,
        samples: Samples<'_>,
        rules: Rules,
        random: &mut Random,
    ) -> Result<Classified, AllTied> {
        if let Some(classified) = without_data(samples, rules, None, 0.0) {
            return Ok(classified);
        }
        // Equal value by value, in their order, unlike the judge's own rule.
        if samples.experiment == samples.control {
            return Ok(Classified::pass(None));
        }
        let labels = [
            Classification::Pass,
            Classification::High,
            Classification::Low,
        ];
        Ok(Classified {
            classification: random
                .shuffled_first(labels)
                .unwrap_or(Classification::Pass),
            reason: None,
            deviation: mean(samples.experiment) / mean(samples.control),
            critical: rules.critical,
        })
    }
}
