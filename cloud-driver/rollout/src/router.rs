//! The router: what it is told, and what it must observe.
//!
//! A router is whatever decides which instances get work: a load balancer, a
//! Service's selector, a target group, or the hook of a worker that asks for its
//! own work. Each is told one [`Desired`] configuration at a time and answers with
//! [`View`]s. What it must keep to, whatever it is (the suite of cloud-driver holds
//! every router to these rules, by these names):
//!
//! | rule | meaning |
//! |---|---|
//! | `whole` | an acknowledged configuration is in force as a whole; answers to later questions have its generation or a newer one |
//! | `same` | the same configuration again changes nothing and keeps its generation |
//! | `fence` | a fencing token smaller than the largest one seen is refused, whoever saw it |
//! | `weight` | a weight in a view is the share of the work that a group gets now, not the one asked for: 0 without a serving instance |
//! | `count` | what is in flight is counted exactly, upgraded connections apart |
//! | `closed` | an instance seen draining gets nothing new |
//! | `drained` | seen only when nothing is in flight and no connection is open, both after the role took effect; then latched until the role changes |
//! | `deadline` | what a drain left is told with its count, and a cut says what it ended |
//! | `floor` | what is seen serving does serve: a rollout that goes by it keeps its floor |
//! | `resume` | a control side that begins anew finds what is in force and what has drained |
//! | `epoch` | a data plane that has lost what it observed says so by another epoch |

use std::collections::BTreeMap;

use crate::member::Role;

/// Everything a router is to do; always replaced as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Ways by which users' requests come in.
    pub entrances: Vec<Entrance>,
    /// Server groups.
    pub groups: Vec<Group>,
}

/// A load balancer as its users know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrance {
    /// Its name.
    pub name: String,
    /// Host of the requests that it takes; none: any.
    pub host: Option<String>,
    /// Beginning of their path.
    pub path: String,
}

/// A server group as a router sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The entrances it stands behind, by name.
    pub entrances: Vec<String>,
    /// Its share of their work, relative to the other groups'.
    pub weight: u32,
    /// How its instances are asked for their health.
    pub probe: Probe,
    /// How its instances come to their work.
    pub supply: Supply,
    /// Its instances, without those of the role `absent`.
    pub members: Vec<Target>,
}

/// How an instance is asked for its health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// An HTTP request for this path, answered with 2xx or 3xx.
    Path(String),
    /// A connection that is accepted.
    Connection,
    /// Nothing: it is well as long as it runs.
    Process,
}

/// How instances come to their work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Supply {
    /// It is sent to them through the entrances.
    #[default]
    Sent,
    /// They take it themselves, from a queue say, until they are told to take no more.
    Taken(Drain),
}

/// How an instance that takes its own work is told to take no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// A path of its own: `POST` tells it to take no more, `GET` asks what it still has,
    /// `DELETE` lets it take again. With a signal the path is only asked.
    pub path: Option<String>,
    /// A signal, by its name; without a path it ends by itself when it has nothing left.
    pub signal: Option<String>,
    /// It can be let take again.
    pub resume: bool,
}

/// An instance as a router is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Unique for ever.
    pub id: String,
    /// Where the router finds it: `IP:PORT`, a pod's name, an instance's id.
    pub address: String,
    /// What it is to do.
    pub role: Role,
}

/// The configuration in force after one was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Which life of the data plane applied it.
    pub epoch: u64,
    /// Counts configurations.
    pub generation: u64,
}

/// State of an instance as the router observes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Configured, not probed yet.
    Unknown,
    /// Being probed, or probed well and not meant to serve.
    Warming,
    /// Gets requests.
    Serving,
    /// Meant to serve and unhealthy.
    Suspended,
    /// Gets no new requests; some are in flight.
    Draining,
    /// Nothing in flight and no connection left, latched.
    Drained,
    /// No longer configured, and drained.
    Gone,
}

/// Requests an instance is answering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Requests whose bodies have not both ended; of a worker: jobs.
    pub requests: u64,
    /// Upgraded connections.
    pub tunnels: u64,
}

impl InFlight {
    /// Both.
    pub fn total(self) -> u64 {
        self.requests.saturating_add(self.tunnels)
    }
}

/// One instance in a [`View`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// State as observed.
    pub state: State,
    /// Enough probes in a row have passed, whatever its role.
    pub ready: bool,
    /// It answered a request well since it got the role `serve`.
    pub first_served: bool,
    /// What it is answering.
    pub in_flight: InFlight,
    /// Connections to it that are open; none where the router has no such thing.
    pub connections: Option<u64>,
    /// Why it is not ready, as the router says it.
    pub reason: Option<String>,
    /// When the question was asked that this answers, ms since the epoch: counts change without news.
    pub asked_ms: u64,
}

/// One answer of the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// New with each start of the data plane: what was observed before is lost.
    pub epoch: u64,
    /// Configuration it serves.
    pub generation: u64,
    /// Orders the answers of one epoch.
    pub sequence: u64,
    /// The rollout's revision that this generation is known to contain; 0 when
    /// nobody knows.
    pub revision: u64,
    /// Instances by id.
    pub instances: BTreeMap<String, Seen>,
    /// Weights in effect, by group, in thousandths of all requests.
    pub weights: BTreeMap<String, u32>,
}

impl View {
    /// Whether an instance was seen serving.
    pub fn serves(&self, id: &str) -> bool {
        let seen = self.instances.get(id);
        seen.is_some_and(|seen| seen.state == State::Serving)
    }
}
