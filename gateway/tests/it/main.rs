//! The gateway over fake peers: every route, what `spin` sends, errors, limits, live updates.

#![allow(clippy::unwrap_used)] // a failed helper is a failed test

mod builds;
mod errors;
mod fake;
mod live;
mod openapi;
mod page;
mod routes;
mod spin;
