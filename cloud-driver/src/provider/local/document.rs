//! Server groups, instances and load balancers as the store holds them.
//!
//! What was asked for and decided; never what is observed. Processes tell their
//! own state, the balancer tells health and traffic.

use std::collections::BTreeMap;

use proto::moniker::Moniker;
use rollout::Role;
use serde::{Deserialize, Serialize};

use super::traffic::Traffic;

/// How large a server group is to be; only `desired` moves instances here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Lower bound.
    pub min: u32,
    /// Upper bound.
    pub max: u32,
    /// How many instances there are to be.
    pub desired: u32,
}

impl Capacity {
    /// All three alike.
    pub fn of(count: u32) -> Self {
        Self {
            min: count,
            max: count,
            desired: count,
        }
    }
}

/// An image, as it was asked for and as it was then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRef {
    /// As the stage named it: `registry/repository:tag`.
    pub id: String,
    /// With the digest it had: `registry/repository:tag@sha256:…`; absent until pulled.
    #[serde(default)]
    pub resolved: Option<String>,
    /// `sha256:…`
    #[serde(default)]
    pub digest: Option<String>,
}

impl ImageRef {
    /// What to pull: never a tag that may have moved since.
    pub fn to_pull(&self) -> &str {
        self.resolved.as_deref().unwrap_or(&self.id)
    }

    /// The tag, shown as version; of an image named by digest the digest's first digits.
    pub fn version(&self) -> String {
        let name = self.id.split('@').next().unwrap_or_default();
        let last = name.rsplit('/').next().unwrap_or_default();
        match (last.split_once(':'), &self.digest) {
            (Some((_, tag)), _) => tag.to_owned(),
            (None, Some(digest)) => digest.chars().take(19).collect(),
            (None, None) => "latest".to_owned(),
        }
    }
}

/// How an instance is asked for its health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Path of an HTTP check (2xx and 3xx are healthy); absent: connecting is enough.
    pub path: Option<String>,
    /// It is well as long as it runs, and listens nowhere; only of workers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub process: bool,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: Some("/health".to_owned()),
            process: false,
        }
    }
}

/// Times and limits a stage may set for its server group; absent: the configured ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// Ready time before traffic.
    pub settle_ms: Option<u64>,
    /// Time to become healthy.
    pub start_timeout_ms: Option<u64>,
    /// Time for requests in flight to end.
    pub drain_timeout_ms: Option<u64>,
    /// SIGTERM to SIGKILL.
    pub grace_ms: Option<u64>,
}

/// Signals that may tell a worker to take no more work, with their numbers. Not those that end or
/// stop a process whatever it wants.
pub const SIGNALS: [(&str, i32); 8] = [
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGTERM", 15),
    ("SIGTSTP", 20),
    ("SIGWINCH", 28),
];

/// What becomes of a worker that has not ended its work in its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnDeadline {
    /// It is told and waited for all the same.
    Wait,
    /// The operation fails and the worker goes on.
    #[default]
    Fail,
    /// It is stopped: what it had is told, and lost.
    Stop,
}

/// How the instances of a group that is behind no load balancer are told to take no more work, and
/// how long they get for what they have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Path of the hook on the instance's own port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// One of [`SIGNALS`] by its name, sent once; with a path, which is asked only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// The hook takes `DELETE`, which lets the instance take work again.
    pub resume: bool,
    /// Time for the work it has, in ms.
    pub timeout_ms: u64,
    /// What then.
    pub on_deadline: OnDeadline,
}

impl Drain {
    /// Whether an instance can be told to take no work and later to take some again. What cannot
    /// takes work as soon as it runs, and is replaced when it is wanted again.
    pub fn pauses(&self) -> bool {
        self.path.is_some() && self.signal.is_none() && self.resume
    }
}

/// A server group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerGroup {
    /// Account.
    pub account: String,
    /// Region.
    pub region: String,
    /// `app-stack-detail-v000`.
    pub name: String,
    /// Application.
    pub application: String,
    /// `app-stack-detail`.
    pub cluster: String,
    /// The name in parts.
    pub moniker: Moniker,
    /// What runs.
    pub image: ImageRef,
    /// How many.
    pub capacity: Capacity,
    /// Names of the load balancers it is behind.
    pub load_balancers: Vec<String>,
    /// Whether it is meant to get traffic.
    pub enabled: bool,
    /// Share of the load balancers' requests, relative to other groups.
    pub weight: u32,
    /// Variables of its instances; `secret:NAME` refers to a secret of the account.
    pub environment: BTreeMap<String, String>,
    /// Health check.
    pub health: HealthCheck,
    /// Times.
    #[serde(default)]
    pub timing: Timing,
    /// Of a group whose instances take their own work; such a group is behind no load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
    /// The operation that made it.
    pub operation: String,
    /// The group it followed.
    #[serde(default)]
    pub ancestor: Option<String>,
}

/// The weight of a server group that nobody gave one.
pub const WEIGHT: u32 = 100;

/// An instance, from its reservation to its release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Unique for ever.
    pub id: String,
    /// Account.
    pub account: String,
    /// Region.
    pub region: String,
    /// Server group.
    pub group: String,
    /// Application.
    pub application: String,
    /// Cluster.
    pub cluster: String,
    /// Host slot: `host-1` or `host-1/1` for a second one.
    pub slot: String,
    /// Port on loopback.
    pub port: u16,
    /// Role the balancer is asked to give it.
    pub role: Role,
    /// It was told to stop: it must never be started again.
    pub stopping: bool,
    /// What its shim must answer with: proof that the process is ours.
    pub token: String,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
}

/// A load balancer made by an operation; configured ones are not kept here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// Account.
    pub account: String,
    /// Region it is shown in.
    pub region: String,
    /// Name, unique over all accounts.
    pub name: String,
    /// Host of the requests it answers; absent: any.
    pub host: Option<String>,
    /// Path prefix.
    pub path: String,
    /// How it passes requests on.
    #[serde(default, skip_serializing_if = "Traffic::is_default")]
    pub traffic: Traffic,
    /// Where clients reach it, beside the balancer's own port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<balancer::Listener>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_version_is_its_tag_or_the_head_of_its_digest() {
        for (id, digest, version) in [
            ("127.0.0.1:5000/shop:7", None, "7"),
            ("127.0.0.1:5000/shop", None, "latest"),
            (
                "127.0.0.1:5000/team/shop:v1.2@sha256:ab",
                Some("sha256:ab"),
                "v1.2",
            ),
            (
                "r/shop@sha256:0123456789abcdef",
                Some("sha256:0123456789abcdef"),
                "sha256:0123456789ab",
            ),
        ] {
            let image = ImageRef {
                id: id.into(),
                resolved: None,
                digest: digest.map(Into::into),
            };
            assert_eq!(image.version(), version, "{id}");
        }
    }
}
