//! The judge against what the real one answered, and what must hold of it whatever the values.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the reason"
)]

mod bad_input;
mod bench;
mod classifiers;
mod config;
mod golden;
mod judges;
mod mann_whitney;
mod noise;
mod properties;
mod reviewed;
mod scoring;
mod sequential;
mod statistics;
