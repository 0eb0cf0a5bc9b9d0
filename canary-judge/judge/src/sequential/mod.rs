//! What `SequentialJudge-v1.0` knows: evidence that may be looked at after every step.
//!
//! A fixed test that is repeated finds something in the end. Here each metric has an *e-process*: a nonnegative process that
//! starts at 1 and, as long as the canary is not worse, is not expected to grow, whatever was seen before. By Ville's
//! inequality it ever reaches 1/α with probability at most α; so one may look after every step and stop at the first that
//! suffices (Ramdas, Grünwald, Vovk, Shafer, Stat. Sci. 2023, arXiv 2210.01948; Johari, Koomen, Pekelis, Walsh, Oper. Res.
//! 2022, arXiv 1512.04922).
//!
//! ```text
//! pairs ─► align ─► blocks ─► shift (signs, ranks) ─┐
//!             └───► counts ─────────────────────────┼─► verdict ─► report
//!             └───► pods ───────────────────────────┘     ▲
//! config ─► settings, weights ────────────────────────────┘
//! ```
//!
//! The guarantee is for the hypothesis that is stated in [`shift`]: that, given the past, a good canary is not likelier
//! above its margin than below. Noise that wanders for minutes is worse for a while, so blocks must be long enough to
//! forget it ([`calibration`]); what is found to wander all the same is refused and said.

pub(crate) mod align;
pub(crate) mod beware;
pub(crate) mod blocks;
pub mod calibration;
pub mod correlation;
pub mod counts;
pub(crate) mod exceedance;
pub(crate) mod interval;
pub(crate) mod needed;
pub(crate) mod order;
pub mod pods;
pub mod ranks;
pub(crate) mod reason;
pub(crate) mod report;
pub mod settings;
pub mod shift;
pub mod signs;
pub(crate) mod unit;
pub(crate) mod verdict;
pub(crate) mod weights;

pub use calibration::{Calibrated, ENOUGH, Uncalibrated, block_for, calibrate};
pub use correlation::TOO_MUCH;
pub use settings::Settings;
