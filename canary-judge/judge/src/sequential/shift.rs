//! Whether a canary's values are shifted against its baseline's by more than a margin.
//!
//! Of the blocks (xₜ, yₜ) of canary and baseline, with mₜ the median of |y₁| … |yₜ₋₁| (earlier blocks alone, so that it is
//! predictable; nothing is said before three), an increase beyond the margin a is dₜ = (xₜ − yₜ) − a·mₜ > 0, a decrease
//! dₜ = (yₜ − xₜ) − a·mₜ > 0. The hypothesis that a canary fails by is the contrary: given the past, P(dₜ > 0) ≤ P(dₜ < 0).
//! Only order, sign and rank count: negative, tiny and zero-centred metrics are as good as others, and infinities are
//! values. What both sides share in a step, as load and time of day, is gone with the difference.
//!
//! *Harm* is E = (E_sign + E_rank)/2 of dₜ, for both directions the mean of both. *Safe* is the same of the reversed
//! difference with the critical margin, where a canary that is exactly at the margin speaks for it; for both directions
//! it is the lesser. See [`super::signs`] and [`super::ranks`].
//!
//! Where the differences of blocks are found to be correlated ([`super::correlation`]), the block length is refused: from
//! then on the evidence is the least of this length and the double one, and so on. The least of e-processes is an
//! e-process if one of them is.

use super::align::Both;
use super::blocks::{Block, Blocks};
use super::correlation::Correlation;
use super::order::Ordered;
use super::ranks::Ranks;
use super::settings::Margins;
use super::signs::{Sign, Signs};

/// Blocks before a margin is known.
pub(crate) const BEFORE_MARGIN: usize = 3;

/// Evidence after a step, as e-values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// Of the canary being worse than allowed.
    pub(crate) harm: f64,
    /// Of it not being worse than what is critical.
    pub(crate) safe: f64,
}

impl Point {
    /// Before anything is known.
    pub(crate) const NOTHING: Self = Self {
        harm: 1.0,
        safe: 1.0,
    };

    /// The lesser of each.
    pub(crate) fn min(self, other: Self) -> Self {
        Self {
            harm: self.harm.min(other.harm),
            safe: self.safe.min(other.safe),
        }
    }
}

/// The margins of the directions that are minded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Minded {
    pub(crate) up: Option<Margins>,
    pub(crate) down: Option<Margins>,
}

impl Minded {
    /// Of each direction that `of` has evidence for: the mean.
    pub(crate) fn mean(up: Option<f64>, down: Option<f64>) -> f64 {
        let (sum, count) = [up, down]
            .into_iter()
            .flatten()
            .fold((0.0, 0), |(s, n), e| (s + e, n + 1));
        if count == 0 {
            1.0
        } else {
            sum / f64::from(count)
        }
    }

    /// The lesser.
    pub(crate) fn least(up: Option<f64>, down: Option<f64>) -> f64 {
        let least = [up, down].into_iter().flatten().reduce(f64::min);
        least.unwrap_or(1.0)
    }
}

/// An e-value that is a number: the largest instead of infinity, and nothing known where it could not be computed.
pub(crate) fn e_value(computed: f64) -> f64 {
    if computed.is_nan() {
        1.0
    } else {
        computed.min(f64::MAX)
    }
}

/// One hypothesis: that a difference is not above zero more often than below.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bets {
    pub(crate) signs: Signs,
    ranks: Ranks,
}

impl Bets {
    fn push(&mut self, difference: f64, tie: Sign) {
        if difference.is_nan() {
            return;
        }
        let sign = match Sign::of(difference) {
            Sign::Tie => tie,
            sign @ (Sign::Above | Sign::Below) => sign,
        };
        self.signs.push(sign);
        self.ranks.push(sign, difference.abs());
    }

    /// The e-value.
    fn value(&self) -> f64 {
        e_value(f64::midpoint(self.signs.ln().exp(), self.ranks.ln().exp()))
    }
}

/// What is watched in one direction.
#[derive(Debug, Clone)]
pub(crate) struct Direction {
    margins: Margins,
    /// 1 upwards, −1 downwards.
    sign: f64,
    pub(crate) harm: Bets,
    pub(crate) safe: Bets,
}

impl Direction {
    fn new(margins: Margins, sign: f64) -> Self {
        Self {
            margins,
            sign,
            harm: Bets::default(),
            safe: Bets::default(),
        }
    }

    fn push(&mut self, difference: f64, median: f64) {
        let difference = self.sign * difference;
        // Nothing times infinity would be no number.
        let part = |margin: f64| if margin > 0.0 { margin * median } else { 0.0 };
        let (allowed, critical) = (part(self.margins.allowed), part(self.margins.critical));
        self.harm.push(difference - allowed, Sign::Tie);
        self.safe.push(critical - difference, Sign::Above);
    }
}

/// A metric that is watched step by step, with blocks of one length.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    blocks: Blocks,
    sizes: Ordered,
    count: usize,
    pub(crate) up: Option<Direction>,
    pub(crate) down: Option<Direction>,
    pub(crate) correlation: Correlation,
    point: Point,
}

