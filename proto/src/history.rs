//! How far back the balancer's own history goes, and what a canary may ask of it: the orchestrator refuses what would be
//! too old before it deploys anything, the judge when a run starts.

/// Seconds that the balancer remembers, counted second by second.
pub const REMEMBERED_S: u32 = 3_600;

/// Milliseconds that a judgement may be late and still find in a store what the store forgets.
pub const LATE_MS: u32 = 60_000;
