//! How a running balancer hands its listening sockets to a successor: the words of it.
//!
//! 1. The successor sends `POST /v1/handover` with `Connection: upgrade` and the protocol
//!    [`PROTOCOL`]. The predecessor accepts no configuration from now on and answers 101.
//! 2. The predecessor sends one byte with the listening sockets attached (`SCM_RIGHTS`), then one
//!    line: an [`Offer`].
//! 3. The successor loads the journal, accepts connections, and sends one line: an [`Answer`].
//! 4. The predecessor gives its admin socket the name [`leaving_socket`], stops accepting, sends one
//!    line, an [`Answer`], and leaves. The successor puts its own admin socket in place.
//!
//! Without the successor's answer within [`PATIENCE_MS`] the predecessor keeps everything.
//!
//! As long as a predecessor has connections, its successor sends it each configuration before it
//! acknowledges it: `POST /v1/follow`, a [`Follow`], on the predecessor's socket.

use serde::{Deserialize, Serialize};

use crate::{Config, State};

/// Protocol named in the `Upgrade` header.
pub const PROTOCOL: &str = "balancer-handover/1";

/// How long a predecessor waits for its successor, in ms.
pub const PATIENCE_MS: u64 = 5_000;

/// What the predecessor hands over with its sockets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Number of sockets.
    pub sockets: u32,
    /// Which of them, counted from 0, are there because a configuration asks for them; the others
    /// were asked for by `--listen`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configured: Vec<u32>,
    /// What it observed, so that health need not be learned anew.
    pub state: State,
}

/// Either side's word that it has done its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// False: it gives up.
    pub done: bool,
}

/// A successor's configuration for a predecessor that still has connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Follow {
    /// The successor's generation.
    pub generation: u64,
    /// What holds from now on.
    pub config: Config,
}

/// Admin socket of a balancer that has handed over.
pub fn leaving_socket(pid: u32) -> String {
    format!("admin.{pid}.sock")
}
