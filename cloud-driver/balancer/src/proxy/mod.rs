//! The way of requests.
//!
//! Owns connections, choice, counts and retries. It never decides who serves: the control side hands
//! it plans and standings and reads its counts. Its truth is in the [`target::Target`]s.

mod answer;
mod body;
mod client;
mod forward;
mod headers;
pub(crate) mod listener;
pub(crate) mod meter;
mod peek;
mod pipe;
pub(crate) mod plan;
mod proxy_protocol;
mod redirect;
mod rewound;
mod shared;
mod table;
pub(crate) mod target;
pub(crate) mod tls;
mod tunnel;
pub(crate) mod worker;
