//! What is known of a segment without reading it: enough to pass over those in which
//! nothing asked for can be.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::segment::Row;

/// A field with more different values is kept as a bloom filter.
const FEW: usize = 24;
/// Bits for each value of a bloom filter: one in two thousand segments is read in vain.
const BITS: usize = 16;
const HASHES: u64 = 11;

/// What entries are asked for: every condition holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Fields, each with the values of which one must be there.
    pub fields: BTreeMap<String, Vec<String>>,
    /// Fields, each with values that must not be there.
    pub except: BTreeMap<String, BTreeSet<String>>,
    /// No older place in lists, ms since the epoch.
    pub from: Option<i64>,
    /// No newer place in lists, ms since the epoch.
    pub to: Option<i64>,
}

impl Filter {
    /// Requires one of these values; none of them requires nothing.
    #[must_use]
    pub fn any(mut self, field: &str, values: &[String]) -> Self {
        if !values.is_empty() {
            self.fields.insert(field.to_owned(), values.to_vec());
        }
        self
    }

    /// Whether an entry is asked for.
    pub fn takes(&self, row: &Row) -> bool {
        self.from.is_none_or(|from| row.at >= from)
            && self.to.is_none_or(|to| row.at <= to)
            && self.fields.iter().all(|(field, wanted)| {
                let there = row.fields.get(field);
                there.is_some_and(|there| wanted.iter().any(|value| there.contains(value)))
            })
            && self.except.iter().all(|(field, unwanted)| {
                let there = row.fields.get(field);
                there.is_none_or(|there| !there.iter().any(|value| unwanted.contains(value)))
            })
    }
}

/// The values of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Values {
    /// All of them.
    Few(BTreeSet<String>),
    /// Those that a bloom filter does not exclude.
    Many(Bloom),
}

/// Bits, so that a value that is not there is seldom taken to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bloom(Vec<u8>);

impl Bloom {
    fn of<'a>(values: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let bytes = (values.len() * BITS).div_ceil(8).max(1);
        let mut bloom = Self(vec![0; bytes]);
        for value in values {
            for (byte, bit) in bloom.places(value) {
                bloom.0[byte] |= bit;
            }
        }
        bloom
    }

    fn may_have(&self, value: &str) -> bool {
        let places = self.places(value);
        places
            .iter()
            .all(|(byte, bit)| self.0.get(*byte).is_some_and(|b| b & bit != 0))
    }

    fn places(&self, value: &str) -> Vec<(usize, u8)> {
        let hash = Sha256::digest(value.as_bytes());
        let half = |from: usize| {
            let bytes = hash.iter().skip(from).take(8);
            bytes.fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let (first, second) = (half(0), half(8) | 1);
        let bits = self.0.len() as u64 * 8;
        (0..HASHES)
            .map(|n| first.wrapping_add(n.wrapping_mul(second)) % bits.max(1))
            .map(|bit| (usize::try_from(bit / 8).unwrap_or(0), 1 << (bit % 8)))
            .collect()
    }
}

impl Serialize for Bloom {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bloom {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bits = STANDARD_NO_PAD.decode(text);
        bits.map(Self).map_err(serde::de::Error::custom)
    }
}

/// What is known of a segment's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many rows it has.
    pub rows: usize,
    /// The oldest place in lists.
    pub oldest: i64,
    /// The newest place in lists.
    pub newest: i64,
    /// The end of the row that ended last.
    pub ended: i64,
    /// The lowest id.
    first: String,
    /// The highest id.
    last: String,
    ids: Bloom,
    fields: BTreeMap<String, Values>,
    /// Fields that every row has.
    whole: BTreeSet<String>,
}

impl Summary {
    /// The summary of these rows.
    pub fn of<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Self {
        let ids: BTreeSet<&str> = rows.clone().map(|row| row.id.as_str()).collect();
        let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in rows.clone() {
            for (field, values) in &row.fields {
                let known = fields.entry(field.clone()).or_default();
                known.extend(values.iter().cloned());
            }
        }
        let has = |field: &String| rows.clone().all(|row| row.fields.contains_key(field));
        let whole = fields.keys().filter(|field| has(field)).cloned().collect();
        let fields = fields.into_iter().map(|(field, values)| {
            let values = if values.len() <= FEW {
                Values::Few(values)
            } else {
                Values::Many(Bloom::of(values.iter().map(String::as_str)))
            };
            (field, values)
        });
        Self {
            rows: rows.clone().count(),
            oldest: rows.clone().map(|row| row.at).min().unwrap_or(0),
            newest: rows.clone().map(|row| row.at).max().unwrap_or(0),
            ended: rows.map(|row| row.ended).max().unwrap_or(0),
            first: ids.first().copied().unwrap_or_default().to_owned(),
            last: ids.last().copied().unwrap_or_default().to_owned(),
            ids: Bloom::of(ids.iter().copied().collect::<Vec<_>>().into_iter()),
            fields: fields.collect(),
            whole,
        }
    }

    /// Whether an entry with this id may be in it.
    pub fn may_have(&self, id: &str) -> bool {
        (self.first.as_str()..=self.last.as_str()).contains(&id) && self.ids.may_have(id)
    }

    /// Whether something that is asked for may be in it.
    pub fn may_take(&self, filter: &Filter) -> bool {
        filter.from.is_none_or(|from| self.newest >= from)
            && filter.to.is_none_or(|to| self.oldest <= to)
            && filter.fields.iter().all(|(field, wanted)| {
                let Some(values) = self.fields.get(field) else {
                    return false;
                };
                wanted.iter().any(|value| match values {
                    Values::Few(all) => all.contains(value),
                    Values::Many(bloom) => bloom.may_have(value),
                })
            })
            && !filter.except.iter().any(|(field, unwanted)| {
                let all = self.fields.get(field);
                let all = all.filter(|_| self.whole.contains(field));
                all.is_some_and(|all| match all {
                    Values::Few(all) => all.is_subset(unwanted),
                    Values::Many(_) => false,
                })
            })
    }
}
