//! Mid-ranks of two pooled samples, one shifted: the statistic z(μ) of the original's test.
//!
//! z(μ) ranks the pool of all xᵢ - μ and all yⱼ ascending with mid-ranks for ties, by the total order of doubles
//! (-0.0 below 0.0, and not tied with it), NaN ranked as +∞. With n and m points and R the sum of the ranks of x:
//!
//! ```text
//! d = R - n(n+1)/2 - nm/2            T = Σ over tied groups of (t³ - t)
//! σ = √( nm/12 · ((n+m+1) - T/((n+m)(n+m-1))) )
//! z = (d - ½ sign d) / σ
//! ```
//!
//! (`kayenta: MannWhitney`.) R - n(n+1)/2 is the number of pairs with xᵢ - μ > yⱼ, a tie counting one half, so nothing
//! is ranked: both samples are sorted once and each z(μ) is one merge, of the values, or where most of them occur
//! several times, of runs of equal ones. The difference xᵢ - μ is computed in floating point as the original does, or
//! ties at roots would differ; every count is an integer or a half, so the result is that of the ranking, bit for bit.

use crate::error::AllTied;

/// Above every key of a number.
const END: i64 = i64::MAX;

/// A value as an integer: integers compare as the values do in the total order.
fn key(value: f64) -> i64 {
    turned(value.to_bits().cast_signed())
}

