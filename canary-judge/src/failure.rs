//! Failures of the store, and of metric stores, as callers may react to them.

use proto::status::{Failure, Kind};
use store::Refused;

use crate::source::Class;

/// What the store could not do.
pub(crate) fn failed(error: store::Error) -> Failure {
    let kind = match error {
        store::Error::Unavailable(_) => Kind::Unavailable,
        store::Error::Limit { .. } => Kind::Invalid,
        store::Error::Open { .. } | store::Error::Damaged(_) => Kind::Internal,
    };
    Failure::new(kind, error.to_string())
}

/// What a caller may do about a metric store that has no answer.
pub(crate) fn kind(class: Class) -> Kind {
    match class {
        Class::Invalid => Kind::Invalid,
        // Asked again it is refused again, until the operator corrects account or store.
        Class::Refused => Kind::Conflict,
        Class::Transient => Kind::Unavailable,
    }
}

/// What the store refused, when deciding anew does not change it.
pub(crate) fn refused(refused: &Refused) -> Failure {
    let kind = match refused {
        Refused::Full(_) => Kind::Exhausted,
        _ => Kind::Unavailable,
    };
    Failure::new(kind, refused.to_string())
}
