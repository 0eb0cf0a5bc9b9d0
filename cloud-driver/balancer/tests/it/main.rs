//! The balancer as a process, between real sockets.

#![allow(clippy::unwrap_used)] // a failed helper is a failed test

mod backend;
mod client;
mod http2_backend;
mod http2_client;
mod otlp_receiver;
mod prometheus;
mod stand;
mod tls_client;
mod tls_load;

mod access;
mod certificates;
mod configuration;
#[cfg(feature = "controls")]
mod controls;
mod counting;
mod figures;
mod health;
mod hold;
mod http2;
mod http2_spec;
mod life;
mod limits;
mod listeners;
mod mirror;
mod otlp;
mod outlier;
mod proxy_protocol;
mod requests;
mod retries;
mod routes;
mod seconds;
mod slow_start;
mod smuggling;
mod sticky;
mod succession;
mod tls;
mod tunnels;
