//! What was measured, second by second, for an hour.

use serde::{Deserialize, Serialize};

/// Series of all server groups over the same seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Seconds since the epoch of the last entry of each series.
    pub until_s: i64,
    /// Series.
    pub series: Vec<Series>,
}

/// One server group's seconds, oldest first, gaps as zeros.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// Load balancer.
    pub load_balancer: String,
    /// Server group; `-` for what no group answered.
    pub group: String,
    /// Seconds.
    pub seconds: Vec<Second>,
}

/// One second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Second {
    /// Answers with status 1xx to 3xx.
    pub ok: u32,
    /// With 4xx.
    pub client_error: u32,
    /// The instance's own 5xx.
    pub server_error: u32,
    /// The balancer's 502, 503, 504.
    pub own_error: u32,
    /// Requests sent on to another instance.
    pub retries: u32,
    /// Half were answered within this, in microseconds.
    pub p50_us: u32,
    /// 99 of 100 were.
    pub p99_us: u32,
    /// Under way at the end of the second.
    pub in_flight: u32,
}
