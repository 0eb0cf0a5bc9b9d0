//! How a load balancer chooses among its instances, and what it does when there is none to choose.

use serde::{Deserialize, Serialize};

use super::is_default;

/// Requests of a client go to the instance that answered its first one, as long as it serves.
///
/// The balancer sets a cookie that stands for the instance and does not reveal it. Whoever comes
/// without one is divided by weight as ever; whoever comes with that of an instance that drains, is
/// suspended or gone goes to another one and gets a new cookie.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sticky {
    /// Name of the cookie.
    pub cookie: String,
    /// How long the client keeps it, in seconds; none: until it is closed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ttl_seconds: Option<u64>,
    /// Path of the cookie; none: `/`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub path: Option<String>,
    /// Whether the client sends it over TLS only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secure: bool,
}

/// New requests wait, in the order in which they came, while no instance may be chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HoldRequests {
    /// How long one waits at the most, in ms; then 503 `hold_timeout`.
    pub max_ms: u64,
    /// How many wait at the most, over all workers; beyond: 503 `hold_full`.
    pub max_requests: u32,
}

/// When instances are left out because requests fail at them, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Outlier {
    /// So many requests in a row that could not be sent, or were broken off on a new connection.
    pub consecutive_failures: u32,
    /// So many answers with 5xx in a row; none: they are the application's business.
    #[serde(skip_serializing_if = "is_default")]
    pub consecutive_5xx: Option<u32>,
    /// How long the first time, in ms; it doubles with each.
    pub base_ejection_ms: u64,
    /// How long at the most, in ms.
    pub max_ejection_ms: u64,
    /// Share of the group's instances that is left out at the most, percent.
    pub max_ejection_percent: u32,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_failures: 3,
            consecutive_5xx: None,
            base_ejection_ms: 1_000,
            max_ejection_ms: 30_000,
            max_ejection_percent: 50,
        }
    }
}
