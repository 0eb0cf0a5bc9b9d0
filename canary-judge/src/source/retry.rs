//! When a store is asked again (`kayenta: RetryExponential`): as often as there, but not for ever.

use std::time::Duration;

use judge::MetricSet;

use super::{Class, Source, SourceError};
use crate::query::Question;

/// The rule: ten attempts in total, a pause of 1, 2, 4 … s after each that failed and may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in total.
    pub attempts: u32,
    /// The first pause; each further one is twice as long.
    pub first: Duration,
    /// All pauses together.
    /// Differs from Spinnaker: there they are bounded by their number alone, 511 s.
    pub total: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 10,
            first: Duration::from_secs(1),
            total: Duration::from_secs(120),
        }
    }
}

impl Retry {
    /// The pause after attempt number `attempt` (1 for the first) that failed so; none if that was the last.
    pub fn again(&self, attempt: u32, class: Class) -> Option<Duration> {
        if class != Class::Transient || attempt == 0 || attempt >= self.attempts {
            return None;
        }
        // What was paused before: 1 + 2 + … = 2^(attempt - 1) - 1 times the first.
        let before = self.first.saturating_mul(power(attempt - 1) - 1);
        let left = self.total.checked_sub(before)?;
        let pause = self.first.saturating_mul(power(attempt - 1));
        Some(pause.min(left)).filter(|pause| !pause.is_zero())
    }
}

/// 2^exponent, or as much as fits.
fn power(exponent: u32) -> u32 {
    1_u32
        .checked_shl(exponent)
        .filter(|p| *p > 0)
        .unwrap_or(u32::MAX)
}

/// Asks until there is an answer, or the rule or `deadline` says that it is enough.
///
/// # Errors
/// The last attempt's, with how many there were.
pub async fn fetch(
    source: &dyn Source,
    question: &Question,
    retry: &Retry,
    deadline: Duration,
) -> Result<Vec<MetricSet>, SourceError> {
    let until = tokio::time::Instant::now() + deadline;
    let mut attempt = 1;
    loop {
        let answer = tokio::time::timeout_at(until, source.fetch(question)).await;
        let mut error = match answer {
            Ok(Ok(sets)) => return Ok(sets),
            Ok(Err(error)) => error,
            Err(_) => {
                let why = format!("no answer within {} s", deadline.as_secs_f64());
                let remedy = "ask for less, or look at what the store is busy with";
                let mut error = SourceError::new(Class::Refused, why, remedy);
                error.metric.clone_from(&question.metric);
                error
            }
        };
        let pause = retry.again(attempt, error.class);
        let pause = pause.filter(|pause| tokio::time::Instant::now() + *pause < until);
        let Some(pause) = pause else {
            if attempt > 1 {
                error.why = format!("{} (asked {attempt} times)", error.why);
            }
            return Err(error);
        };
        tracing::warn!(attempt, error = %error, "metric store is asked again");
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_after_ten_attempts() {
        let retry = Retry {
            total: Duration::from_secs(1_000),
            ..Retry::default()
        };
        let pauses: Vec<_> = (1..=10)
            .map(|attempt| retry.again(attempt, Class::Transient).map(|p| p.as_secs()))
            .collect();
        let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256].map(Some);
        assert_eq!(pauses[..9], expected);
        assert_eq!(pauses[9], None);
    }

    #[test]
    fn all_pauses_together_are_bounded() {
        let retry = Retry::default();
        let pauses = (1..=10).map_while(|attempt| retry.again(attempt, Class::Transient));
        assert_eq!(pauses.map(|p| p.as_secs()).sum::<u64>(), 120);
        assert_eq!(retry.again(8, Class::Transient), None);
        let endless = Retry {
            attempts: u32::MAX,
            ..retry
        };
        assert_eq!(endless.again(4_000_000_000, Class::Transient), None);
    }

    #[test]
    fn what_will_fail_again_is_not_asked_again() {
        for class in [Class::Invalid, Class::Refused] {
            assert_eq!(Retry::default().again(1, class), None);
        }
        assert_eq!(Retry::default().again(0, Class::Transient), None);
    }
}
