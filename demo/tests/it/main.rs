//! The demonstration's programs, driven as a user drives them.

#![allow(clippy::unwrap_used)] // a failed helper is a failed test

mod image;
mod load;
mod process;
mod server;
