//! What the balancer observed. Nobody else writes it.

use serde::{Deserialize, Serialize};

/// Which configuration is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Random, new with each process.
    pub epoch: String,
    /// Counts accepted configurations, over restarts.
    pub generation: u64,
}

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Observed {
    /// Not probed yet.
    Unknown,
    /// Role `warm`, or its probes have not passed yet.
    Warming,
    /// Role `warm` and its probes pass.
    Ready,
    /// Gets requests.
    Serving,
    /// Health said no; probes go on.
    Suspended,
    /// Ends what it has.
    Draining,
    /// Drained: no request and no connection since the role took effect; latched.
    Drained,
}

/// Requests under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// Requests and answers, bodies included.
    pub requests: u64,
    /// Upgraded connections.
    pub tunnels: u64,
}

impl InFlight {
    /// Both.
    pub fn total(self) -> u64 {
        self.requests + self.tunnels
    }
}

/// Connections to an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// Open.
    pub open: u64,
    /// Of these, waiting for a request.
    pub idle: u64,
}

/// An instance as observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceState {
    /// Its id.
    pub id: String,
    /// Its server group.
    pub group: String,
    /// Its load balancer.
    pub load_balancer: String,
    /// Its address.
    pub address: String,
    /// Desired; absent once it left the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<super::Role>,
    /// Observed.
    pub state: Observed,
    /// Since when, ms since the epoch.
    pub since_ms: i64,
    /// Under way, predecessors' included.
    pub in_flight: InFlight,
    /// Connections, predecessors' included.
    pub connections: Connections,
    /// Requests answered since the process began.
    pub served: u64,
    /// The generation in which it answered its first request with a status below 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_served_generation: Option<u64>,
    /// Probes passed in a row.
    pub probes_passed: u32,
    /// Probes failed in a row.
    pub probes_failed: u32,
    /// Why it is suspended, or why the last probe failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A server group as observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupState {
    /// Its name.
    pub name: String,
    /// Its load balancer.
    pub load_balancer: String,
    /// Desired weight.
    pub weight: u32,
    /// Weight that counts now: 0 without a serving instance.
    pub weight_effective: u32,
    /// Serving instances.
    pub capacity: u32,
    /// Instances that stay in, however many requests fail at them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub floor: u32,
    /// Instances that are left out because requests failed at them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ejected: u32,
}

/// A load balancer that holds requests as observed; counts since the process began or it came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerState {
    /// Its name.
    pub name: String,
    /// Requests that wait for an instance.
    pub held: u64,
    /// Requests that ever did.
    pub held_total: u64,
    /// Of these, answered with 503 because none came in time.
    pub hold_timeouts: u64,
    /// Answered with 503 at once because too many waited.
    pub hold_full: u64,
}

/// A route with limits or a mirror as observed; counts since the process began or the route came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteState {
    /// Its name, or its host and path.
    pub name: String,
    /// Requests and tunnels under way.
    pub in_flight: u64,
    /// Refused because too many were under way.
    pub refused_in_flight: u64,
    /// Refused because too many came.
    pub refused_rate: u64,
    /// Ended because the body was too long.
    pub body_too_large: u64,
    /// Ended because it took too long.
    pub request_timeouts: u64,
    /// Ended because no byte came or went.
    pub idle_timeouts: u64,
    /// Copies that were answered.
    pub mirrored: u64,
    /// Copies that were not.
    pub mirror_failed: u64,
    /// Not copied because too many copies were under way.
    pub mirror_full: u64,
    /// Not copied because the body was too long, or of unknown length.
    pub mirror_too_long: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Everything observed, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Flat", into = "Flat")]
