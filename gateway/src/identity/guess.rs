//! Passwords that are guessed: after a few wrong ones for a name from one address, that name has to wait
//! longer and longer there. Counted by both, so that nobody can lock somebody out from elsewhere. While a name
//! waits, a password that was right there before is still looked for, but so seldom that trying passwords
//! that way is slower than hashing them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// Wrong ones that cost nothing but themselves.
const FREE: u32 = 5;
/// The first pause; each more wrong one doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// Between two looks for a password that was right before, while its name waits.
const LOOK: Duration = Duration::from_millis(250);
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
    looked: Instant,
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

/// A name at an address; of IPv6 the network, since a host has all of it.
fn key(name: &str, from: Option<IpAddr>) -> (String, Option<IpAddr>) {
    let place = from.map(|from| match from.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    });
    (name.to_owned(), place)
}

impl Guesses {
    /// How long an attempt has to wait; none if it may be made.
    pub(super) fn wait(&self, name: &str, from: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let wrong = self.0.get(&key(name, from))?;
        let left = wrong.until().checked_duration_since(now)?;
        Some(left).filter(|left| !left.is_zero())
    }

    /// Whether a password that was right before may be looked for while the name waits.
    pub(super) fn look(&mut self, name: &str, from: Option<IpAddr>, now: Instant) -> bool {
        let Some(wrong) = self.0.get_mut(&key(name, from)) else {
            return true;
        };
        let due = now.saturating_duration_since(wrong.looked) >= LOOK;
        if due {
            wrong.looked = now;
        }
        due
    }

    /// An attempt begins; it counts as wrong until it is [`Guesses::right`], so that many at the same
    /// time are many.
    pub(super) fn begin(&mut self, name: &str, from: Option<IpAddr>, now: Instant) {
        if self.0.len() >= MOST {
            self.0
                .retain(|_, wrong| now.saturating_duration_since(wrong.last) < FORGET);
        }
        if self.0.len() >= MOST {
            // Whoever fills it pays a slow hash for each entry.
            self.0.clear();
        }
        let new = Wrong {
            count: 0,
            last: now,
            looked: now,
        };
        let wrong = self.0.entry(key(name, from)).or_insert(new);
        if now.saturating_duration_since(wrong.last) >= FORGET {
            wrong.count = 0;
        }
        wrong.count = wrong.count.saturating_add(1);
        wrong.last = now;
    }

    /// The password was right.
    pub(super) fn right(&mut self, name: &str, from: Option<IpAddr>) {
        self.0.remove(&key(name, from));
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
    fn a_network_of_ipv6_is_one_place_and_a_look_is_seldom() {
        let at = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        for n in 0..10 {
            guesses.begin("ann", at(&format!("2001:db8::{n}")), now);
        }
        assert!(guesses.wait("ann", at("2001:db8::ffff"), now).is_some());
        assert_eq!(guesses.wait("ann", at("2001:db8:0:1::1"), now), None);
        guesses.begin("bob", at("::ffff:10.0.0.1"), now);
        assert!(!guesses.look("bob", at("10.0.0.1"), now));
        assert!(guesses.look("bob", at("10.0.0.1"), now + LOOK));
        assert!(!guesses.look("bob", at("10.0.0.1"), now + LOOK));
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
