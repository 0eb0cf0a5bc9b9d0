//! The way of requests.
//!
//! Owns connections, choice, counts and retries. It never decides who serves: the control side hands
//! it plans and standings and reads its counts. Its truth is in the [`target::Target`]s.

pub(crate) mod access;
pub(crate) mod answer;
mod ask;
mod body;
mod client;
pub(crate) mod clock;
mod forward;
pub(crate) mod gate;
mod gathered;
mod headers;
pub(crate) mod hold;
mod lease;
pub(crate) mod listener;
pub(crate) mod meter;
pub(crate) mod mirror;
mod parting;
mod passage;
mod patient;
mod peek;
mod pipe;
pub(crate) mod plan;
mod proxy_protocol;
mod redirect;
mod refuse;
mod relay;
mod rewound;
mod routes;
mod shared;
mod slow_start;
mod spare;
mod spoken;
mod sticky;
mod table;
mod tap;
pub(crate) mod target;
pub(crate) mod tls;
mod tunnel;
mod watch;
mod way;
pub(crate) mod worker;
