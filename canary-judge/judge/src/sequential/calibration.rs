//! How many steps a block must have, found where nothing differs: on A/A data, as a baseline split in two, or past
//! canaries that were good.
//!
//! The evidence of [`super::signs`] takes each block, given the past, for as likely above as below. Noise that wanders for
//! minutes breaks that: with autocorrelation 0.8 and blocks of one step half of all good canaries would fail. Means of
//! blocks forget: for an autoregressive noise of coefficient φ their lag-1 autocorrelation is
//! φ(1−φᴮ)²/(B(1−φ²) − 2φ(1−φᴮ)), which is 0.29 with φ = 0.8 and B = 10, and 0.11 with B = 25. The shortest block whose
//! differences have at most [`ENOUGH`] is taken, if the next longer one agrees.

use super::correlation::lag_one;
use crate::config::CanaryConfig;
use crate::error::Error;
use crate::judges::metric_of;
use crate::metric_set::MetricSetPair;
use crate::sequential::align::{Both, Steps};
use crate::sequential::blocks::{Block, Blocks};
use crate::sequential::settings::{LONGEST_BLOCK, MetricSettings, Settings};

/// The lag-1 autocorrelation that block differences may have. Of 20,000 good canaries, half of them with noise of
/// autocorrelation 0.8, less than alpha fail with it (`make canary-figures`); with 0.2 more do.
pub const ENOUGH: f64 = 0.12;
/// The fewest blocks that an autocorrelation is believed of.
pub const FEWEST: usize = 30;

/// A block length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibrated {
    /// Steps of a block.
    pub block: usize,
    /// Lag-1 autocorrelation of the differences of such blocks.
    pub autocorrelation: f64,
    /// How many blocks there were.
    pub blocks: usize,
    /// Lag-1 autocorrelation of the differences of single steps.
    pub of_steps: f64,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Uncalibrated {
    /// Too little data.
    #[error(
        "{steps} steps with values on both sides are too few to calibrate a block: give at least {FEWEST}, better a day"
    )]
    TooShort {
        /// Steps that have both sides.
        steps: usize,
    },
    /// Whatever block the data allow, its differences are correlated.
    #[error(
        "block refused: even blocks of {block} steps have differences with a lag-1 autocorrelation of \
         {autocorrelation:.2}, more than {ENOUGH}; give more data or pods to compare"
    )]
    Correlated {
        /// The longest block that was tried.
        block: usize,
        /// Lag-1 autocorrelation of its differences.
        autocorrelation: f64,
    },
}

/// The block length for each of `pairs`, of which both sides ran the same version.
pub fn calibrate(
    config: &CanaryConfig,
    pairs: &[MetricSetPair],
) -> Result<Vec<Result<Calibrated, Uncalibrated>>, Error> {
    let settings = Settings::read(config)?;
    let found = pairs.iter().map(|pair| {
        let own = MetricSettings::read(metric_of(config, pair)?, &settings)?;
        let steps = Steps::of(pair, own.options.nan_strategy, 0)?;
        let values: Vec<Both> = steps.valid().collect();
        Ok(block_for(&values))
    });
    found.collect()
}

/// The block length for values of two sides that do not differ, canary and baseline by step.
pub fn block_for(values: &[(f64, f64)]) -> Result<Calibrated, Uncalibrated> {
    let steps = values.len();
    if steps < FEWEST {
        return Err(Uncalibrated::TooShort { steps });
    }
    let longest = (steps / FEWEST).min(usize::try_from(LONGEST_BLOCK).unwrap_or(usize::MAX));
    let mut of_steps = 0.0;
    let mut before: Option<Calibrated> = None;
    let mut found = 0.0;
    for block in 1..=longest {
        let mut blocks = Blocks::new(block);
        let full = values
            .iter()
            .filter_map(|(canary, baseline)| blocks.push(*canary, *baseline));
        let differences: Vec<f64> = full.map(Block::difference).collect();
        // What does not vary is not correlated.
        found = lag_one(&differences).unwrap_or(0.0);
        if block == 1 {
            of_steps = found;
        }
        let enough = found <= ENOUGH;
        match before {
            Some(calibrated) if enough => return Ok(calibrated),
            Some(_) | None => {}
        }
        before = enough.then_some(Calibrated {
            block,
            autocorrelation: found,
            blocks: differences.len(),
            of_steps,
        });
    }
    before.ok_or(Uncalibrated::Correlated {
        block: longest,
        autocorrelation: found,
    })
}
