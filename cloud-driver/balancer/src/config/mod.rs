//! The desired configuration: always sent and replaced as a whole.

use serde::{Deserialize, Serialize};

mod access;
mod check;
mod choice;
mod listener;
mod network;
mod route;

pub use access::{AccessLog, STDOUT};
pub use choice::{HoldRequests, Outlier, Sticky};
pub use listener::{
    Certificate, GREETING_MS, Listener, MAX_CERTIFICATES, MAX_GREETING_MS, MAX_LISTENERS,
    MAX_TRUSTED, ProxyProtocol, Tls, TlsVersion,
};
pub use network::{Network, NetworkError};
pub use route::{HeaderCondition, Mirror, Route, RouteLimits};

/// Everything the balancer is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Which requests go to which load balancer; [`Route`] says which of those that fit counts.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Load balancers.
    #[serde(default)]
    pub load_balancers: Vec<LoadBalancer>,
    /// How it behaves.
    #[serde(default)]
    pub settings: Settings,
    /// Where clients connect, beside `--listen`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<Listener>,
}

/// A load balancer: server groups that share its requests by weight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancer {
    /// Its name.
    pub name: String,
    /// Its server groups.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Whether clients stay with an instance.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sticky: Option<Sticky>,
    /// Whether requests wait while no instance may be chosen; none: they are answered with 503.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hold_requests: Option<HoldRequests>,
}

/// A server group behind a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// The server group's name.
    pub name: String,
    /// Its share of requests, whatever its number of instances.
    pub weight: u32,
    /// How its instances are probed.
    #[serde(default)]
    pub health: Health,
    /// What its instances are spoken to in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// Its instances.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// Over this time, in ms, the share of an instance that has just begun to serve grows from small
    /// to full. Instances that begin together have equal shares.
    #[serde(default, skip_serializing_if = "is_default")]
    pub slow_start_ms: u64,
    /// So many instances stay in, however many requests fail at them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub floor: u32,
    /// When instances are left out because requests fail at them; none: as [`Outlier`]'s default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub outlier: Option<Outlier>,
}

/// A value that a balancer of an earlier version, which does not know the field, need not be sent.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a group's instances are spoken to in, whatever the client speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// HTTP/1.1; gRPC, which HTTP/1.1 cannot carry, in HTTP/2.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS and without asking first (h2c by prior knowledge).
    Http2,
}

/// An instance as the control plane wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Instance {
    /// Unique over all load balancers and for ever.
    pub id: String,
    /// `127.0.0.1:20001`.
    pub address: String,
    /// What it is to do.
    pub role: Role,
}

/// What an instance is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Be probed, get no requests.
    Warm,
    /// Get requests once its probes pass.
    Serve,
    /// End what it has, get nothing new.
    Drain,
}

/// How instances are probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Health {
    /// Path that answers 2xx or 3xx; none: a connection is enough.
    pub path: Option<String>,
    /// Between probes, in ms.
    pub interval_ms: u64,
    /// Between probes until it serves, in ms.
    pub warm_interval_ms: u64,
    /// A probe that takes longer has failed, in ms.
    pub timeout_ms: u64,
    /// So many in a row and it is healthy.
    pub healthy_threshold: u32,
    /// So many failures in a row and it is not.
    pub unhealthy_threshold: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            interval_ms: 2_000,
            warm_interval_ms: 100,
            timeout_ms: 1_000,
            healthy_threshold: 2,
            unhealthy_threshold: 3,
        }
    }
}

/// How the balancer behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// A request that nobody answered may go elsewhere, by the rules of the README.
    pub retry: bool,
    /// Instances tried for one request at the most.
    pub max_tries: u32,
    /// Time for a connection to an instance, in ms.
    pub connect_timeout_ms: u64,
    /// What is written of each request; none: nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub access_log: Option<AccessLog>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry: true,
            max_tries: 3,
            connect_timeout_ms: 1_000,
            access_log: None,
        }
    }
}

/// What is wrong with a configuration; one line each, path first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// `loadBalancers[0].groups[1].instances[0].address: "x" is no address`, …
    pub faults: Vec<String>,
}
