//! Numbers in ascending order, to which more are added: how many lie below one, and which one is in the middle.
//!
//! Sorted chunks of bounded length: adding, counting and selecting cost O(√n), so that a look at n steps costs less
//! than n√n and a further step next to nothing.

/// A chunk that is longer is split.
const LONGEST: usize = 512;

/// A growing sorted multiset of numbers that are not NaN.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ordered {
    chunks: Vec<Vec<f64>>,
    len: usize,
}

impl Ordered {
    /// Adds `value`.
    pub(crate) fn insert(&mut self, value: f64) {
        self.len += 1;
        let place = self
            .chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| *last < value));
        let place = place.min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(place) else {
            self.chunks.push(vec![value]);
            return;
        };
        let within = chunk.partition_point(|other| *other < value);
        chunk.insert(within, value);
        if chunk.len() > LONGEST {
            let upper = chunk.split_off(LONGEST / 2);
            self.chunks.insert(place + 1, upper);
        }
    }

    /// How many are below `value`, and how many equal it.
    pub(crate) fn below_and_equal(&self, value: f64) -> (usize, usize) {
        let (mut below, mut equal) = (0, 0);
        for chunk in &self.chunks {
            if chunk.last().is_some_and(|last| *last < value) {
                below += chunk.len();
                continue;
            }
            let less = chunk.partition_point(|other| *other < value);
            let not_more = less + chunk[less..].partition_point(|other| *other <= value);
            below += less;
            equal += not_more - less;
            if not_more < chunk.len() {
                break;
            }
        }
        (below, equal)
    }

    /// The one at `place` in ascending order.
    fn at(&self, mut place: usize) -> Option<f64> {
        for chunk in &self.chunks {
            match chunk.get(place) {
                Some(value) => return Some(*value),
                None => place -= chunk.len(),
            }
        }
        None
    }

    /// The one in the middle, or the mean of the two; none of none.
    pub(crate) fn median(&self) -> Option<f64> {
        let upper = self.at(self.len / 2)?;
        if self.len % 2 == 1 {
            return Some(upper);
        }
        let lower = self.at(self.len / 2 - 1)?;
        // Infinite neighbours of one sign have no difference.
        Some(if lower.total_cmp(&upper).is_eq() {
            upper
        } else {
            lower / 2.0 + upper / 2.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_medians_are_those_of_a_sorted_list() {
        let mut random = crate::random::Random::new(3);
        let mut ordered = Ordered::default();
        let mut list: Vec<f64> = Vec::new();
        for round in 0..3000 {
            let value = random.below(700) as f64;
            ordered.insert(value);
            list.push(value);
            if round % 97 == 0 {
                list.sort_by(f64::total_cmp);
                let probe = random.below(700) as f64;
                let below = list.iter().filter(|other| **other < probe).count();
                let within = list.iter().filter(|other| **other <= probe).count();
                assert_eq!(ordered.below_and_equal(probe), (below, within - below));
                let (upper, lower) = (list[list.len() / 2], list[(list.len() - 1) / 2]);
                assert_eq!(ordered.median(), Some(f64::midpoint(lower, upper)));
            }
        }
        assert_eq!(Ordered::default().median(), None);
    }
}