/// Turns the order of the bits of negative values round, and back.
fn turned(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// The value of a key.
fn value(key: i64) -> f64 {
    f64::from_bits(turned(key).cast_unsigned())
}

/// The key of a value less μ.
fn shifted(x: f64, mu: f64) -> i64 {
    let shifted = x - mu;
    key(if shifted.is_nan() {
        f64::INFINITY
    } else {
        shifted
    })
}

/// Equal keys, and how many.
type Run = (i64, usize);

/// Runs of ascending keys.
fn runs(ascending: &[i64]) -> Vec<Run> {
    let equal = ascending.chunk_by(|a, b| a == b);
    equal.map(|run| (run[0], run.len())).collect()
}

/// How many different keys there are.
fn distinct(ascending: &[i64]) -> usize {
    let steps = ascending.windows(2).filter(|pair| pair[0] != pair[1]);
    steps.count() + usize::from(!ascending.is_empty())
}

/// What `count` equal values add to T.
fn cubed(count: usize) -> f64 {
    let t = count as f64;
    t * t * t - t
}

/// T of one sample.
fn ties(runs: &[Run]) -> f64 {
    runs.iter().map(|(_, count)| cubed(*count)).sum()
}

/// Two samples, ready to be compared at any shift.
#[derive(Debug)]
pub(crate) struct Ranking {
    /// Ascending.
    x: Vec<f64>,
    /// Runs of x; none if the values are merged, and not the runs.
    x_runs: Option<Vec<Run>>,
    /// Runs of y; none before they are needed.
    y_runs: Option<Vec<Run>>,
    /// Keys of y, and the end.
    y_keys: Vec<i64>,
    /// T of x and of y, each by itself.
    ties: f64,
    /// The least distance of two different values of x.
    gap: f64,
    /// Keys of the shifted x, and the end.
    keys: Vec<i64>,
}

impl Ranking {
    /// Sorts `x` and `y`.
    pub(crate) fn new(x: &[f64], y: &[f64]) -> Self {
        let sorted = |sample: &[f64]| {
            let mut keys = Vec::with_capacity(sample.len() + 1);
            keys.extend(sample.iter().map(|value| shifted(*value, 0.0)));
            keys.sort_unstable();
            keys
        };
        let (keys, mut y_keys) = (sorted(x), sorted(y));
        let different = distinct(&keys) + distinct(&y_keys);
        let (x_runs, y_runs, ties) = if different == x.len() + y.len() {
            (None, None, 0.0)
        } else {
            let (x_runs, y_runs) = (runs(&keys), runs(&y_keys));
            let ties = ties(&x_runs) + ties(&y_runs);
            // A run costs more than a value.
            let by_run = 2 * different <= x.len() + y.len();
            (by_run.then_some(x_runs), Some(y_runs), ties)
        };
        y_keys.push(END);
        let x: Vec<f64> = keys.iter().map(|key| value(*key)).collect();
        // What has no distance to its neighbour (a zero of another sign, NaN) may fall together with it anywhere.
        let neighbours = x.windows(2).zip(keys.windows(2));
        let gap = neighbours.fold(f64::INFINITY, |least, (pair, keys)| {
            let gap = pair[1] - pair[0];
            if gap >= least || keys[0] == keys[1] {
                least
            } else {
                gap.max(0.0)
            }
        });
        Self {
            x,
            x_runs,
            y_runs,
            y_keys,
            ties,
            gap,
            keys,
        }
    }

    /// Whether both samples are equal when sorted; the zeros are equal here.
    pub(crate) fn identical(&self) -> bool {
        let y = self.y().iter().map(|key| value(*key));
        self.x.iter().copied().eq(y)
    }

    /// Keys of y.
    fn y(&self) -> &[i64] {
        &self.y_keys[..self.y_keys.len() - 1]
    }

    /// Whether x has one distinct value, and y has.
    pub(crate) fn constants(&self) -> (bool, bool) {
        let constant = |first: Option<f64>, last: Option<f64>| first.is_some() && first == last;
        let at = |key: Option<&i64>| key.map(|key| value(*key));
        (
            constant(self.x.first().copied(), self.x.last().copied()),
            constant(at(self.y().first()), at(self.y().last())),
        )
    }

    /// Whether all values on both sides are one.
    pub(crate) fn is_one_value(&self) -> bool {
        let y = self.y().first().map(|key| value(*key));
        self.constants() == (true, true) && self.x.first().copied() == y
    }

    /// Twice the number of pairs with xᵢ - μ > yⱼ, a tie counting one half, and T of the pool.
    pub(crate) fn count(&mut self, mu: f64) -> (u64, f64) {
        let x_runs = if let Some(x_runs) = &self.x_runs {
            let shift = |(key, count): &Run| (shifted(value(*key), mu), *count);
            together(x_runs.iter().map(shift))
        } else {
            self.keys.clear();
            self.keys.extend(self.x.iter().map(|x| shifted(*x, mu)));
            self.keys.push(END);
            let (below, met) = merge(&self.keys, &self.y_keys);
            if !met && self.stay_apart(mu) {
                return (2 * below, self.ties);
            }
            self.keys.pop();
            runs(&self.keys)
        };
        let y = &self.y_keys[..self.y_keys.len() - 1];
        let y_runs = self.y_runs.get_or_insert_with(|| runs(y));
        tally(&x_runs, y_runs)
    }

    /// Whether values of x that differ still do when they are shifted: they do if they are farther from one another
    /// than the last bit of what is left of the largest.
    fn stay_apart(&self, mu: f64) -> bool {
        let extent = |value: Option<&f64>| value.map_or(0.0, |value| value.abs());
        let largest = extent(self.x.first()).max(extent(self.x.last())) + mu.abs();
        self.gap > 4.0 * f64::EPSILON * largest
    }

    /// z(μ).
    pub(crate) fn z(&mut self, mu: f64) -> Result<f64, AllTied> {
        let (n, m) = (self.x.len() as f64, self.y().len() as f64);
        let (doubled, ties) = self.count(mu);
        let d = doubled as f64 / 2.0 - n * m / 2.0;
        let sigma = ((n * m / 12.0) * ((n + m + 1.0) - ties / ((n + m) * (n + m - 1.0)))).sqrt();
        if sigma == 0.0 {
            return Err(AllTied);
        }
        let sign = if d == 0.0 { 0.0 } else { d.signum() };
        Ok((d - sign * 0.5) / sigma)
    }
}

/// Puts neighbouring runs of equal keys together.
fn together(ascending: impl Iterator<Item = Run>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::with_capacity(ascending.size_hint().0);
    for (key, count) in ascending {
        match runs.last_mut() {
            Some((last, total)) if *last == key => *total += count,
            _ => runs.push((key, count)),
        }
    }
    runs
}

/// Where a merge stands: how many of x and of y were taken.
#[derive(Debug, Clone, Copy)]
struct Front {
    i: usize,
    j: usize,
}

impl Front {
    /// After `done` steps, x being taken first among equals.
    fn after(done: usize, x: &[i64], y: &[i64]) -> Self {
        let (n, m) = (x.len() - 1, y.len() - 1);
        let (mut low, mut high) = (done.saturating_sub(m), done.min(n));
        while low < high {
            let middle = low.midpoint(high);
            if x[middle] <= y[done - 1 - middle] {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Self {
            i: low,
            j: done - low,
        }
    }

    /// Takes the next one. Which side has it is as good as random, so it is computed and not branched on.
    #[inline(always)]
    fn step(&mut self, x: &[i64], y: &[i64], seen: &mut Seen) {
        let (a, b) = (x[self.i], y[self.j]);
        let x_is_next = usize::from(a <= b);
        seen.taken += self.i;
        seen.met |= a == b;
        self.i += x_is_next;
        self.j += 1 - x_is_next;
    }
}

/// What the steps of a merge found.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Σ over all steps of the x taken before.
    taken: usize,
    /// Whether equals met.
    met: bool,
}

/// Merges two ascending lists, each ended by [`END`]: Σ over x of the y that lie below, and whether a value is in both.
/// Three parts of the merge advance together: a processor works on some while another waits for its values.
#[inline(never)]
fn merge(x: &[i64], y: &[i64]) -> (u64, bool) {
    let steps = x.len() + y.len() - 2;
    let part = steps / 3;
    let mut first = Front::after(0, x, y);
    let mut second = Front::after(part, x, y);
    let mut third = Front::after(2 * part, x, y);
    let mut seen = Seen {
        taken: 0,
        met: false,
    };
    for _ in 0..part {
        first.step(x, y, &mut seen);
        second.step(x, y, &mut seen);
        third.step(x, y, &mut seen);
    }
    for _ in 3 * part..steps {
        third.step(x, y, &mut seen);
    }
    // The x that is k-th is taken at step k + (y below) and counted in each step that is left then.
    let n = x.len() - 1;
    let left = n * steps - n * (n + 1) / 2;
    ((left - seen.taken) as u64, seen.met)
}

/// Merges runs: twice the number of pairs in which x is above y, equals counting one half, and T of the pool.
fn tally(x: &[Run], y: &[Run]) -> (u64, f64) {
    let mut others = y.iter().peekable();
    let (mut doubled, mut below) = (0, 0);
    let mut pool = ties(x) + ties(y);
    for (key, count) in x {
        while let Some((_, other)) = others.next_if(|(other, _)| other < key) {
            below += other;
        }
        doubled += 2 * count * below;
        if let Some((_, other)) = others.next_if(|(other, _)| other == key) {
            doubled += count * other;
            below += other;
            pool += cubed(count + other) - cubed(*count) - cubed(*other);
        }
    }
    (doubled as u64, pool)
}
