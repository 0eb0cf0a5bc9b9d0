//! What was measured, second by second, for an hour.

use serde::{Deserialize, Serialize};

/// Seconds that are kept of a server group.
pub const HISTORY_S: u32 = 3_600;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Second {
    /// Requests that were sent to an instance of the group.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sent: u32,
    /// Of the requests that the load balancer sent to instances of all its groups in this second,
    /// those that this group got, in thousandths; 0 when there were none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub share: u32,
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Second {
    /// Adds what another process counted in the same second. Of two times the longer one counts; the
    /// share is not touched.
    pub fn join(&mut self, other: Self) {
        for (number, more) in [
            (&mut self.sent, other.sent),
            (&mut self.ok, other.ok),
            (&mut self.client_error, other.client_error),
            (&mut self.server_error, other.server_error),
            (&mut self.own_error, other.own_error),
            (&mut self.retries, other.retries),
            (&mut self.in_flight, other.in_flight),
        ] {
            *number = number.saturating_add(more);
        }
        self.p50_us = self.p50_us.max(other.p50_us);
        self.p99_us = self.p99_us.max(other.p99_us);
    }
}

/// What a process that handed over still counted, for its successor: `POST /v1/seconds`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rest {
    /// Epoch of the process that counted.
    pub epoch: String,
    /// Its last seconds; those that are known already are passed over.
    pub seconds: Vec<Counted>,
}

/// What one process counted of one server group in one second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// Seconds since the epoch.
    pub at_s: i64,
    /// Load balancer.
    pub load_balancer: String,
    /// Server group; `-` for what no group answered.
    pub group: String,
    /// What it counted.
    pub second: Second,
}
