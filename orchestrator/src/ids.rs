//! The random ids of this service. Those of the engine are drawn by its [`crate::ground::Ground`].

use sha2::{Digest, Sha256};

/// A commit id: no two commits share one.
pub(crate) fn commit() -> String {
    text(rand::random())
}

/// A random number as an id.
pub(crate) fn text(random: u128) -> String {
    format!("{random:032x}")
}

/// An id in the form of a UUID that carries `shard` in its last byte, so that
/// what it names is found without asking every shard.
pub(crate) fn uuid_in(shard: u16) -> String {
    format_uuid(rand::random::<u128>() & !0xff | u128::from(shard & 0xff))
}

/// Version 4, variant 1, as clients that parse UUIDs expect.
fn format_uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) | 4 << 76;
    let bits = bits & !(0x3 << 62) | 2 << 62;
    let hex = format!("{bits:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

/// An id in the form of a UUID that is the same for the same seed.
pub(crate) fn uuid_of(seed: &str) -> String {
    let hash = Sha256::digest(seed.as_bytes());
    let bytes = hash
        .iter()
        .take(16)
        .fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
    format_uuid(bytes)
}

/// The shard number a UUID of ours carries; none for any other text.
pub(crate) fn shard_of_uuid(id: &str) -> Option<u16> {
    let last = id.get(id.len().checked_sub(2)?..)?;
    if id.len() != 36 {
        return None;
    }
    u16::from_str_radix(last, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_carries_its_shard() {
        for shard in [0, 7, 15] {
            let id = uuid_in(shard);
            assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
            assert_eq!(shard_of_uuid(&id), Some(shard), "{id}");
        }
        assert_eq!(shard_of_uuid("my-pipeline"), None);
        assert_ne!(uuid_in(1), uuid_in(1));
    }
}
