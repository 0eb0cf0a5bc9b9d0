//! The permissions of all applications as of a moment ago, for what is decided
//! many times a second: live events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authorization::{Permission, Permissions, Resource, decide};
use tokio::sync::Mutex;

use super::Access;
use crate::Gateway;
use crate::error::Error;
use crate::request::Caller;

/// How old it may be.
const FRESH: Duration = Duration::from_secs(1);

type Known = Arc<HashMap<String, Option<Permissions>>>;

/// The permissions of every stored application.
#[derive(Debug, Default)]
pub(crate) struct Directory(Mutex<Option<(Instant, Known)>>);

impl Directory {
    async fn known(&self, gate: &Gateway, caller: &Caller) -> Result<Known, Error> {
        let mut kept = self.0.lock().await;
        if let Some((at, known)) = &*kept
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(known));
        }
        let known = Arc::new(Access::of(gate, caller).all_permissions().await?);
        *kept = Some((Instant::now(), Arc::clone(&known)));
        Ok(known)
    }

    /// Whether a caller may read what belongs to an application.
    ///
    /// # Errors
    /// When permissions cannot be read.
    pub(crate) async fn may_read(
        &self,
        gate: &Gateway,
        caller: &Caller,
        application: &str,
    ) -> Result<bool, Error> {
        let Some(subject) = Access::of(gate, caller).limited() else {
            return Ok(true);
        };
        let known = self.known(gate, caller).await?;
        let permissions = match known.get(&application.to_lowercase()) {
            Some(None) => return Ok(false),
            Some(Some(permissions)) => Some(permissions),
            None => None,
        };
        let resource = Resource::Application {
            name: application,
            permissions,
        };
        Ok(decide(&gate.policy, subject, resource, Permission::Read).is_allowed())
    }
}
