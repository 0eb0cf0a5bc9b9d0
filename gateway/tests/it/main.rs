//! The gateway over fake peers: every route, what `spin` sends, errors, limits, live updates.

#![allow(clippy::unwrap_used)] // a failed helper is a failed test

mod authorization;
mod builds;
mod certificates;
mod details;
mod errors;
mod fake;
mod identity;
mod keeper;
mod live;
mod live_access;
mod login;
mod openapi;
mod page;
mod programs;
mod provider;
mod routes;
mod spin;
mod tasks;
