//! `none`: the new server group stands beside what runs, and takes traffic with it.

use super::Strategy;

/// The strategy.
pub(super) static STRATEGY: NoStrategy = NoStrategy;

/// See the module.
#[derive(Debug)]
pub(super) struct NoStrategy;

impl Strategy for NoStrategy {
    fn key(&self) -> &'static str {
        "none"
    }

    fn label(&self) -> &'static str {
        "None"
    }
}
