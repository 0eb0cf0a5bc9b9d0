//! Passwords that are guessed: after a few wrong ones for a name from one address, that name has to wait
//! longer and longer there. Counted by both, so that nobody can lock somebody out from elsewhere, and not
//! at all for a password that was right before.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong ones that cost nothing but themselves.
const FREE: u32 = 5;
/// The first pause; each more wrong one doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// Forgotten after so long without another one.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// Names and addresses remembered.
const MOST: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Wrong {
    count: u32,
    last: Instant,
}

impl Wrong {
    /// Until when the next attempt has to wait.
    fn until(&self) -> Instant {
        let more = self.count.checked_sub(FREE);
        let pause = more.map_or(Duration::ZERO, |more| {
            let doubled = 2_u32
                .checked_pow(more)
                .and_then(|times| FIRST.checked_mul(times));
            doubled.unwrap_or(LONGEST).min(LONGEST)
        });
        self.last + pause
    }
}

/// Wrong passwords by name and address.
#[derive(Debug, Default)]
pub(super) struct Guesses(HashMap<(String, Option<IpAddr>), Wrong>);

impl Guesses {
    /// How long an attempt has to wait; none if it may be made.
    pub(super) fn wait(&self, name: &str, from: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let wrong = self.0.get(&(name.to_owned(), from))?;
        let left = wrong.until().checked_duration_since(now)?;
        Some(left).filter(|left| !left.is_zero())
    }

    /// An attempt begins; it counts as wrong until it is [`Guesses::right`], so that many at the same
    /// time are many.
    pub(super) fn begin(&mut self, name: &str, from: Option<IpAddr>, now: Instant) {
        if self.0.len() >= MOST {
            self.0.retain(|_, wrong| now - wrong.last < FORGET);
        }
        if self.0.len() >= MOST {
            // Whoever fills it pays a slow hash for each entry.
            self.0.clear();
        }
        let new = Wrong {
            count: 0,
            last: now,
        };
        let wrong = self.0.entry((name.to_owned(), from)).or_insert(new);
        if now - wrong.last >= FORGET {
            wrong.count = 0;
        }
        wrong.count = wrong.count.saturating_add(1);
        wrong.last = now;
    }

    /// The password was right.
    pub(super) fn right(&mut self, name: &str, from: Option<IpAddr>) {
        self.0.remove(&(name.to_owned(), from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn each_wrong_password_after_the_fifth_doubles_the_pause_of_its_name_and_address() {
        let (here, there) = ([1, 2].map(|n| Some(IpAddr::from(Ipv4Addr::new(10, 0, 0, n))))).into();
        let mut now = Instant::now();
        let mut guesses = Guesses::default();
        let mut waits = Vec::new();
        for _ in 0..13 {
            guesses.begin("ann", here, now);
            let wait = guesses.wait("ann", here, now).unwrap_or_default();
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(guesses.wait("ann", here, now), None);
        }
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        guesses.begin("ann", here, now);
        assert!(guesses.wait("ann", here, now).is_some());
        assert_eq!(guesses.wait("ann", there, now), None);
        assert_eq!(guesses.wait("bob", here, now), None);
        guesses.right("ann", here);
        assert_eq!(guesses.wait("ann", here, now), None);
        // It is forgotten in time.
        for _ in 0..10 {
            guesses.begin("bob", here, now);
        }
        now += FORGET;
        guesses.begin("bob", here, now);
        assert_eq!(guesses.wait("bob", here, now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        for n in 0..2 * MOST {
            guesses.begin(&n.to_string(), None, now);
        }
        assert!(guesses.0.len() <= MOST);
    }
}
