//! Backoff as a value: which pause follows which failed attempt.

use std::time::Duration;

/// Exponential backoff with a cap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Pause after the first failure.
    pub initial: Duration,
    /// Each further pause is this much longer.
    pub factor: f64,
    /// No pause is longer.
    pub cap: Duration,
    /// Share of the pause (0 to 1) that may be taken off at random.
    pub jitter: f64,
}

impl Backoff {
    /// 50 ms, doubling to 5 s, a fifth of jitter: for peers of our own.
    pub const PEERS: Self = Self {
        initial: Duration::from_millis(50),
        factor: 2.0,
        cap: Duration::from_secs(5),
        jitter: 0.2,
    };

    /// The pause after failure number `failures` (1 for the first). `random`
    /// lies in 0..1 and is the caller's, so that this stays a pure function.
    pub fn pause(&self, failures: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let raw = self.initial.as_secs_f64() * self.factor.powi(exponent);
        let capped = raw.min(self.cap.as_secs_f64());
        Duration::from_secs_f64(
            capped * (1.0 - self.jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let pauses: Vec<_> = (1..=9)
            .map(|n| Backoff::PEERS.pause(n, 0.0).as_millis())
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(Backoff::PEERS.pause(u32::MAX, 1.0).as_millis(), 4000);
    }
}
