//! What routers of this machine have seen, as the read model and the rollouts use it.

use std::collections::BTreeMap;

use balancer::{GroupState, Observed as WireState};
use rollout::router::{InFlight, Seen as RolloutSeen, State, View};
use sha2::{Digest, Sha256};

use super::balancer::{UNROUTED, instance_of};

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstanceState {
    /// Not probed yet.
    Unknown,
    /// Probes have not passed yet.
    Warming,
    /// Probes pass, no traffic is wanted.
    Ready,
    /// Unhealthy.
    Suspended,
    /// Ends what it has.
    Draining,
    /// Gets requests.
    Serving,
    /// Has ended everything.
    Drained,
}

impl InstanceState {
    /// Its name, as the balancer writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Warming => "warming",
            Self::Ready => "ready",
            Self::Suspended => "suspended",
            Self::Draining => "draining",
            Self::Serving => "serving",
            Self::Drained => "drained",
        }
    }

    fn of(state: WireState) -> Self {
        match state {
            WireState::Unknown => Self::Unknown,
            WireState::Warming => Self::Warming,
            WireState::Ready => Self::Ready,
            WireState::Serving => Self::Serving,
            WireState::Suspended => Self::Suspended,
            WireState::Draining => Self::Draining,
            WireState::Drained => Self::Drained,
        }
    }
}

/// One instance as its router sees it; the balancer: over all its load balancers.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Server group.
    pub group: String,
    /// State: the one furthest from what is wanted.
    pub state: InstanceState,
    /// It answered a request well.
    pub first_served: bool,
    /// Requests under way.
    pub requests: u64,
    /// Upgraded connections.
    pub tunnels: u64,
    /// Connections to it that are open; a worker has none.
    pub connections: Option<u64>,
    /// Requests answered since the balancer began.
    pub served: u64,
    /// Why it is not healthy.
    pub reason: Option<String>,
    /// When this was asked for, ms since the epoch.
    pub asked_ms: i64,
    /// Entries of the configuration that stand for it.
    pub(super) entries: Vec<String>,
}

/// Everything a router said at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Which process said it.
    pub epoch: u64,
    /// The same in the balancer's own words; empty of others.
    pub epoch_text: String,
    /// Configuration in force.
    pub generation: u64,
    /// Number of its last event.
    pub last_event: u64,
    /// Orders what this process was told; grows with every answer.
    pub sequence: u64,
    /// Instances.
    pub instances: BTreeMap<String, Seen>,
    /// Shares in thousandths by server group, in its first load balancer.
    pub weights: BTreeMap<String, u32>,
}

