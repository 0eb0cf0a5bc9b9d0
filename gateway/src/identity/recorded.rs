//! What is stored about users: who was seen with which roles, so that what runs
//! for them later, such as a pipeline, is decided by them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use authorization::Roles;
use http::StatusCode;
use proto::common::v1::Json;
use proto::orchestrator::v1::{ObjectKey, SaveObjectRequest};
use serde_json::{Value, json};

use super::User;
use crate::answer::value;
use crate::clients::{Clients, answer};
use crate::error::Error;

/// Users remembered as told.
const MOST: usize = 50_000;

/// How long what was told is taken for stored: another gateway may have told otherwise.
const KEEP: Duration = Duration::from_secs(30);

/// An object of a kind; none if there is none.
pub(crate) async fn object(
    clients: &Clients,
    kind: &str,
    id: &str,
) -> Result<Option<Value>, Error> {
    let key = ObjectKey {
        kind: kind.to_owned(),
        id: id.to_owned(),
    };
    match answer(clients.definitions.clone().get_object(key)).await {
        Ok(found) => Ok(Some(value(&found)?)),
        Err(error) if error.status() == StatusCode::NOT_FOUND => Ok(None),
        Err(error) => Err(error),
    }
}

/// The roles a user was last seen with; none for somebody who was never seen.
pub(super) async fn roles(clients: &Clients, name: &str) -> Result<Option<Roles>, Error> {
    let seen = object(clients, "user", &name.to_lowercase()).await?;
    Ok(seen.map(|user| roles_of(&user, "roles")))
}

/// A list of roles in an object.
pub(crate) fn roles_of(object: &Value, field: &str) -> Roles {
    let list = object.get(field).and_then(Value::as_array);
    let names = list.into_iter().flatten().filter_map(Value::as_str);
    names.collect()
}

/// Stores a user's roles.
///
/// # Errors
/// What the orchestrator answers.
pub(super) async fn store(clients: &Clients, name: &str, roles: &Roles) -> Result<(), Error> {
    let roles: Vec<&str> = roles.iter().collect();
    let user = json!({"id": name.to_lowercase(), "roles": roles});
    let call = SaveObjectRequest {
        kind: "user".to_owned(),
        object: Some(Json::of(&user)),
        user: name.to_owned(),
        create: false,
    };
    answer(clients.definitions.clone().save_object(call)).await?;
    Ok(())
}

/// Which roles each user was last told to have, by this process.
#[derive(Debug, Default)]
pub(super) struct Recorded(Mutex<HashMap<String, (Roles, Instant)>>);

impl Recorded {
    /// Stores the user's roles where they changed.
    ///
    /// # Errors
    /// What the orchestrator answers: what runs later must not be decided by old roles.
    pub(super) async fn tell(&self, clients: &Clients, user: &User) -> Result<(), Error> {
        let told = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told = told()
            .get(&user.name)
            .is_some_and(|(roles, at)| roles == &user.roles && at.elapsed() < KEEP);
        if is_told {
            return Ok(());
        }
        store(clients, &user.name, &user.roles).await?;
        let mut told = told();
        if told.len() >= MOST {
            told.clear();
        }
        told.insert(user.name.clone(), (user.roles.clone(), Instant::now()));
        Ok(())
    }
}
