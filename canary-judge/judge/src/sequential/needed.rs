//! How much more it takes to decide, if what differs goes on as it did.

use super::counts;
use super::shift::{BEFORE_MARGIN, Bets, Run};
use super::signs::ln_of;

/// Nobody waits for more blocks.
const MOST: u64 = 1_000_000;

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needed {
    /// So many more steps.
    Steps(u64),
    /// So many more requests of both sides together.
    Requests(u64),
}

impl std::fmt::Display for Needed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "about {steps} more steps"),
            Self::Requests(requests) => write!(f, "about {requests} more requests"),
        }
    }
}

/// Blocks beyond those of `bets` until signs of the same shares alone have ln E ≥ `enough`; none if they never have.
fn blocks(bets: &Bets, enough: f64) -> Option<u64> {
    let (above, below) = (bets.signs.above, bets.signs.below);
    let seen = above + below;
    if seen == 0 {
        // Nothing is known yet: as many as it takes if all of them say the same, those before the margin included.
        let enough = (1..2_000).find(|all| ln_of(*all, 0) >= enough)?;
        return Some(enough + BEFORE_MARGIN as u64);
    }
    if above <= below {
        return None;
    }
    let suffices = |all: u64| {
        let less = all * below / seen;
        ln_of(all - less, less) >= enough
    };
    let mut many = seen + 1;
    while !suffices(many) {
        many *= 2;
        if many > MOST {
            return None;
        }
    }
    let mut few = seen.max(many / 2);
    while many - few > 1 {
        let middle = few.midpoint(many);
        if suffices(middle) {
            many = middle
        } else {
            few = middle
        }
    }
    Some(many - seen)
}

/// Until a shift is proved at `fail`, or not to be one at `pass`: the sooner. Both are e-values.
pub(crate) fn of_shift(run: &Run, fail: f64, pass: f64) -> Option<Needed> {
    let run = run.accepted();
    let directions = [&run.watch.up, &run.watch.down].into_iter().flatten();
    let harm = directions
        .clone()
        .filter_map(|direction| blocks(&direction.harm, fail.ln()))
        .min();
    let safe: Option<Vec<u64>> = directions
        .map(|direction| blocks(&direction.safe, pass.ln()))
        .collect();
    let safe = safe.and_then(|all| all.into_iter().max());
    let least = [harm, safe].into_iter().flatten().min()?;
    Some(Needed::Steps(least.saturating_mul(run.block as u64)))
}

/// The same of counts, whose ln E grows with the requests.
pub(crate) fn of_counts(run: &counts::Run, fail: f64, pass: f64) -> Option<Needed> {
    let point = run.points.last()?;
    let (_, (canary, baseline)) = run.sums();
    let more = |value: f64, enough: f64| {
        let more = (canary + baseline) * (enough.ln() / value.ln() - 1.0);
        (value > 1.0 && more.is_finite()).then_some(more.max(1.0))
    };
    let least = [more(point.harm, fail), more(point.safe, pass)]
        .into_iter()
        .flatten()
        .reduce(f64::min)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 1; more than there are numbers is as many as there are"
    )]
    Some(Needed::Requests(least.ceil() as u64))
}
