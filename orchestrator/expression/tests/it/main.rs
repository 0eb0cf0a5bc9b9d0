//! Tests of the expression language: what the real evaluator answered, and what must
//! hold for any text.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking, and is read by its name"
)]

mod behaviour;
mod evaluated;
mod golden;
mod library;
mod limits;
mod lookups;
mod properties;
mod table;
mod world;
