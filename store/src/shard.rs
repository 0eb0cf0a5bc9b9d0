//! Application → shard → hash tag, and execution ids that carry their shard.
//!
//! Everything one batch touches lies in one shard; on Redis a shard is one hash
//! tag and so one cluster slot.

use sha2::{Digest, Sha256};

/// Hash tags of the 16 shards, chosen so that their slots are spread evenly over
/// a cluster's 16,384 (`CRC16` of each lies in another sixteenth).
const TAGS: [&str; 16] = [
    "18", "3", "61", "58", "19", "2", "60", "59", "102", "1", "63", "49", "103", "0", "62", "48",
];

/// Crockford's base 32, as in ULIDs.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of an execution id.
pub const ID_LENGTH: usize = 26;
/// Those of them that tell the time.
const TIME: usize = 10;

/// What a character of an id stands for.
fn digit(byte: u8) -> Option<usize> {
    let byte = byte.to_ascii_uppercase();
    ALPHABET.iter().position(|known| *known == byte)
}

/// One of the store's shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

impl Shard {
    /// Its number, below the store's count.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The text between the braces of its Redis keys.
    pub fn tag(self) -> &'static str {
        TAGS[usize::from(self.0) % TAGS.len()]
    }
}

/// How many shards a store has; fixed when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards {
    count: u16,
}

impl Default for Shards {
    fn default() -> Self {
        Self { count: 16 }
    }
}

impl Shards {
    /// `count` shards, 1 to 16.
    pub fn new(count: u16) -> Self {
        Self {
            count: count.clamp(1, 16),
        }
    }

    /// How many there are.
    pub fn count(self) -> u16 {
        self.count
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = Shard> {
        (0..self.count).map(Shard)
    }

    /// The shard of an application, whatever the case of its name.
    pub fn of_application(self, application: &str) -> Shard {
        self.of_name(&application.to_lowercase())
    }

    /// The shard of something that has no application, by its own id.
    pub fn of_name(self, name: &str) -> Shard {
        let hash = Sha256::digest(name.as_bytes());
        let first = hash
            .iter()
            .take(8)
            .fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        Shard(u16::try_from(first % u64::from(self.count)).unwrap_or(0))
    }

    /// The shard with this number, wrapped into the store's count.
    pub fn numbered(self, number: u16) -> Shard {
        Shard(number % self.count)
    }

    /// The shard an execution id carries in its last two characters. An id of
    /// another form (imported) lies in the shard of its own text.
    pub fn of_id(self, id: &str) -> Shard {
        match id.as_bytes() {
            [.., a, b] if id.len() == ID_LENGTH => match (digit(*a), digit(*b)) {
                (Some(a), Some(b)) => {
                    let carried = u16::try_from(a * 32 + b).unwrap_or(0) % 16;
                    Shard(carried % self.count)
                }
                _ => self.of_name(id),
            },
            _ => self.of_name(id),
        }
    }

    /// The time that [`Shards::mint_id`] put into an id; none of an id of another form.
    pub fn time_of_id(self, id: &str) -> Option<i64> {
        let time = id.as_bytes().get(..TIME).filter(|_| id.len() == ID_LENGTH);
        let time = time?.iter().try_fold(0, |time, byte| {
            Some(time << 5 | u64::try_from(digit(*byte)?).ok()?)
        });
        i64::try_from(time?).ok()
    }

    /// An execution id: 10 characters of time, 16 of `seed`'s hash, of which the
    /// last two are set so that they carry the shard. The same arguments give the
    /// same id, which is what makes creation idempotent.
    pub fn mint_id(self, at_ms: i64, seed: &str, shard: Shard) -> String {
        let hash = Sha256::digest(seed.as_bytes());
        let mut id = String::with_capacity(ID_LENGTH);
        let mut push = |value: u64| {
            id.push(char::from(
                ALPHABET[usize::try_from(value & 31).unwrap_or(0)],
            ));
        };
        let time = u64::try_from(at_ms).unwrap_or(0);
        for digit in (0..TIME).rev() {
            push(time >> (5 * digit));
        }
        for byte in hash.iter().take(14) {
            push(u64::from(*byte));
        }
        // The last 10 bits carry the shard modulo 16 and keep six bits of the hash.
        let free = (u64::from(hash[14]) & 63) << 4;
        let last = free | u64::from(shard.0 % 16);
        push(last >> 5);
        push(last);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_shard_and_is_the_same_for_the_same_seed() {
        for count in [1, 3, 16] {
            let shards = Shards::new(count);
            for shard in shards.all() {
                let id = shards.mint_id(1_700_000_000_000, "event/trigger", shard);
                assert_eq!(id.len(), ID_LENGTH);
                assert_eq!(shards.of_id(&id), shard, "{id}");
                assert_eq!(
                    id,
                    shards.mint_id(1_700_000_000_000, "event/trigger", shard)
                );
                assert_ne!(id, shards.mint_id(1_700_000_000_000, "event/other", shard));
            }
        }
    }

    #[test]
    fn an_id_tells_its_time() {
        let shards = Shards::default();
        for at in [0, 1, 31, 32, 1_700_000_000_000] {
            let id = shards.mint_id(at, "seed", shards.numbered(7));
            assert_eq!(shards.time_of_id(&id), Some(at), "{id}");
        }
        for other in ["", "imported", "UUUUUUUUUUUUUUUUUUUUUUUUUU"] {
            assert_eq!(shards.time_of_id(other), None, "{other}");
        }
    }

    #[test]
    fn later_ids_sort_later() {
        let shards = Shards::default();
        let shard = shards.of_application("Shop");
        assert_eq!(shard, shards.of_application("shop"));
        assert!(shards.mint_id(1, "z", shard) < shards.mint_id(2, "a", shard));
    }

    #[test]
    fn every_shard_has_a_tag_of_its_own() {
        let mut tags: Vec<_> = Shards::default().all().map(Shard::tag).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 16);
    }
}
