//! The suite that every router passes: each case is one rule of `rollout::router`, held against
//! what instances really got, not against what the router says of itself.
//!
//! A case is generic over a [`Harness`], which starts instances, gives them work and knows the
//! truth. To run it for another router, write a harness in a file of its own and list the cases
//! as `balancer.rs` does. Each case has its control: [`faulty::Faulty`] breaks the rule, and the
//! case must notice.

mod backend;
mod balancer;
mod cases;
mod drive;
mod faulty;
mod worker;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud_driver::provider::router::Router;
use rollout::router::Target;
use rollout::{Role, View};

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(20);

/// How long is looked at what must not come.
const WHILE: Duration = Duration::from_millis(300);

/// A rule that was broken, and how it was seen.
type Verdict = Result<(), String>;

/// What an instance really has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Truth {
    /// Work that was begun at it so far.
    taken: u64,
    /// Work it has not ended.
    requests: u64,
    /// Upgraded connections it holds.
    tunnels: u64,
    /// Connections over which it got work that are open.
    connections: u64,
}

/// Work that lasts until it is released.
struct Held<T> {
    /// Who has it.
    member: String,
    /// The harness's way to it.
    way: T,
}

/// What a case needs of the world: instances, their users, and the truth.
trait Harness {
    /// How the harness finds work again that it holds.
    type Way;

    /// The router under test, as the present control side has it.
    fn router(&self) -> Arc<dyn Router>;

    /// The same router with no rule broken, to see what is true.
    fn honest(&self) -> Arc<dyn Router>;

    /// Starts an instance, unless it runs; whether it answers its probes well.
    async fn start(&mut self, id: &str, well: bool);

    /// Ends an instance as a stop does.
    async fn stop(&mut self, id: &str);

    /// Whether its process runs.
    fn runs(&self, id: &str) -> bool;

    /// Lets an instance's probes fail, or pass again.
    fn set_well(&self, id: &str, well: bool);

    /// What an instance really has.
    fn truth(&self, id: &str) -> Truth;

    /// A desired configuration of groups with name, weight and members.
    fn desired(&self, groups: &[Wanted]) -> rollout::router::Desired;

    /// Gives the service one piece of work; who did it.
    async fn ask(&self) -> Result<String, String>;

    /// Gives it one that lasts until it is released.
    async fn hold(&self) -> Result<Held<Self::Way>, String>;

    /// Opens an upgraded connection.
    async fn tunnel(&self) -> Result<Held<Self::Way>, String>;

    /// Lets work end, and waits until whoever gave it has its result.
    async fn release(&self, held: Held<Self::Way>) -> Verdict;

    /// Ends the control side wherever it is and begins another.
    async fn restart_control(&mut self);

    /// Kills what moves the work, without the control side, and waits until it is there again.
    async fn restart_data_plane(&mut self);
}

/// A group as a case wants it.
#[derive(Debug, Clone)]
struct Wanted {
    name: String,
    weight: u32,
    members: Vec<(String, Role)>,
}

/// A group of so much weight, with its members' roles.
fn group(name: &str, weight: u32, members: &[(&str, Role)]) -> Wanted {
    Wanted {
        name: name.to_owned(),
        weight,
        members: members
            .iter()
            .map(|(id, role)| ((*id).to_owned(), *role))
            .collect(),
    }
}

/// Targets of members, whose addresses the harness knows.
fn targets(wanted: &Wanted, address: impl Fn(&str) -> String) -> Vec<Target> {
    wanted
        .members
        .iter()
        .filter(|(_, role)| *role != Role::Absent)
        .map(|(id, role)| Target {
            id: id.clone(),
            address: address(id),
            role: *role,
        })
        .collect()
}

/// Complains unless it is so.
fn hold_true(rule: &str, it_is: bool, seen: impl FnOnce() -> String) -> Verdict {
    if it_is {
        Ok(())
    } else {
        Err(format!("{rule}: {}", seen()))
    }
}

/// Waits until the router's view is as it must be; what it was last when it is not.
async fn seen(
    router: &Arc<dyn Router>,
    rule: &str,
    what: &str,
    is_so: impl Fn(&View) -> bool,
) -> Result<View, String> {
    let end = Instant::now() + SOON;
    loop {
        let view = router.observe().await;
        if let Ok(view) = &view
            && is_so(view)
        {
            return Ok(view.clone());
        }
        if Instant::now() > end {
            return Err(format!("{rule}: never seen: {what}; last: {view:?}"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Fails when something takes too long.
async fn soon<T>(what: &str, future: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let within = tokio::time::timeout(SOON, future).await;
    within.unwrap_or_else(|_| Err(format!("never: {what}")))
}
