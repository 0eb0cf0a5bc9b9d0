//! Placeholder of the comparison until the next change.
fn main() {}
