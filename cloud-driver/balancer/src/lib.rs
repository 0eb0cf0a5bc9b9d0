//! The types of the balancer's admin socket, and nothing else: what the control
//! plane sends and reads. The proxy itself is the binary.
//!
//! HTTP/1.1 with JSON on `<data>/balancer/admin.sock`:
//!
//! | request | meaning |
//! |---|---|
//! | `PUT /v1/config`, `If-Match: "<generation>"`, `X-Fence: <token>` | the whole desired [`Config`]; 200 [`Applied`] once it is journaled and every worker's loop has confirmed it; 409 with the larger token in `X-Fence` for an older fence, 412 [`Applied`] for another generation, 422 [`Faults`]; the same body again is a no-op |
//! | `GET /v1/config` | the [`Config`] in force, with its generation in [`Applied`]'s form in the `ETag` |
//! | `GET /v1/state` | [`State`] |
//! | `GET /v1/watch?epoch=E&after=N` | [`Event`]s as JSON lines, numbered; 410 when N is too old or the epoch differs |
//! | `POST /v1/drain/<instance>/cut` | ends what is left of a draining instance: [`Cut`] |
//! | `POST /v1/handover` | gives the listening sockets to a successor: [`handover`] |
//! | `GET /v1/history?seconds=N` | [`History`] of the last N seconds, an hour at most |
//! | `GET /v1/history?seconds=N&follow=true` | the same as a line of JSON, then one for each further second |
//! | `POST /v1/seconds` | a predecessor's [`Rest`] |
//! | `GET /health`, `GET /metrics` | `UP`; Prometheus' text |
//!
//! The protocol is versioned by its path because the balancer outlives upgrades.

mod config;
mod endpoint;
pub mod handover;
mod history;
mod listening;
mod state;

pub use config::{
    AccessLog, Certificate, Config, Faults, GREETING_MS, Group, HeaderCondition, Health,
    HoldRequests, Instance, Listener, LoadBalancer, MAX_CERTIFICATES, MAX_GREETING_MS,
    MAX_LISTENERS, MAX_TRUSTED, Mirror, Network, NetworkError, Outlier, Protocol, ProxyProtocol,
    Role, Route, RouteLimits, STDOUT, Settings, Sticky, Tls, TlsVersion,
};
pub use endpoint::{Endpoint, EndpointError, MAX_OTLP_INTERVAL_MS};
pub use history::{Counted, HISTORY_S, History, Rest, Second, Series};
pub use listening::{CertificateState, Listening};
pub use state::{
    Applied, Connections, Cut, Event, EventKind, GroupState, InFlight, InstanceState,
    LoadBalancerState, Observed, RouteState, State,
};

/// Name of the admin socket in the balancer's data folder.
pub const ADMIN_SOCKET: &str = "admin.sock";
/// Name of the journal in the balancer's data folder.
pub const JOURNAL: &str = "config.json";
/// Header that carries the writer's fencing token.
pub const FENCE_HEADER: &str = "x-fence";
/// Instances one configuration may hold.
pub const MAX_INSTANCES: usize = 4096;
