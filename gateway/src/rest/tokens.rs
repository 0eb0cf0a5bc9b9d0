//! API tokens: made by whoever they stand for, shown once, deleted at any time.

use axum::extract::State;
use http::StatusCode;
use proto::common::v1::Json;
use proto::orchestrator::v1::{ObjectKey, SaveObjectRequest};
use serde_json::{Value, json};

use crate::access::Access;
use crate::answer::{Answer, Reply};
use crate::clients::answer;
use crate::error::{Error, now_ms};
use crate::identity::{self, token};
use crate::request::{At, Caller, Definition};
use crate::{Gateway, listing};

const KIND: &str = "apiToken";
/// Tokens of one user.
const MOST: usize = 100;
const DAY_MS: u64 = 24 * 3_600_000;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

async fn all(gate: &Gateway, caller: &Caller) -> Result<Vec<Value>, Error> {
    listing::objects(&gate.clients, caller, KIND).await
}

/// What may be shown of a token: everything but its hash.
fn shown(mut token: Value) -> Value {
    if let Value::Object(map) = &mut token {
        map.remove("hash");
    }
    token
}

/// `GET /tokens`: one's own; an administrator's: all.
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller) -> Reply {
    let everybodys = Access::of(&gate, &caller).admin().is_ok();
    let mut found = all(&gate, &caller).await?;
    found.retain(|token| everybodys || text(token, "user") == caller.user());
    Ok(Answer::Ok(found.into_iter().map(shown).collect()))
}

/// `POST /tokens`: `{name, days?, applications?, permissions?, user?}`. The answer's `token` is
/// never shown again. Another `user`, such as a service account, is an administrator's to name.
pub(super) async fn create(State(gate): State<Gateway>, caller: Caller, body: Definition) -> Reply {
    if !gate.identity.is_enabled() {
        let message = "nobody has to authenticate here, so there is nobody a token could stand for; \
                       set gateway.authentication first";
        return Err(Error::new(StatusCode::BAD_REQUEST, message));
    }
    // A token that makes others would outlive and outreach itself.
    if caller
        .subject()
        .is_some_and(|subject| subject.scope.is_some())
    {
        let message = "a token makes no tokens; log in";
        return Err(Error::new(StatusCode::FORBIDDEN, message));
    }
    let asked = body.object("the token's name")?;
    let given = Value::Object(asked.clone());
    let name = text(&given, "name").trim();
    if name.is_empty() || name.chars().count() > 100 {
        let message = "is empty or has more than 100 characters; say what the token is for";
        return Err(Error::field("name", message));
    }
    let owner = match text(&given, "user") {
        "" => caller.user(),
        user if user == caller.user() => caller.user(),
        other => {
            Access::of(&gate, &caller).admin()?;
            if gate.identity.roles(&gate.clients, other).await?.is_none() {
                let message = format!("\"{other}\" is neither a user nor a service account");
                return Err(Error::field("user", message));
            }
            other.to_owned()
        }
    };
    let longest = gate.identity.token_lifetime_ms();
    let life = match asked.get("days") {
        None | Some(Value::Null) => longest.min(30 * DAY_MS),
        Some(days) => match days
            .as_u64()
            .filter(|days| (1..=longest / DAY_MS).contains(days))
        {
            Some(days) => days * DAY_MS,
            None => {
                let message = format!("is {days}; send 1 to {}", longest / DAY_MS);
                return Err(Error::field("days", message));
            }
        },
    };
    let scope = token::scope(&asked)?;
    let own = all(&gate, &caller).await?;
    if own
        .iter()
        .filter(|token| text(token, "user") == owner)
        .count()
        >= MOST
    {
        let message = format!("{owner} has {MOST} tokens; delete one first");
        return Err(Error::new(StatusCode::CONFLICT, message));
    }
    let (id, secret, hash) = token::make();
    let stored = json!({
        "id": id, "name": name, "user": owner, "hash": hash, "scope": scope,
        "expiresAt": now_ms() + life,
    });
    let call = caller.request(SaveObjectRequest {
        kind: KIND.to_owned(),
        object: Some(Json::of(&stored)),
        user: caller.user(),
        create: true,
    });
    answer(gate.clients.definitions.clone().save_object(call)).await?;
    let mut told = shown(stored);
    told["token"] = json!(secret);
    Ok(Answer::Ok(told))
}

/// `DELETE /tokens/{id}`: it stops being of use with the next request.
pub(super) async fn delete(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    let stored = identity::object(&gate.clients, KIND, &id).await?;
    let unknown = || Error::not_found(format!("Token not found (id: {id})"));
    let stored = stored.ok_or_else(unknown)?;
    if text(&stored, "user") != caller.user() {
        Access::of(&gate, &caller).admin().map_err(|_| unknown())?;
    }
    let call = caller.request(ObjectKey {
        kind: KIND.to_owned(),
        id: id.clone(),
    });
    answer(gate.clients.definitions.clone().delete_object(call)).await?;
    Ok(Answer::Empty)
}