/// An epoch as a number.
pub(crate) fn epoch(text: &str) -> u64 {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(8)
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// One epoch for two routers: another one whenever either's is another.
pub(crate) fn join_epochs(one: u64, other: u64) -> u64 {
    one.rotate_left(1) ^ other
}

impl Observed {
    /// The balancer's answer to a question of this number, asked at this time.
    pub(crate) fn of(answer: balancer::State, sequence: u64, asked_ms: i64) -> Self {
        let mut instances: BTreeMap<String, Seen> = BTreeMap::new();
        for wire in answer.instances {
            let id = instance_of(&wire.id).to_owned();
            let unrouted = wire.load_balancer == UNROUTED;
            let seen = Seen {
                group: wire.group,
                state: InstanceState::of(wire.state),
                // Without a route nobody can ask it anything.
                first_served: unrouted || wire.first_served_generation.is_some(),
                requests: wire.in_flight.requests,
                tunnels: wire.in_flight.tunnels,
                connections: Some(wire.connections.open),
                served: wire.served,
                reason: wire.reason,
                asked_ms,
                entries: vec![wire.id],
            };
            match instances.get_mut(&id) {
                None => {
                    instances.insert(id, seen);
                }
                Some(there) => there.join(seen),
            }
        }
        let mut weights = BTreeMap::new();
        for group in &answer.groups {
            let same = |g: &&GroupState| g.load_balancer == group.load_balancer;
            let sum: u64 = answer
                .groups
                .iter()
                .filter(same)
                .map(|g| u64::from(g.weight_effective))
                .sum();
            let share = (u64::from(group.weight_effective) * 1000).checked_div(sum);
            let share = u32::try_from(share.unwrap_or(0)).unwrap_or(1000);
            weights.entry(group.name.clone()).or_insert(share);
        }
        Self {
            epoch: epoch(&answer.applied.epoch),
            epoch_text: answer.applied.epoch,
            generation: answer.applied.generation,
            last_event: answer.last_event,
            sequence,
            instances,
            weights,
        }
    }

    /// What this and another router saw, as one router would tell it: epochs are told apart as
    /// before, and generations and numbers grow whenever either's do.
    pub(crate) fn joined(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.epoch = join_epochs(self.epoch, other.epoch);
        all.generation += other.generation;
        all.sequence += other.sequence;
        let instances = other.instances.iter();
        all.instances
            .extend(instances.map(|(id, seen)| (id.clone(), seen.clone())));
        let weights = other.weights.iter();
        all.weights.extend(weights.map(|(g, w)| (g.clone(), *w)));
        all
    }

    /// Entries of the balancer that stand for an instance.
    pub(crate) fn entries(&self, id: &str) -> &[String] {
        self.instances.get(id).map_or(&[], |s| &s.entries)
    }

    /// As the rollout machine takes it.
    pub(crate) fn view(&self, revision: u64) -> View {
        let seen = |s: &Seen| RolloutSeen {
            state: match s.state {
                InstanceState::Unknown => State::Unknown,
                InstanceState::Warming | InstanceState::Ready => State::Warming,
                InstanceState::Serving => State::Serving,
                InstanceState::Suspended => State::Suspended,
                InstanceState::Draining => State::Draining,
                InstanceState::Drained => State::Drained,
            },
            ready: matches!(s.state, InstanceState::Ready | InstanceState::Serving),
            first_served: s.first_served,
            in_flight: InFlight {
                requests: s.requests,
                tunnels: s.tunnels,
            },
            connections: s.connections,
            reason: s.reason.clone(),
            asked_ms: u64::try_from(s.asked_ms).unwrap_or(0),
        };
        View {
            epoch: self.epoch,
            generation: self.generation,
            sequence: self.sequence,
            revision,
            instances: self
                .instances
                .iter()
                .map(|(id, s)| (id.clone(), seen(s)))
                .collect(),
            weights: self.weights.clone(),
        }
    }
}

impl Seen {
    /// Adds the instance's standing in another load balancer.
    fn join(&mut self, other: Self) {
        // Serving, or drained, is what every load balancer must say.
        self.state = self.state.min(other.state);
        self.first_served &= other.first_served;
        self.requests += other.requests;
        self.tunnels += other.tunnels;
        self.connections = self.connections.zip(other.connections).map(|(a, b)| a + b);
        self.served += other.served;
        self.asked_ms = self.asked_ms.min(other.asked_ms);
        self.reason = self.reason.take().or(other.reason);
        self.entries.extend(other.entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(instances: serde_json::Value) -> Observed {
        let answer = serde_json::json!({
            "epoch": "e1", "generation": 7, "lastEvent": 3, "instances": instances, "pid": 1,
            "listeners": [], "predecessors": [], "retries": 0, "notRepeated": 0, "ownErrors": 0,
            "groups": [
                {"name": "a", "loadBalancer": "x", "weight": 90, "weightEffective": 90, "capacity": 1},
                {"name": "b", "loadBalancer": "x", "weight": 10, "weightEffective": 10, "capacity": 1},
            ],
        });
        Observed::of(serde_json::from_str(&answer.to_string()).unwrap(), 1, 0)
    }

    fn instance(id: &str, state: &str, requests: u64) -> serde_json::Value {
        serde_json::json!({
            "id": id, "group": "a", "loadBalancer": "x", "address": "127.0.0.1:1", "state": state,
            "sinceMs": 0, "inFlight": {"requests": requests, "tunnels": 0},
            "connections": {"open": 0, "idle": 0}, "served": 0, "probesPassed": 0, "probesFailed": 0,
        })
    }

    #[test]
    fn an_instance_behind_two_load_balancers_has_drained_when_both_say_so() {
        let half = answer(serde_json::json!([
            instance("i", "drained", 0),
            instance("i@y", "draining", 2)
        ]));
        assert_eq!(half.instances["i"].state, InstanceState::Draining);
        assert_eq!(half.instances["i"].requests, 2);
        assert_eq!(half.entries("i"), ["i", "i@y"]);
        let whole = answer(serde_json::json!([
            instance("i", "drained", 0),
            instance("i@y", "drained", 0)
        ]));
        assert_eq!(whole.instances["i"].state, InstanceState::Drained);
        assert_eq!(whole.weights["a"], 900);
        assert_eq!((whole.generation, whole.epoch), (7, epoch("e1")));
    }
}
