//! Sessions of browsers: an object for each, looked up with every request, and an
//! authenticated cookie that names it. A session's id follows from its login, so
//! that a login makes one session however often its answer comes.

use std::cmp::Reverse;

use authorization::Roles;
use http::{HeaderMap, StatusCode, header};
use proto::common::v1::Json;
use proto::orchestrator::v1::{ObjectKey, SaveObjectRequest};
use runtime::auth::Key;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::oidc::LoggedIn;
use super::recorded::{object, roles_of};
use super::{How, User, unauthorized};
use crate::clients::{Clients, answer};
use crate::error::{Error, now_ms};
use crate::listing;
use crate::request::Caller;

/// The cookie of a session.
pub(crate) const SESSION: &str = "gennaker-session";
/// The cookie of a login that is under way.
pub(crate) const LOGIN: &str = "gennaker-login";
const KIND: &str = "session";
const PURPOSE: &str = "session";
/// Ended sessions are kept so long, in ms: their logins cannot be repeated meanwhile.
const KEPT_MS: u64 = 3_600_000;
/// Of those that are over, so many are removed at a login.
const MOST_REMOVED: usize = 100;
/// The longest session of a program, in ms: it logs in again for each of its runs.
const PROGRAM_MS: u64 = 3_600_000;
/// Sessions of programs that one user has; the oldest gives way.
const MOST_PROGRAMS: usize = 50;

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter();
    let pairs = all
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'));
    let mut found = pairs.filter_map(|pair| pair.trim().split_once('='));
    found.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A `Set-Cookie` that only this host's own pages send back, and no script reads.
pub(crate) fn set(name: &str, value: &str, seconds: u64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}")
}

fn id_of(key: &Key, cookie: &str) -> Option<String> {
    let (id, code) = cookie.split_once('.')?;
    let code = hex::decode(code).ok()?;
    key.verify(PURPOSE, id.as_bytes(), &code)
        .then(|| id.to_owned())
}

/// Begins a session and answers its cookie's value.
///
/// # Errors
/// 401 when the login was used before.
pub(crate) async fn begin(
    clients: &Clients,
    key: &Key,
    login: &LoggedIn,
    lifetime_ms: u64,
) -> Result<String, Error> {
    remove_old(clients, login).await;
    let lifetime_ms = if login.is_program {
        lifetime_ms.min(PROGRAM_MS)
    } else {
        lifetime_ms
    };
    let id = hex::encode(Sha256::digest(format!("session/{}", login.state)));
    let roles: Vec<&str> = login.roles.iter().collect();
    let mut stored = json!({
        "id": id, "user": login.user, "roles": roles, "expiresAt": now_ms() + lifetime_ms,
    });
    if let Some(to) = &login.bound {
        stored["bound"] = json!(to);
    }
    if login.is_program {
        stored["program"] = json!(true);
    }
    save(clients, &stored, &login.user, true)
        .await
        .map_err(|error| {
            if error.status() == StatusCode::CONFLICT {
                unauthorized("this login was used before; begin at /login")
            } else {
                error
            }
        })?;
    let code = key.code(PURPOSE, id.as_bytes());
    Ok(format!("{id}.{}", hex::encode(code)))
}

async fn save(clients: &Clients, stored: &Value, user: &str, create: bool) -> Result<(), Error> {
    let call = SaveObjectRequest {
        kind: KIND.to_owned(),
        object: Some(Json::of(stored)),
        user: user.to_owned(),
        create,
    };
    answer(clients.definitions.clone().save_object(call)).await?;
    Ok(())
}

/// The user of a session, and the entry of the users file it is bound to, if it began with a password; none
/// without a session, or when it is over.
///
/// # Errors
/// When it cannot be looked up.
pub(crate) async fn user(
    clients: &Clients,
    key: &Key,
    headers: &HeaderMap,
) -> Result<Option<(User, Option<String>)>, Error> {
    let Some(id) = cookie(headers, SESSION).and_then(|value| id_of(key, value)) else {
        return Ok(None);
    };
    let Some(stored) = object(clients, KIND, &id).await? else {
        return Ok(None);
    };
    let bound = stored.get("bound").and_then(Value::as_str);
    let expires = stored.get("expiresAt").and_then(Value::as_u64).unwrap_or(0);
    let name = stored
        .get("user")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if expires <= now_ms() || name.is_empty() {
        return Ok(None);
    }
    let user = User {
        name: name.to_owned(),
        roles: roles_of(&stored, "roles"),
        scope: None,
        how: How::Session,
    };
    Ok(Some((user, bound.map(ToOwned::to_owned))))
}

/// Ends the session of a request; whom it was of.
///
/// # Errors
/// When it cannot be written.
pub(crate) async fn end(
    clients: &Clients,
    key: &Key,
    headers: &HeaderMap,
) -> Result<Option<String>, Error> {
    let Some(id) = cookie(headers, SESSION).and_then(|value| id_of(key, value)) else {
        return Ok(None);
    };
    let Some(mut stored) = object(clients, KIND, &id).await? else {
        return Ok(None);
    };
    let name = stored
        .get("user")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    // It stays, so that its login cannot be used again.
    stored["roles"] = json!(Roles::default());
    stored["expiresAt"] = json!(now_ms().min(stored["expiresAt"].as_u64().unwrap_or(0)));
    save(clients, &stored, &name, false).await?;
    Ok(Some(name))
}

/// Removes sessions that are over, and those that a user's programs have left behind: logins make them, so a
/// login clears away. What a browser began stays for a while, so that its login cannot be repeated.
async fn remove_old(clients: &Clients, login: &LoggedIn) {
    let all = match listing::objects(clients, &Caller::default(), KIND).await {
        Ok(all) => all,
        Err(error) => {
            tracing::warn!(reason = error.message(), "old sessions are not removed");
            return;
        }
    };
    let number = |session: &Value, key: &str| session.get(key).and_then(Value::as_u64).unwrap_or(0);
    let is_program = |session: &Value| session.get("program") == Some(&Value::Bool(true));
    let is_over = |session: &&Value| {
        let kept = if is_program(session) { 0 } else { KEPT_MS };
        number(session, "expiresAt").saturating_add(kept) < now_ms()
    };
    let mut own: Vec<&Value> = all.iter().filter(|s| is_program(s)).collect();
    own.retain(|session| session.get("user").and_then(Value::as_str) == Some(&login.user));
    own.sort_by_key(|session| Reverse(number(session, "expiresAt")));
    let left_behind = own.into_iter().skip(MOST_PROGRAMS - 1);
    let gone = all.iter().filter(is_over).take(MOST_REMOVED);
    for session in gone.chain(left_behind.filter(|_| login.is_program)) {
        let id = session.get("id").and_then(Value::as_str);
        let key = ObjectKey {
            kind: KIND.to_owned(),
            id: id.unwrap_or_default().to_owned(),
        };
        // What is left is removed at a later login.
        let _left = answer(clients.definitions.clone().delete_object(key)).await;
    }
}
