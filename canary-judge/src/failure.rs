//! The store's failures as callers may react to them.

use proto::status::{Failure, Kind};
use store::Refused;

/// What the store could not do.
pub(crate) fn failed(error: store::Error) -> Failure {
    let kind = match error {
        store::Error::Unavailable(_) => Kind::Unavailable,
        store::Error::Limit { .. } => Kind::Invalid,
        store::Error::Open { .. } | store::Error::Damaged(_) => Kind::Internal,
    };
    Failure::new(kind, error.to_string())
}

/// What it refused, when deciding anew does not change it.
pub(crate) fn refused(refused: &Refused) -> Failure {
    let kind = match refused {
        Refused::Full(_) => Kind::Exhausted,
        _ => Kind::Unavailable,
    };
    Failure::new(kind, refused.to_string())
}
