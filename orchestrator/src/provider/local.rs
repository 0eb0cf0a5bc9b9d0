//! The local provider: its operations observe, drain and undo by themselves, so
//! plans add nothing.

use super::Provider;

/// The provider.
pub(super) static PROVIDER: Local = Local;

/// See the module.
#[derive(Debug)]
pub(super) struct Local;

impl Provider for Local {
    fn key(&self) -> &'static str {
        "local"
    }

    fn running_is_up(&self) -> bool {
        true
    }

    fn shifts_traffic(&self) -> bool {
        true
    }

    fn restores(&self) -> bool {
        true
    }

    /// Hosts have few slots, and a replacement in place needs no free one.
    fn rollback_strategy(&self) -> &'static str {
        "inplacedrain"
    }
}
