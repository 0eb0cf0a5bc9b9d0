//! The gRPC services of operations and queries: translation only.

mod operation;
mod query;

pub use operation::Operations;
pub use query::Queries;

use proto::status::Failure;
use tonic::Status;

use crate::operation::ledger;
use crate::provider::local::journal;

/// A failure of ours as the wire shows it.
fn internal(error: &dyn std::fmt::Display) -> Status {
    Failure::internal(error.to_string()).into()
}

fn of_store(error: &store::Error) -> Status {
    use proto::status::Kind;
    let kind = match error {
        store::Error::Unavailable(_) | store::Error::Open { .. } => Kind::Unavailable,
        store::Error::Limit { .. } => Kind::Invalid,
        store::Error::Damaged(_) => Kind::Internal,
    };
    Failure::new(kind, error.to_string()).into()
}

fn of_journal(error: &journal::Error) -> Status {
    match error {
        journal::Error::Store(error) => of_store(error),
        journal::Error::Malformed { .. } => internal(error),
    }
}

fn of_ledger(error: &ledger::Error) -> Status {
    use proto::status::Kind;
    match error {
        ledger::Error::Store(error) => of_store(error),
        ledger::Error::Full(_) => Failure::new(Kind::Exhausted, error.to_string()).into(),
        ledger::Error::Unknown(_) => Failure::not_found(error.to_string()).into(),
        ledger::Error::Malformed { .. } | ledger::Error::Refused { .. } => internal(error),
    }
}
