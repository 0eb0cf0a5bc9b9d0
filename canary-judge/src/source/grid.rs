//! The instants that values are asked for, and the placing of what a store answered on them.
//!
//! Differs from Spinnaker: a gap is NaN at its place in every store. There some stores leave it out, and all that
//! follows it is compared with another instant; the compatible judge drops NaN, so its verdict is the same. The end of
//! the window is outside in every store, so that windows that follow one another share no value; there it is inside
//! for Prometheus.

use crate::query::{Fault, Scope};

/// Instants of one window at most.
pub(super) const MOST: u32 = 100_000;

/// `start`, `start + step`, … before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
    len: i64,
}

/// The store answers at other instants than asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OtherStep {
    /// Its step, in ms.
    pub(crate) found_ms: i64,
}

/// What becomes of answers that are finer than asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finer {
    /// They are refused: the store was told the step.
    Refused,
    /// What lies between two instants is averaged: the store has a step of its own.
    Averaged,
}

impl Grid {
    /// The instants of a scope.
    ///
    /// # Errors
    /// A window or a step that has none.
    pub(crate) fn of(scope: &Scope) -> Result<Self, Fault> {
        let step_ms = i64::try_from(scope.step_s).ok();
        let step_ms = step_ms.and_then(|step| step.checked_mul(1_000));
        let step_ms = step_ms.filter(|step| *step > 0).ok_or_else(|| {
            let remedy = "give seconds between two values, such as 60";
            Fault::new("scope.step", &scope.step_s.to_string(), remedy)
        })?;
        let window = scope.end_ms.checked_sub(scope.start_ms);
        let window = window.filter(|window| *window > 0).ok_or_else(|| {
            let remedy = "give an end after the start";
            Fault::new("scope.end", &judge::iso(scope.end_ms), remedy)
        })?;
        let len = (window - 1) / step_ms + 1;
        if len > i64::from(MOST) {
            let remedy =
                format!("the window holds {len} values, at most {MOST} are read; make it larger");
            return Err(Fault::new("scope.step", &scope.step_s.to_string(), remedy));
        }
        Ok(Self {
            start_ms: scope.start_ms,
            end_ms: scope.end_ms,
            step_ms,
            len,
        })
    }

    /// The instants of a scope for a store that is asked in whole seconds: all of them begin with the second that the
    /// window begins in, for what lies between is not before the window but the beginning of its first value.
    ///
    /// # Errors
    /// A window or a step that has none.
    pub(crate) fn of_seconds(scope: &Scope) -> Result<Self, Fault> {
        let (grid, (from_s, _)) = (Self::of(scope)?, seconds(scope));
        let start_ms = from_s.saturating_mul(1_000);
        Ok(Self {
            start_ms,
            // As long as it was: the window that follows begins where this one ends.
            end_ms: start_ms.saturating_add(grid.end_ms - grid.start_ms),
            ..grid
        })
    }

    /// How many instants.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.len).unwrap_or(0)
    }

    /// The last instant.
    pub(crate) fn last_ms(&self) -> i64 {
        self.start_ms + (self.len - 1) * self.step_ms
    }

    /// All instants.
    pub(crate) fn times(&self) -> Vec<i64> {
        (0..self.len)
            .map(|at| self.start_ms + at * self.step_ms)
            .collect()
    }
}

/// Begin and end of a scope in whole seconds, of which the last may reach over the end.
pub(crate) fn seconds(scope: &Scope) -> (i64, i64) {
    let from_s = scope.start_ms.div_euclid(1_000);
    let window_ms = scope.end_ms.saturating_sub(scope.start_ms);
    let window_s = window_ms.saturating_add(999).div_euclid(1_000);
    (from_s, from_s.saturating_add(window_s))
}

/// Places points on a grid, in the order of time.
#[derive(Debug)]
pub(crate) struct Placer {
    grid: Grid,
    finer: Finer,
    values: Vec<f64>,
    /// How many points are averaged at the last instant.
    counted: f64,
    /// The instant of the last point, and its place.
    last: Option<(i64, usize)>,
    /// Smallest and largest time between two points.
    between: Option<(i64, i64)>,
    points: usize,
}

impl Placer {
    pub(crate) fn new(grid: Grid, finer: Finer) -> Self {
        Self {
            grid,
            finer,
            values: vec![f64::NAN; grid.len()],
            counted: 0.0,
            last: None,
            between: None,
            points: 0,
        }
    }

    /// A point; one outside of the window is passed over.
    pub(crate) fn put(&mut self, at_ms: i64, value: f64) {
        if at_ms < self.grid.start_ms || at_ms >= self.grid.end_ms {
            return;
        }
        let place = match self.last {
            // The usual case, without a division.
            Some((last_ms, place)) if at_ms - last_ms == self.grid.step_ms => place + 1,
            _ => {
                let from_start = at_ms - self.grid.start_ms;
                usize::try_from(from_start / self.grid.step_ms).unwrap_or(usize::MAX)
            }
        };
        let Some(slot) = self.values.get_mut(place) else {
            return;
        };
        self.points += 1;
        if let Some((last_ms, last_place)) = self.last {
            let between = at_ms - last_ms;
            let (least, most) = self.between.unwrap_or((between, between));
            self.between = Some((least.min(between), most.max(between)));
            if place == last_place {
                // NaN beside a number is a point without a value.
                if slot.is_nan() {
                    *slot = value;
                    self.counted = 1.0;
                } else if !value.is_nan() {
                    self.counted += 1.0;
                    *slot += (value - *slot) / self.counted;
                }
                self.last = Some((at_ms, place));
                return;
            }
        }
        *slot = value;
        self.counted = 1.0;
        self.last = Some((at_ms, place));
    }

