//! When a store is asked again (`kayenta: RetryExponential`): as often as there, but not for ever. Whoever asks waits by
//! a message with a due time.

use std::time::Duration;

use super::Class;

/// The rule: ten attempts in total, a pause of 1, 2, 4 … s after each that failed and may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    /// Attempts in total.
    pub(crate) attempts: u32,
    /// The first pause; each further one is twice as long.
    pub(crate) first: Duration,
    /// All pauses together.
    /// Differs from Spinnaker: there they are bounded by their number alone, 511 s.
    pub(crate) total: Duration,
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
    pub(crate) fn again(&self, attempt: u32, class: Class) -> Option<Duration> {
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
