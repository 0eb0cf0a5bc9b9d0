//! How a rollout ends.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a rollout could not reach its goal.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Failure {
    /// The image cannot be had.
    #[error("image of {group} is not available: {reason}")]
    Image {
        /// Server group.
        group: String,
        /// What went wrong.
        reason: String,
    },
    /// The process ended by itself.
    #[error("instance {member} died: {exit}")]
    Died {
        /// Instance id.
        member: String,
        /// Exit code or signal, in words.
        exit: String,
    },
    /// It never became ready or never answered a request well.
    #[error("instance {member} did not become healthy within {waited_ms} ms: {reason}")]
    Unhealthy {
        /// Instance id.
        member: String,
        /// How long was waited.
        waited_ms: u64,
        /// The router's last word on it.
        reason: String,
    },
    /// Removing would have left too few serving.
    #[error(
        "capacity stayed at {serving} for {waited_ms} ms; removing {members:?} needs {floor} others serving"
    )]
    Capacity {
        /// Who was to be removed.
        members: Vec<String>,
        /// How many others serve.
        serving: usize,
        /// How many must.
        floor: usize,
        /// How long was waited.
        waited_ms: u64,
    },
    /// Requests did not end.
    #[error(
        "instance {member} still had {requests} requests in flight after {waited_ms} ms{}",
        because(reason.as_deref())
    )]
    Drain {
        /// Instance id.
        member: String,
        /// How many.
        requests: u64,
        /// How long was waited.
        waited_ms: u64,
        /// What the router says of it, if it says something.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The process did not end although it was killed.
    #[error("instance {member} did not exit within {waited_ms} ms")]
    Exit {
        /// Instance id.
        member: String,
        /// How long was waited.
        waited_ms: u64,
    },
    /// Weights did not come into effect.
    #[error("weight of {group} is {effective} of 1000 after {waited_ms} ms, asked were {asked}")]
    Weight {
        /// Server group.
        group: String,
        /// Thousandths in effect.
        effective: u32,
        /// Thousandths asked for.
        asked: u32,
        /// How long was waited.
        waited_ms: u64,
    },
    /// Somebody asked for it.
    #[error("canceled: {reason}")]
    Canceled {
        /// Who and why.
        reason: String,
    },
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

impl Failure {
    /// The instance it is about, if it is about one.
    pub fn member(&self) -> Option<&str> {
        match self {
            Self::Died { member, .. }
            | Self::Unhealthy { member, .. }
            | Self::Drain { member, .. }
            | Self::Exit { member, .. } => Some(member),
            Self::Image { .. }
            | Self::Capacity { .. }
            | Self::Weight { .. }
            | Self::Canceled { .. } => None,
        }
    }

    /// Whether the same rollout may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Capacity { .. } | Self::Drain { .. } | Self::Weight { .. } => true,
            Self::Image { .. }
            | Self::Died { .. }
            | Self::Unhealthy { .. }
            | Self::Exit { .. }
            | Self::Canceled { .. } => false,
        }
    }
}

/// What a failed rollout left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Restored {
    /// Everything is as it was before.
    Whole,
    /// The inverse failed too; a person must look.
    Partly {
        /// Why.
        failure: Failure,
    },
    /// It had gone past the point where an inverse exists.
    Impossible,
}

/// The end of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The goal was reached and observed.
    Succeeded,
    /// It was not.
    Failed {
        /// Why.
        failure: Failure,
        /// What is there now.
        restored: Restored,
    },
}