    /// The values, one for each instant.
    ///
    /// # Errors
    /// When the points have another step than the grid.
    pub(crate) fn finish(self) -> Result<Vec<f64>, OtherStep> {
        let Some((least, most)) = self.between else {
            return Ok(self.values);
        };
        let step = self.grid.step_ms;
        let finer = least < step && self.finer == Finer::Refused;
        // A gap is as long as several steps; a store that has nothing but gaps has another step.
        let coarser = least == most && least >= 2 * step && self.points >= 4;
        let beside = least > step && least % step != 0;
        if finer || coarser || (beside && self.finer == Finer::Refused) {
            return Err(OtherStep { found_ms: least });
        }
        Ok(self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: f64 = f64::NAN;

    fn grid(end_s: i64, step_s: u64) -> Grid {
        let scope = Scope {
            end_ms: end_s * 1_000,
            step_s,
            ..Scope::default()
        };
        Grid::of(&scope).unwrap()
    }

    fn placed(finer: Finer, points: &[(i64, f64)]) -> Result<Vec<f64>, OtherStep> {
        let mut placer = Placer::new(grid(300, 60), finer);
        points
            .iter()
            .for_each(|(at_s, value)| placer.put(at_s * 1_000, *value));
        placer.finish()
    }

    fn same(found: &[f64], expected: &[f64]) {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(found), bits(expected), "{found:?} {expected:?}");
    }

    #[test]
    fn the_start_is_inside_and_the_end_is_outside() {
        assert_eq!(
            grid(300, 60).times(),
            [0, 60_000, 120_000, 180_000, 240_000]
        );
        assert_eq!(grid(301, 60).last_ms(), 300_000);
        let points = [(-60, 9.0), (0, 1.0), (240, 5.0), (300, 9.0)];
        same(
            &placed(Finer::Refused, &points).unwrap(),
            &[1.0, N, N, N, 5.0],
        );
    }

    #[test]
    fn a_window_in_whole_seconds_begins_with_its_first_second_and_is_as_long() {
        for (start_ms, end_ms, expected, times) in [
            (60_456, 180_456, (60, 180), &[60_000, 120_000][..]),
            (60_000, 180_000, (60, 180), &[60_000, 120_000]),
            (60_999, 61_001, (60, 61), &[60_000]),
            (60_100, 121_000, (60, 121), &[60_000, 120_000]),
            (-400, 60_000 - 400, (-1, 59), &[-1_000]),
        ] {
            let scope = Scope {
                start_ms,
                end_ms,
                step_s: 60,
                ..Scope::default()
            };
            let grid = Grid::of_seconds(&scope).unwrap();
            assert_eq!(seconds(&scope), expected);
            assert_eq!(grid.times(), times);
            assert_eq!(grid.end_ms - grid.start_ms, end_ms - start_ms);
        }
    }

    #[test]
    fn gaps_are_nan_at_their_place() {
        let points = [(0, 1.0), (60, 2.0), (240, 5.0)];
        same(
            &placed(Finer::Refused, &points).unwrap(),
            &[1.0, 2.0, N, N, 5.0],
        );
        same(&placed(Finer::Refused, &[]).unwrap(), &[N; 5]);
    }

    #[test]
    fn a_finer_step_is_refused_or_averaged() {
        let points = [
            (0, 1.0),
            (30, 3.0),
            (60, 5.0),
            (90, N),
            (120, N),
            (150, 7.0),
        ];
        let refused = placed(Finer::Refused, &points);
        assert_eq!(refused, Err(OtherStep { found_ms: 30_000 }));
        same(
            &placed(Finer::Averaged, &points).unwrap(),
            &[2.0, 5.0, 7.0, N, N],
        );
    }

    #[test]
    fn a_coarser_step_and_one_beside_the_grid_are_refused() {
        let coarser: Vec<_> = (0..4).map(|at| (at * 75, 1.0)).collect();
        assert_eq!(
            placed(Finer::Refused, &coarser),
            Err(OtherStep { found_ms: 75_000 })
        );
        let mut placer = Placer::new(grid(3_000, 60), Finer::Averaged);
        (0..5).for_each(|at| placer.put(at * 120_000, 1.0));
        assert_eq!(placer.finish(), Err(OtherStep { found_ms: 120_000 }));
    }

    #[test]
    fn a_window_without_an_instant_is_refused() {
        for (end_ms, step_s, text) in [
            (
                0,
                60,
                "scope.end is \"1970-01-01T00:00:00Z\": give an end after the start",
            ),
            (1, 0, "scope.step is \"0\": give seconds"),
            (i64::MAX, 1, "at most 100000 are read"),
            (1, u64::MAX, "scope.step is"),
        ] {
            let scope = Scope {
                end_ms,
                step_s,
                ..Scope::default()
            };
            let fault = Grid::of(&scope).unwrap_err().to_string();
            assert!(fault.contains(text), "{fault}");
        }
    }
}
