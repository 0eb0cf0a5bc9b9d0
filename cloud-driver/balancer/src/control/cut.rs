//! Ending by force what a draining instance still has.

use std::rc::Rc;
use std::time::Duration;

use balancer::{Cut, Role};
use http::Method;
use tokio::sync::oneshot;

use super::peer::ask;
use super::plane::Plane;
use crate::proxy::worker::Command;

/// How long what was cut may take to be gone.
const LIMIT: Duration = Duration::from_secs(3);

impl Plane {
    /// Waits until nothing is left or the deadline passes, then cuts the rest; none when there is no
    /// such instance.
    ///
    /// # Errors
    /// When its role is not `drain`, in words.
    pub(crate) async fn cut(
        self: &Rc<Self>,
        id: &str,
        deadline: Duration,
    ) -> Result<Option<Cut>, String> {
        let target = match self.inner.borrow().tracked.get(id) {
            None => return Ok(None),
            Some(tracked) if tracked.drains() => tracked.target.clone(),
            Some(tracked) => {
                let role = if tracked.role == Some(Role::Warm) {
                    "warm"
                } else {
                    "serve"
                };
                return Err(format!(
                    "instance {id} has the role {role}; give it the role drain first"
                ));
            }
        };
        let before = self.inner.borrow().predecessors.counts(id);
        let end = tokio::time::Instant::now() + deadline;
        while !target.counts().is_zero() && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = target.counts();
        let cut = Cut {
            requests: left.requests + before.requests,
            tunnels: left.tunnels + before.tunnels,
        };
        let mut waiting = Vec::new();
        for worker in &self.workers {
            let (confirm, confirmed) = oneshot::channel();
            if worker
                .commands
                .send(Command::Cut(id.to_owned(), confirm))
                .is_ok()
            {
                waiting.push(confirmed);
            }
        }
        for confirmed in waiting {
            // A worker that is gone has nothing left.
            let _gone = confirmed.await;
        }
        let sockets = self.inner.borrow().predecessors.sockets();
        for (_, socket) in sockets {
            let path = format!(
                "/v1/drain/{}/cut",
                id.replace('%', "%25").replace('@', "%40")
            );
            // One that does not answer is seen in the state: nothing drains meanwhile.
            let _silent = ask(&socket, Method::POST, &path, Vec::new()).await;
        }
        let end = tokio::time::Instant::now() + LIMIT;
        while !target.counts().is_zero() && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.look();
        Ok(Some(cut))
    }
}
