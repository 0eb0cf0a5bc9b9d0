//! One program, a module per story. Run it with `--test-threads=1`: the tests measure and kill.

#![allow(clippy::unwrap_used)] // a failed helper is a failed test

mod architecture;
mod conventions;
mod harness;
mod repository;
