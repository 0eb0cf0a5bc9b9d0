//! Processes that handed over to this one and still end something. An instance has drained only
//! when they say so too, and they hear of every configuration before it is acknowledged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use balancer::handover::{Follow, leaving_socket};
use balancer::{Observed, State};
use http::{Method, StatusCode};

use super::peer::{PeerError, ask};
use super::plane::Plane;
use crate::proxy::target::Counts;

/// How often a predecessor is asked, as long as there is one.
const EVERY: Duration = Duration::from_millis(50);

/// The predecessors.
#[derive(Debug, Default)]
pub(crate) struct Predecessors {
    by_pid: BTreeMap<u32, Predecessor>,
}

#[derive(Debug)]
struct Predecessor {
    socket: PathBuf,
    /// None: it lives and has not answered; nothing is known.
    state: Option<State>,
}

impl Predecessors {
    pub(crate) fn add(&mut self, folder: &Path, pid: u32) {
        let socket = folder.join(leaving_socket(pid));
        self.by_pid.insert(
            pid,
            Predecessor {
                socket,
                state: None,
            },
        );
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.by_pid.keys().copied().collect()
    }

    /// Whether none of them has anything of an instance.
    pub(crate) fn have_drained(&self, id: &str) -> bool {
        self.by_pid.values().all(|predecessor| {
            predecessor.state.as_ref().is_some_and(|state| {
                let mut instances = state.instances.iter();
                let found = instances.find(|instance| instance.id == id);
                found.is_none_or(|instance| instance.state == Observed::Drained)
            })
        })
    }

    /// What they have of an instance.
    pub(crate) fn counts(&self, id: &str) -> Counts {
        let mut sum = Counts::default();
        let states = self.by_pid.values().filter_map(|p| p.state.as_ref());
        for instance in states.flat_map(|s| &s.instances).filter(|i| i.id == id) {
            sum.requests += instance.in_flight.requests;
            sum.tunnels += instance.in_flight.tunnels;
            sum.open += instance.connections.open;
            sum.idle += instance.connections.idle;
        }
        sum
    }

    pub(crate) fn sockets(&self) -> Vec<(u32, PathBuf)> {
        self.by_pid
            .iter()
            .map(|(pid, p)| (*pid, p.socket.clone()))
            .collect()
    }
}

/// Processes in a folder that left once and may still live, by the names of their sockets.
pub(crate) fn found(folder: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| {
            let pid = name
                .strip_prefix("admin.")?
                .strip_suffix(".sock")?
                .parse()
                .ok()?;
            (pid != std::process::id()).then_some(pid)
        })
        .collect()
}

impl Plane {
    /// Hands the present configuration to all predecessors; says which did not confirm.
    pub(crate) async fn predecessors_follow(&self, generation: u64) -> Result<(), String> {
        let (sockets, mut config) = {
            let inner = self.inner.borrow();
            (inner.predecessors.sockets(), inner.config.clone())
        };
        // They have handed theirs over; one of an earlier version does not know the field.
        config.listeners.clear();
        let follow = serde_json::to_vec(&Follow { generation, config });
        let follow = follow.map_err(|e| e.to_string())?;
        for (pid, socket) in sockets {
            match ask(&socket, Method::POST, "/v1/follow", follow.clone()).await {
                Ok((StatusCode::OK, _)) => {
                    // What it said before is worth nothing any more.
                    let mut inner = self.inner.borrow_mut();
                    if let Some(predecessor) = inner.predecessors.by_pid.get_mut(&pid) {
                        predecessor.state = None;
                    }
                }
                Err(PeerError::Gone) => self.predecessor_has_gone(pid, &socket),
                Ok((status, _)) => return Err(format!("predecessor {pid} ({status})")),
                Err(error) => return Err(format!("predecessor {pid} ({error})")),
            }
        }
        Ok(())
    }

    fn predecessor_has_gone(&self, pid: u32, socket: &Path) {
        self.inner.borrow_mut().predecessors.by_pid.remove(&pid);
        // It removes its socket itself unless it was killed.
        let _absent = std::fs::remove_file(socket);
    }

    /// Asks predecessors for what they still have until all of them have ended.
    pub(crate) async fn follow_predecessors(self: Rc<Self>) {
        loop {
            let sockets = self.inner.borrow().predecessors.sockets();
            if sockets.is_empty() {
                return;
            }
            for (pid, socket) in sockets {
                let before = self.inner.borrow().accepted;
                let answer = ask(&socket, Method::GET, "/v1/state", Vec::new()).await;
                if matches!(answer, Err(PeerError::Gone)) {
                    self.predecessor_has_gone(pid, &socket);
                    continue;
                }
                let answer = answer.ok().filter(|(status, _)| *status == StatusCode::OK);
                let state = answer.and_then(|(_, body)| serde_json::from_slice(&body).ok());
                let mut inner = self.inner.borrow_mut();
                // An answer to a question from before the last configuration may be outdated.
                let fresh = inner.accepted == before;
                if let Some(predecessor) = inner.predecessors.by_pid.get_mut(&pid) {
                    predecessor.state = state.filter(|_| fresh);
                }
            }
            self.look();
            tokio::time::sleep(EVERY).await;
        }
    }
}
