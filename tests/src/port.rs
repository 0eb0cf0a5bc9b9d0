//! Ports for the programs a test starts.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};
use rand::Rng;

/// Where ports are taken from: above the instances' range (20000–24999), below the range that the
/// kernel gives to outgoing connections (32768 and up), where a free port may be gone at any time.
const RANGE: std::ops::Range<u16> = 25_000..32_000;

/// A port at 127.0.0.1 on which nothing listens now.
///
/// # Errors
/// None of 200 random ports could be bound.
pub fn free() -> Result<u16> {
    let mut random = rand::rng();
    (0..200)
        .map(|_| random.random_range(RANGE))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port between 25000 and 31999")
}
