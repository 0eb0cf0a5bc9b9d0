//! The balancer as a process, between real sockets.

#![allow(clippy::unwrap_used)] // a failed helper is a failed test

mod backend;
mod client;
mod http2_backend;
mod http2_client;
mod stand;
mod tls_client;
mod tls_load;

mod certificates;
mod configuration;
#[cfg(feature = "controls")]
mod controls;
mod counting;
mod health;
mod http2;
mod life;
mod listeners;
mod proxy_protocol;
mod requests;
mod retries;
mod succession;
mod tls;
mod tunnels;
