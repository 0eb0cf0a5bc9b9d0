//! The share of an instance that has just begun to serve: it grows from a tenth to the whole of what
//! others have.
//!
//! Shares are relative to the largest one in the group: instances that began together have equal
//! ones, and one that is alone has all.

use std::time::Duration;

/// What an instance begins with, thousandths.
const LEAST: u64 = 100;
/// A whole share.
const WHOLE: u64 = 1_000;

/// The share, in thousandths, of an instance that began so long ago.
pub(crate) fn share(age: Duration, window: Duration) -> u64 {
    let whole = window.as_nanos().max(1);
    let part = age.as_nanos().min(whole) * u128::from(WHOLE) / whole;
    u64::try_from(part).unwrap_or(WHOLE).max(LEAST)
}

/// The candidate with the least in flight for its share; the first of equals.
///
/// Each is given as its share and what it has in flight. An idle one with a part of the largest share
/// takes part in as many choices only: with nothing in flight anywhere, what is in flight would say
/// nothing. `turn` counts choices; it spreads them evenly.
pub(crate) fn least<T>(
    candidates: impl Iterator<Item = (T, u64, u64)> + Clone,
    turn: usize,
) -> Option<T> {
    let largest = candidates.clone().map(|(_, share, _)| share).max()?;
    let mut best: Option<(T, u64)> = None;
    for (at, (candidate, share, in_flight)) in candidates.enumerate() {
        let part = share * WHOLE / largest;
        if in_flight == 0 && spread(turn.wrapping_add(at.wrapping_mul(7_919))) >= part {
            continue;
        }
        let load = in_flight * WHOLE * WHOLE / part.max(1);
        if best.as_ref().is_none_or(|(_, least)| load < *least) {
            best = Some((candidate, load));
        }
    }
    best.map(|(candidate, _)| candidate)
}

/// A number below a thousand; those of successive turns fill the range evenly (multiples of the
/// golden ratio).
fn spread(turn: usize) -> u64 {
    let step = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (step * WHOLE) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_from_a_tenth_to_the_whole() {
        let window = Duration::from_secs(10);
        let at = |ms: u64| share(Duration::from_millis(ms), window);
        assert_eq!([at(0), at(999), at(1_500), at(5_000)], [100, 100, 150, 500]);
        assert_eq!([at(10_000), at(1_000_000)], [1_000, 1_000]);
        assert!((0..10_000).is_sorted_by_key(at));
    }

    /// How many of 1,000 requests the first of these shares gets, when as many as `busy` are in
    /// flight at any time.
    fn got(shares: &[u64], busy: usize) -> usize {
        let mut in_flight = vec![0; shares.len()];
        let mut under_way = std::collections::VecDeque::new();
        let mut got = 0;
        for turn in 0..1_000 {
            let start = turn % shares.len();
            let order = (start..shares.len()).chain(0..start);
            let candidates = order.map(|at| (at, shares[at], in_flight[at]));
            let chosen = least(candidates, turn).unwrap();
            got += usize::from(chosen == 0);
            in_flight[chosen] += 1;
            under_way.push_back(chosen);
            if under_way.len() > busy {
                in_flight[under_way.pop_front().unwrap()] -= 1;
            }
        }
        got
    }

    #[test]
    fn an_instance_gets_its_share_whether_all_are_idle_or_busy() {
        // A whole share of two is 500, of five 200.
        for (shares, busy, range) in [
            (&[100, 1_000][..], 0, 30..=100),
            (&[500, 1_000], 0, 220..=300),
            (&[1_000, 1_000], 0, 480..=520),
            (&[100, 1_000], 40, 60..=140),
            (&[500, 1_000], 40, 290..=370),
            (&[1_000, 1_000], 40, 480..=520),
            (&[100, 1_000, 1_000, 1_000, 1_000], 0, 5..=40),
            (&[100, 1_000, 1_000, 1_000, 1_000], 100, 15..=60),
            // All are new, or it is alone.
            (&[100, 100], 0, 480..=520),
            (&[100, 103], 40, 450..=520),
            (&[100], 0, 1_000..=1_000),
        ] {
            let got = got(shares, busy);
            assert!(range.contains(&got), "{shares:?} of {busy}: {got}");
        }
    }
}