impl Watch {
    pub(crate) fn new(minded: Minded, block: usize) -> Self {
        Self {
            blocks: Blocks::new(block),
            sizes: Ordered::default(),
            count: 0,
            up: minded.up.map(|margins| Direction::new(margins, 1.0)),
            down: minded.down.map(|margins| Direction::new(margins, -1.0)),
            correlation: Correlation::default(),
            point: Point::NOTHING,
        }
    }

    /// One more step that has both sides; the block that it completes.
    pub(crate) fn push(&mut self, (canary, baseline): Both) -> Option<Block> {
        let block = self.blocks.push(canary, baseline)?;
        let difference = block.difference();
        if difference.is_nan() {
            return None;
        }
        if self.count >= BEFORE_MARGIN
            && let Some(median) = self.sizes.median()
        {
            for direction in [&mut self.up, &mut self.down].into_iter().flatten() {
                direction.push(difference, median);
            }
        }
        self.sizes.insert(block.baseline.abs());
        self.count += 1;
        self.correlation.push(difference);
        let harm = |direction: &Option<Direction>| Some(direction.as_ref()?.harm.value());
        let safe = |direction: &Option<Direction>| Some(direction.as_ref()?.safe.value());
        self.point = Point {
            harm: Minded::mean(harm(&self.up), harm(&self.down)),
            safe: Minded::least(safe(&self.up), safe(&self.down)),
        };
        Some(block)
    }

    /// The evidence so far.
    pub(crate) fn point(&self) -> Point {
        self.point
    }

    /// Whether more speaks for an increase than for a decrease.
    pub(crate) fn leans_up(&self) -> bool {
        let harm =
            |direction: &Option<Direction>| direction.as_ref().map_or(0.0, |d| d.harm.value());
        harm(&self.up) >= harm(&self.down)
    }
}

/// A metric that was watched from its first step to its last.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// After each step.
    pub(crate) points: Vec<Point>,
    /// Steps of a block.
    pub(crate) block: usize,
    /// The blocks.
    pub(crate) blocks: Vec<Block>,
    /// After the last step.
    pub(crate) watch: Watch,
    /// The last autocorrelation by which the block length was refused, and the run with the double length.
    pub(crate) refused: Option<(f64, Box<Run>)>,
}

impl Run {
    /// Of `steps`, those without a side being none.
    pub(crate) fn of(steps: &[Option<Both>], minded: Minded, block: usize) -> Self {
        let mut watch = Watch::new(minded, block);
        let (mut points, mut blocks) = (Vec::with_capacity(steps.len()), Vec::new());
        let mut refusals = Vec::with_capacity(steps.len());
        let mut refused = None;
        for step in steps {
            let full = step.and_then(|step| watch.push(step));
            if let Some(full) = full {
                blocks.push(full);
                // Kept once made: the same noise may look calm for a while, and what was held back would be there at once.
                refused = watch.correlation.too_much().or(refused);
            }
            refusals.push(refused.is_some());
            points.push(watch.point());
        }
        let mut run = Self {
            points,
            block,
            blocks,
            watch,
            refused: None,
        };
        if refusals.contains(&true) {
            let double = Self::of(steps, minded, block * 2);
            let both = run.points.iter_mut().zip(&double.points).zip(refusals);
            for ((point, other), _) in both.filter(|(_, refused)| *refused) {
                *point = point.min(*other);
            }
            run.refused = refused.map(|found| (found, Box::new(double)));
        }
        run
    }

    /// The run whose block length is not refused.
    pub(crate) fn accepted(&self) -> &Self {
        self.refused
            .as_ref()
            .map_or(self, |(_, double)| double.accepted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINDED: Minded = Minded {
        up: Some(Margins {
            allowed: 0.0,
            critical: 0.25,
        }),
        down: None,
    };

    #[test]
    fn what_could_not_be_computed_is_no_evidence() {
        assert_eq!(e_value(f64::NAN).total_cmp(&1.0), std::cmp::Ordering::Equal);
        assert_eq!(
            e_value(f64::INFINITY).total_cmp(&f64::MAX),
            std::cmp::Ordering::Equal
        );
    }

    #[test]
    fn a_block_that_is_refused_stays_refused_when_its_noise_calms_down() {
        // Noise that wanders for four windows, then a canary that is above its baseline at every step.
        let canary = |step: usize| match (step < 64, step % 16 < 8, step.is_multiple_of(2)) {
            (true, true, _) => 110.0,
            (true, false, _) => 90.0,
            (false, _, true) => 101.0,
            (false, _, false) => 102.0,
        };
        let steps: Vec<Option<Both>> = (0..400).map(|step| Some((canary(step), 100.0))).collect();
        let watched = Run::of(&steps, MINDED, 1);
        assert_eq!(
            watched.watch.correlation.too_much(),
            None,
            "the median has fallen back"
        );
        let (found, double) = watched.refused.expect("the refusal stays, and is told");
        assert!(found > crate::sequential::TOO_MUCH);
        let pairs = watched.points.iter().zip(&double.points).skip(64);
        for (step, (point, other)) in pairs.enumerate() {
            let held = point.harm <= other.harm && point.safe <= other.safe;
            assert!(held, "step {}: {point:?} against {other:?}", step + 64);
        }
        assert!(
            watched.watch.point().harm > double.watch.point().harm,
            "else nothing is held back"
        );
    }
}
