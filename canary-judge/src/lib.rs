//! The canary judge: so far a service that answers for its health and serves
//! no call. The judges are in `judge`; metric stores and canary runs are not
//! built yet, and nothing pretends that they are.

use runtime::Service;

/// The service, without parts of its own.
pub fn build() -> Service {
    Service::new("canary-judge")
}
