//! What is not as the RFC says, each with its reason. What is not here is a fault.

/// A case that fails, and is meant to.
pub(super) struct Allowed {
    /// Its section and name.
    pub(super) case: &'static str,
    /// Why nothing comes of it.
    pub(super) reason: &'static str,
}

/// Every case that is meant to fail.
pub(super) const ALLOWED: &[Allowed] = &[Allowed {
    case: "8.1 a pseudo-field in trailers that end the stream",
    reason: "h2 drops pseudo-fields of trailers without a word and tells nobody of them: the request \
             goes on without them, so that no reader behind sees any. h2spec asks with trailers that do \
             not end the stream, which are refused",
}];
