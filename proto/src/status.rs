//! Kinds of failure against gRPC status, the one mapping.
//!
//! A service fails with a [`Failure`]; it travels as a `tonic::Status` whose
//! details hold the list of faulty fields as JSON, and comes out as the same
//! `Failure` on the other side.

use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

/// One faulty field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where: `stages[2].account`.
    pub path: String,
    /// What is wrong with which value, and what to do about it.
    pub message: String,
}

impl FieldError {
    /// What is wrong at a path, and what to do about it.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// What a caller may treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is faulty; repeating it cannot help.
    Invalid,
    /// The thing asked for is not there.
    NotFound,
    /// Nobody said who is asking.
    Unauthenticated,
    /// Who is asking may not.
    Denied,
    /// Something is in the way: wrong state, stale version, already there.
    Conflict,
    /// A limit is reached (store full, too many requests); later may work.
    Exhausted,
    /// This part of the interface is not built.
    Unimplemented,
    /// A peer cannot be reached now; the same request may be repeated.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// A failure as it crosses services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How callers may react.
    pub kind: Kind,
    /// One sentence, lower case, with the names needed to act.
    pub message: String,
    /// The faulty fields, for [`Kind::Invalid`].
    pub fields: Vec<FieldError>,
}

impl Failure {
    /// A failure without field errors.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            fields: Vec::new(),
        }
    }

    /// A faulty request with its fields; the message lists them when it is empty.
    pub fn invalid(message: impl Into<String>, fields: Vec<FieldError>) -> Self {
        let mut message = message.into();
        if message.is_empty() {
            message = fields
                .iter()
                .map(|f| format!("{}: {}", f.path, f.message))
                .collect::<Vec<_>>()
                .join("; ");
        }
        Self {
            kind: Kind::Invalid,
            message,
            fields,
        }
    }

    /// Invalid because of one field.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid("", vec![FieldError::new(path, message)])
    }

    /// Something that is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// A fault of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let code = match failure.kind {
            Kind::Invalid => Code::InvalidArgument,
            Kind::NotFound => Code::NotFound,
            Kind::Unauthenticated => Code::Unauthenticated,
            Kind::Denied => Code::PermissionDenied,
            Kind::Conflict => Code::FailedPrecondition,
            Kind::Exhausted => Code::ResourceExhausted,
            Kind::Unimplemented => Code::Unimplemented,
            Kind::Unavailable => Code::Unavailable,
            Kind::Internal => Code::Internal,
        };
        // Details travel in a header of limited size: the message already says
        // what the first fields say, so a long list is cut.
        let fields = &failure.fields[..failure.fields.len().min(20)];
        let details = if fields.is_empty() {
            Vec::new()
        } else {
            serde_json::to_vec(fields).unwrap_or_default()
        };
        let message: String = failure.message.chars().take(2000).collect();
        Status::with_details(code, message, details.into())
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let kind = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => Kind::Invalid,
            Code::NotFound => Kind::NotFound,
            Code::Unauthenticated => Kind::Unauthenticated,
            Code::PermissionDenied => Kind::Denied,
            Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => Kind::Conflict,
            Code::ResourceExhausted => Kind::Exhausted,
            Code::Unimplemented => Kind::Unimplemented,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Kind::Unavailable,
            _ => Kind::Internal,
        };
        let fields = serde_json::from_slice(status.details()).unwrap_or_default();
        Self {
            kind,
            message: status.message().to_owned(),
            fields,
        }
    }
}

impl From<crate::json::Error> for Failure {
    fn from(error: crate::json::Error) -> Self {
        Self::new(Kind::Invalid, error.to_string())
    }
}

impl From<crate::json::Error> for Status {
    fn from(error: crate::json::Error) -> Self {
        Failure::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_crosses_the_wire_whole() {
        let fields = vec![FieldError {
            path: "stages[0].type".into(),
            message: "\"x\" is unknown".into(),
        }];
        let failure = Failure::invalid("", fields);
        assert_eq!(failure.message, "stages[0].type: \"x\" is unknown");
        assert_eq!(Failure::from(Status::from(failure.clone())), failure);
        for kind in [
            Kind::NotFound,
            Kind::Conflict,
            Kind::Exhausted,
            Kind::Unavailable,
        ] {
            let failure = Failure::new(kind, "m");
            assert_eq!(Failure::from(Status::from(failure.clone())), failure);
        }
    }
}