pub struct State {
    /// Configuration in force.
    pub applied: Applied,
    /// Process id.
    pub pid: u32,
    /// Addresses it listens on.
    pub listeners: Vec<String>,
    /// The same with all that is known of them, and those that are configured and cannot be had.
    pub listening: Vec<crate::Listening>,
    /// Number of the last event; watch from here on.
    pub last_event: u64,
    /// Instances, those that left the configuration and still end something too.
    pub instances: Vec<InstanceState>,
    /// Server groups.
    pub groups: Vec<GroupState>,
    /// Routes with limits or mirrors.
    pub routes: Vec<RouteState>,
    /// Load balancers that hold requests.
    pub load_balancers: Vec<LoadBalancerState>,
    /// Process ids of predecessors that still end something.
    pub predecessors: Vec<u32>,
    /// Requests sent to another instance after a failure, since the process began.
    pub retries: u64,
    /// Requests that could not be repeated.
    pub not_repeated: u64,
    /// Answers of the balancer itself with status 502, 503 and 504.
    pub own_errors: u64,
    /// Worker threads.
    pub workers: u32,
    /// Connections of clients, upgraded ones included.
    pub clients: u64,
    /// Why nothing is served, until a configuration comes: the journal could not be read.
    pub fault: Option<String>,
}

/// [`State`] on the wire. Written out because serde's flattening does not go together with numbers
/// of arbitrary precision.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flat {
    epoch: String,
    generation: u64,
    pid: u32,
    listeners: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    listening: Vec<crate::Listening>,
    last_event: u64,
    instances: Vec<InstanceState>,
    groups: Vec<GroupState>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<RouteState>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    load_balancers: Vec<LoadBalancerState>,
    predecessors: Vec<u32>,
    retries: u64,
    not_repeated: u64,
    own_errors: u64,
    #[serde(default)]
    workers: u32,
    #[serde(default)]
    clients: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

impl From<State> for Flat {
    fn from(state: State) -> Self {
        Self {
            epoch: state.applied.epoch,
            generation: state.applied.generation,
            pid: state.pid,
            listeners: state.listeners,
            listening: state.listening,
            last_event: state.last_event,
            instances: state.instances,
            groups: state.groups,
            routes: state.routes,
            load_balancers: state.load_balancers,
            predecessors: state.predecessors,
            retries: state.retries,
            not_repeated: state.not_repeated,
            own_errors: state.own_errors,
            workers: state.workers,
            clients: state.clients,
            fault: state.fault,
        }
    }
}

impl From<Flat> for State {
    fn from(flat: Flat) -> Self {
        Self {
            applied: Applied {
                epoch: flat.epoch,
                generation: flat.generation,
            },
            pid: flat.pid,
            listeners: flat.listeners,
            listening: flat.listening,
            last_event: flat.last_event,
            instances: flat.instances,
            groups: flat.groups,
            routes: flat.routes,
            load_balancers: flat.load_balancers,
            predecessors: flat.predecessors,
            retries: flat.retries,
            not_repeated: flat.not_repeated,
            own_errors: flat.own_errors,
            workers: flat.workers,
            clients: flat.clients,
            fault: flat.fault,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// A configuration is in force.
    Config,
    /// An instance's state changed.
    State,
    /// It has drained.
    Drained,
    /// It answered its first request.
    FirstServed,
}

/// A numbered change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its number.
    pub number: u64,
    /// What.
    pub kind: EventKind,
    /// ms since the epoch.
    pub at_ms: i64,
    /// Generation in force.
    pub generation: u64,
    /// Which instance; absent for `config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Observed>,
}

/// What was ended by force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cut {
    /// Requests.
    pub requests: u64,
    /// Upgraded connections.
    pub tunnels: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written_and_epoch_and_generation_stand_beside_the_rest() {
        let state = State {
            applied: Applied {
                epoch: "e".into(),
                generation: 1 << 60,
            },
            pid: 7,
            last_event: 3,
            ..State::default()
        };
        let text = serde_json::to_string(&state).unwrap();
        assert!(
            text.starts_with(r#"{"epoch":"e","generation":1152921504606846976,"pid":7"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}
