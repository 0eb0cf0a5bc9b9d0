//! Which requests go to which load balancer, and what a route allows them.

use serde::{Deserialize, Serialize};

use super::is_default;

/// A rule from host, path, method and headers to a load balancer.
///
/// Of all routes that fit a request, the one counts whose host says most: the host itself, then
/// `*.` patterns, the longest first, then any host. Among these the one with the longest path, among
/// equal paths the one with more conditions ([`Route::conditions`]), and then the one written first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Name in figures; none: see [`Route::label`]. No two routes have the same.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// Host without port, compared without case; `*.example.com` fits every host below
    /// `example.com`, not `example.com` itself; none: any.
    #[serde(default)]
    pub host: Option<String>,
    /// Beginning of the path, whole segments: `/staging` fits `/staging/x`, not
    /// `/stagingx`. `/` fits all.
    pub path: String,
    /// Methods that fit, as they are written in requests (`GET`); none given: all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub methods: Vec<String>,
    /// What all must hold of the headers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub headers: Vec<HeaderCondition>,
    /// Name of the load balancer.
    pub load_balancer: String,
    /// Where copies of requests go.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mirror: Option<Mirror>,
    /// What its requests may take.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: RouteLimits,
}

impl Route {
    /// Its name; without one its host (`*`: any) and its path: `shop.test/cart`.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let host = self.host.as_deref().unwrap_or("*").to_ascii_lowercase();
            format!("{host}{}", self.path)
        })
    }

    /// How many conditions it has beside host and path: one for methods, one for each header.
    pub fn conditions(&self) -> usize {
        self.headers.len() + usize::from(!self.methods.is_empty())
    }
}

/// What must hold of a header: exactly one of `exact`, `prefix`, `present` and `absent` is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderCondition {
    /// Its name, compared without case.
    pub name: String,
    /// One of its values is this.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exact: Option<String>,
    /// One of its values begins so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prefix: Option<String>,
    /// It is there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub present: bool,
    /// It is not there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub absent: bool,
}

/// Where copies of a route's requests go. Their answers are read and dropped; they carry the header
/// `x-mirrored: 1` and have a try and half a minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirror {
    /// Name of the load balancer that gets the copies.
    pub load_balancer: String,
    /// How many of a hundred requests are copied: 1 to 100.
    pub percent: u32,
    /// Copies under way at the same time, over all workers; what comes beyond is not copied.
    #[serde(
        default = "Mirror::in_flight",
        skip_serializing_if = "Mirror::is_usual"
    )]
    pub max_in_flight: u32,
}

impl Mirror {
    const IN_FLIGHT: u32 = 64;

    fn in_flight() -> u32 {
        Self::IN_FLIGHT
    }

    #[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
    fn is_usual(most: &u32) -> bool {
        *most == Self::IN_FLIGHT
    }
}

/// What the requests of a route may take; what is not given is not limited. All workers together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteLimits {
    /// Requests and tunnels at the same time; beyond: 429.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_in_flight: Option<u32>,
    /// Requests a second; beyond: 429.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requests_per_second: Option<u32>,
    /// Requests at once after a pause; none: as many as in a second.
    #[serde(default, skip_serializing_if = "is_default")]
    pub burst: Option<u32>,
    /// Bytes of a request's body; beyond: 413.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_body_bytes: Option<u64>,
    /// From a request's head to the end of its answer, or to the 101 of a tunnel, in ms; beyond: 504,
    /// or the end of an answer that has begun.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request_timeout_ms: Option<u64>,
    /// Without a byte in either direction, tunnels too, in ms; beyond: as above. What the system's
    /// buffers hold for a slow client counts as taken when there is room for more: give seconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub idle_timeout_ms: Option<u64>,
}
