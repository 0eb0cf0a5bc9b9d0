//! The moves a rollout is made of. Each says what must have been *seen* before
//! the next may begin; `advance` does the seeing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Move {
    /// Image on disk → verified.
    Prepare {
        /// Server group.
        group: String,
    },
    /// Choose the next slots of a replacement in place, those that serve least first.
    Pick {
        /// How many at once.
        batch: usize,
    },
    /// Reserve and spawn → each runs and its own socket listens.
    Start {
        /// Instance ids.
        members: Vec<String>,
    },
    /// Configure `warm` → applied, all probes passed.
    Warm {
        /// Instance ids.
        members: Vec<String>,
    },
    /// Hold → ready without a break for the settle time.
    Settle {
        /// Instance ids.
        members: Vec<String>,
    },
    /// Configure `serve` → all serving, each has answered a request.
    Serve {
        /// Instance ids.
        members: Vec<String>,
    },
    /// Floor held without them → configure `drain` → all drained.
    Drain {
        /// Instance ids.
        members: Vec<String>,
    },
    /// SIGTERM, SIGKILL → exits seen.
    Stop {
        /// Instance ids.
        members: Vec<String>,
    },
    /// Remove from the configuration → gone → slot and port free.
    Remove {
        /// Instance ids.
        members: Vec<String>,
    },
    /// Configure weights → in effect.
    Weigh {
        /// Weight by group, relative.
        weights: BTreeMap<String, u32>,
    },
    /// Nothing → all of them serve, seen in one answer.
    Confirm {
        /// Instance ids.
        members: Vec<String>,
    },
}

impl Move {
    /// Its name, for histories.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prepare { .. } => "prepare",
            Self::Pick { .. } => "pick",
            Self::Start { .. } => "start",
            Self::Warm { .. } => "warm",
            Self::Settle { .. } => "settle",
            Self::Serve { .. } => "serve",
            Self::Drain { .. } => "drain",
            Self::Stop { .. } => "stop",
            Self::Remove { .. } => "remove",
            Self::Weigh { .. } => "weigh",
            Self::Confirm { .. } => "confirm",
        }
    }

    /// Whom it is about.
    pub fn members(&self) -> &[String] {
        match self {
            Self::Prepare { .. } | Self::Pick { .. } | Self::Weigh { .. } => &[],
            Self::Start { members }
            | Self::Warm { members }
            | Self::Settle { members }
            | Self::Serve { members }
            | Self::Drain { members }
            | Self::Stop { members }
            | Self::Remove { members }
            | Self::Confirm { members } => members,
        }
    }
}

/// Start, warm, settle, serve: from nothing to traffic.
pub(crate) fn bring_up(members: &[String], serve: bool) -> Vec<Move> {
    let members = || members.to_vec();
    let mut moves = vec![
        Move::Start { members: members() },
        Move::Warm { members: members() },
        Move::Settle { members: members() },
    ];
    if serve {
        moves.push(Move::Serve { members: members() });
    }
    moves
}

/// Drain, if any of them may have work to end, then stop and remove.
pub(crate) fn take_out(members: &[String], working: &[String]) -> Vec<Move> {
    let mut moves = take_down(members);
    if working.is_empty() {
        moves.remove(0);
    } else if let Some(drain) = moves.first_mut() {
        *drain = Move::Drain {
            members: working.to_vec(),
        };
    }
    moves
}

/// Drain, stop, remove: from traffic to nothing.
pub(crate) fn take_down(members: &[String]) -> Vec<Move> {
    let members = || members.to_vec();
    vec![
        Move::Drain { members: members() },
        Move::Stop { members: members() },
        Move::Remove { members: members() },
    ]
}
