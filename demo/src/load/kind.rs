//! The kinds of requests and their shares.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What one request is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A GET on a connection that is kept.
    Get,
    /// A GET on a connection of its own.
    New,
    /// A small POST on a connection that is kept.
    Post,
    /// A GET whose answer takes seconds, on a connection that is kept.
    Slow,
    /// A POST of 256 KiB, sent piece by piece, on a connection that is kept.
    Upload,
    /// A POST of 50 MiB, as fast as it goes, on a connection that is kept.
    Big,
    /// A GET on a connection of HTTP/2 that all of them share.
    Http2,
    /// A stream of gRPC both ways, on a connection that all of them share.
    Grpc,
    /// A conversation on a WebSocket: numbered messages that must all be answered, over farewells too.
    Socket,
}

impl Kind {
    /// Every kind, in the order of the summary.
    pub const ALL: [Self; 9] = [
        Self::Get,
        Self::New,
        Self::Post,
        Self::Slow,
        Self::Upload,
        Self::Big,
        Self::Http2,
        Self::Grpc,
        Self::Socket,
    ];

    /// The kind's name in options and lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::New => "new",
            Self::Post => "post",
            Self::Slow => "slow",
            Self::Upload => "upload",
            Self::Big => "big",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Socket => "socket",
        }
    }

    /// Whether the connection is used again.
    pub fn keeps_connection(self) -> bool {
        self != Self::New
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The weight of each kind: `get=54,new=16,post=27,slow=1,upload=2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix([u32; Kind::ALL.len()]);

impl Mix {
    /// The sum of all weights.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|weight| u64::from(*weight)).sum()
    }

    /// The time between two requests of a kind when all kinds together leave `rate` times a second;
    /// `None` when the kind has no share.
    pub(crate) fn interval(&self, kind: Kind, rate: u32) -> Option<Duration> {
        let share = u64::from(rate) * u64::from(self.0[kind.index()]);
        (self.total() * 1_000_000_000)
            .checked_div(share)
            .map(Duration::from_nanos)
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self([54, 16, 27, 1, 2, 0, 0, 0, 0])
    }
}

impl FromStr for Mix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut weights = [0; Kind::ALL.len()];
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').with_context(|| {
                format!("mix has {part:?}: use kind=weight, separated by commas")
            })?;
            let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) else {
                let names = Kind::ALL.map(Kind::name).join(", ");
                bail!("mix has the kind {name:?}: use one of {names}");
            };
            weights[kind.index()] = weight.parse().with_context(|| {
                format!("mix gives {name} the weight {weight:?}: use a whole number")
            })?;
        }
        Ok(Self(weights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_shared_by_weight() {
        let mix: Mix = "get=3,slow=1".parse().unwrap();
        assert_eq!(
            mix.interval(Kind::Get, 4),
            Some(Duration::from_nanos(333_333_333))
        );
        assert_eq!(mix.interval(Kind::Slow, 4), Some(Duration::from_secs(1)));
        assert_eq!(mix.interval(Kind::Post, 4), None);
    }

    #[test]
    fn an_unknown_kind_or_weight_is_refused_by_name() {
        for (text, expected) in [("put=1", "\"put\""), ("get=x", "\"x\""), ("get", "\"get\"")] {
            let message = format!("{:#}", text.parse::<Mix>().unwrap_err());
            assert!(message.contains(expected), "{message}");
        }
    }
}
