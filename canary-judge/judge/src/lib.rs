//! Canary judgement: whether a new version's metrics are worse than its baseline's, as Kayenta's judges decide it.
//!
//! It owns the canary config, the metric set pair and the result, the statistics between them, and their messages. It
//! is pure: no clock, no socket, no randomness but the generator of the original, whose seed is given ([`Noise`]). It
//! never fetches a metric and never acts on a score. The truth is what the real judge answered (`tests/fixtures`):
//! classifications, reasons and scores are equal to it, and so is every number on the way, to the last bit.
//!
//! ```text
//! canary config ─┐                 transform ─► descriptive ────────────────► stats of the result
//!                ├─► judges ─► for each pair ┤
//! pairs ─────────┘                           └► classify ─► mann_whitney ─► rank, brent
//!                                                             │
//! thresholds ──────────────────────────────► score ◄─────────┘
//! ```

#![deny(
    clippy::wildcard_enum_match_arm,
    clippy::float_cmp,
    clippy::cast_possible_truncation
)]

pub mod blind_spots;
mod brent;
pub mod classify;
mod config;
pub mod descriptive;
pub mod effect_size;
mod error;
mod judges;
pub mod mann_whitney;
mod metric_set;
mod metric_set_list;
mod mix;
mod noise;
mod number;
pub mod offline;
mod options;
pub mod outlier;
mod random;
mod rank;
mod read;
pub mod remote;
mod result;
mod reviewed;
pub mod run;
mod score;
pub mod sequential;
mod trace;
mod transform;
pub mod validate;

pub use classify::Classification;
pub use config::{CanaryConfig, MetricConfig, Thresholds};
pub use error::{AllTied, Error, Unreadable};
pub use judges::{Dredd, JUDGES, Judge, NetflixAca, Outlook, Sequential, resolve};
pub use metric_set::MetricSetPair;
pub use metric_set_list::{MetricSet, iso};
pub use mix::{MixError, mix};
pub use noise::Noise;
pub use options::{Direction, Measure, NanStrategy, Options, OutlierStrategy};
pub use random::Random;
pub use result::{AnalysisResult, Comparison, Decision, GroupScore, JudgeResult, Score};
pub use reviewed::reviewed;
pub use trace::{Test, Traced};
pub use transform::{transform, without_outliers};
