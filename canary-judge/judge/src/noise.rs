//! Where the noise of a judgement begins.

use crate::metric_set::MetricSetPair;
use crate::random::Random;

/// The generator that a judgement draws from.
///
/// Differs from Spinnaker: there it is one unseeded generator of the process, so that metrics whose values are
/// constant get another result every time. Here it begins anew with each pair, from the pair's id; the same pair is
/// judged alike, alone or among others. A seed can be given instead, as for comparison with recorded judgements: then
/// all pairs draw from one generator, in order.
#[derive(Debug, Clone)]
pub struct Noise {
    seed: Option<i64>,
    random: Random,
}

impl Noise {
    /// From the id of each pair.
    pub fn of_pairs() -> Self {
        Self {
            seed: None,
            random: Random::new(0),
        }
    }

    /// From `seed`, as if the original's generator had been seeded with it.
    pub fn seeded(seed: i64) -> Self {
        Self {
            seed: Some(seed),
            random: Random::new(seed),
        }
    }

    /// As it was before the first pair.
    #[must_use]
    pub fn again(&self) -> Self {
        self.seed.map_or_else(Self::of_pairs, Self::seeded)
    }

    /// The generator for `pair`, whose turn it is.
    pub(crate) fn begin(&mut self, pair: &MetricSetPair) -> &mut Random {
        if self.seed.is_none() {
            let id = pair.id.as_deref().unwrap_or(&pair.name);
            self.random = Random::new(hash(id));
        }
        &mut self.random
    }
}

/// FNV-1a, 64 bits.
fn hash(text: &str) -> i64 {
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    });
    hash.cast_signed()
}
