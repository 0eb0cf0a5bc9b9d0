//! Whose access tokens are, as the identity provider said a moment ago; pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use authorization::Roles;

/// How long an answer counts: a token that was taken back is believed so long.
const KNOWN: Duration = Duration::from_secs(60);
/// How long a token that the provider did not know is not asked about again.
const UNKNOWN: Duration = Duration::from_secs(10);
/// Answers kept.
const MOST: usize = 1_024;

/// Whose a token is, with the roles if the provider tells any; none if it does not know it.
type Whose = Option<(String, Option<Roles>)>;

/// Answers by the digest of the token.
#[derive(Debug, Default)]
pub(super) struct Bearers(HashMap<[u8; 32], (Instant, Whose)>);

fn is_fresh((at, whose): &(Instant, Whose), now: Instant) -> bool {
    let lasts = if whose.is_some() { KNOWN } else { UNKNOWN };
    now.saturating_duration_since(*at) < lasts
}

impl Bearers {
    /// The answer about a token; none if it has to be asked for.
    pub(super) fn get(&self, digest: &[u8; 32], now: Instant) -> Option<Whose> {
        let kept = self.0.get(digest).filter(|kept| is_fresh(kept, now));
        kept.map(|(_, whose)| whose.clone())
    }

    /// Keeps an answer. When there is no place, those about nobody go first.
    pub(super) fn keep(&mut self, digest: [u8; 32], whose: Whose, now: Instant) {
        if self.0.len() >= MOST {
            self.0.retain(|_, kept| is_fresh(kept, now));
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, (_, whose)| whose.is_some());
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(digest, (now, whose));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_its_time_and_those_about_nobody_give_way() {
        let (mut kept, now) = (Bearers::default(), Instant::now());
        let ann = Some(("ann".to_owned(), None));
        kept.keep([0; 32], ann.clone(), now);
        kept.keep([1; 32], None, now);
        assert_eq!(kept.get(&[0; 32], now + KNOWN / 2), Some(ann.clone()));
        assert_eq!(kept.get(&[1; 32], now + UNKNOWN / 2), Some(None));
        assert_eq!(kept.get(&[1; 32], now + UNKNOWN), None);
        assert_eq!(kept.get(&[0; 32], now + KNOWN), None);
        for n in 0..2 * MOST {
            let mut digest = [2; 32];
            digest[..8].copy_from_slice(&n.to_le_bytes());
            kept.keep(digest, None, now);
        }
        assert!(kept.0.len() <= MOST);
        assert_eq!(kept.get(&[0; 32], now), Some(ann));
    }
}
