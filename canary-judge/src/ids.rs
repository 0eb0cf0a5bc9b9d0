//! Names that are drawn here, or follow from what they name.

use sha2::{Digest, Sha256};

/// A name nobody else has: of a commit, of a canary config.
pub(crate) fn unique() -> String {
    uuid(rand::random())
}

/// The id of a metric set pair: the same for the same pair of the same judgement, so that the noise which begins at
/// it does too.
pub(crate) fn of_pair(run: &str, key: &str, position: usize) -> String {
    let hash = Sha256::digest(format!("{run}\0{position}\0{key}"));
    let first = hash.iter().take(16);
    uuid(first.fold(0, |sum, byte| sum << 8 | u128::from(*byte)))
}

/// Version 4, variant 1, as clients that parse UUIDs expect.
fn uuid(bits: u128) -> String {
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
