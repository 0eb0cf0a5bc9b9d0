//! Who is logged in, and what that lets one do. Source: `gate: AuthController`.

use authorization::{Decision, Permission, Resource, Subject, decide};
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use crate::Gateway;
use crate::access::Access;
use crate::answer::{Answer, Reply};
use crate::error::Error;
use crate::identity;
use crate::request::{Caller, Query};

/// `GET /auth/user`: an empty 200 is how Gate says "nobody".
pub(super) async fn user(State(gate): State<Gateway>, caller: Caller) -> Reply {
    let Some(subject) = caller.subject().filter(|s| s.name.is_some()) else {
        return Ok(Answer::Empty);
    };
    let accounts = Access::of(&gate, &caller)
        .accounts(Permission::Write)
        .await?;
    let accounts = match accounts {
        Some(decided) => decided
            .into_iter()
            .filter(|(_, decision)| decision.is_allowed())
            .map(|(name, _)| name)
            .collect(),
        None => super::credentials::names(&gate, &caller).await?,
    };
    let name = caller.user();
    let roles: Vec<&str> = subject.roles.iter().collect();
    let authorities: Vec<Value> = roles.iter().map(|r| json!({"authority": r})).collect();
    Ok(Answer::Ok(json!({
        "username": name, "email": name, "firstName": null, "lastName": null,
        "roles": roles, "authorities": authorities, "allowedAccounts": accounts,
        "isAdmin": subject.admin, "canMintApiTokens": subject.scope.is_none(),
        "maxUserTokenLifetimeDays": gate.identity.token_lifetime_ms() / 86_400_000,
        "enabled": true, "accountNonExpired": true, "accountNonLocked": true,
        "credentialsNonExpired": true,
    })))
}

/// `GET /auth/loggedOut`, `GET /auth/logout`
pub(super) async fn logged_out() -> Reply {
    Ok(Answer::Empty)
}

/// `GET /auth/user/serviceAccounts?application=`: those the caller may let pipelines run as.
pub(super) async fn service_accounts(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
) -> Reply {
    let mut names = Vec::new();
    for account in super::service_accounts::all(&gate, &caller).await? {
        let name = account
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let access = Access::of(&gate, &caller);
        let may = match (query.get("application"), caller.subject()) {
            (_, None) => true,
            (Some(application), _) => access
                .run_as(application, name, "application")
                .await
                .is_ok(),
            (None, Some(subject)) => {
                let member_of = identity::roles_of(&account, "memberOf");
                let resource = Resource::ServiceAccount(&member_of);
                decide(&gate.policy, subject, resource, Permission::Execute).is_allowed()
            }
        };
        if may {
            names.push(json!(name));
        }
    }
    Ok(Answer::Ok(Value::Array(names)))
}

fn permission(query: &Query) -> Result<Permission, Error> {
    let name = query.required("permission")?.to_uppercase();
    serde_json::from_value(json!(name)).map_err(|_| {
        let message = format!("\"{name}\" is none; use READ, WRITE, EXECUTE or CREATE");
        Error::field("permission", message)
    })
}

/// `GET /auth/explain?application=|account=|buildService=&permission=&user=`: whether somebody may, and the
/// rule that decides. Another user than oneself is an administrator's to ask about.
pub(super) async fn explain(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let access = Access::of(&gate, &caller);
    let permission = permission(&query)?;
    let subject = match query.get("user") {
        Some(name) if name != caller.user() => {
            access.admin()?;
            let roles = gate
                .identity
                .roles(&gate.clients, name)
                .await?
                .ok_or_else(|| {
                    Error::new(
                        StatusCode::NOT_FOUND,
                        format!("nobody named \"{name}\" is known"),
                    )
                })?;
            Subject::user(&gate.policy, name, roles)
        }
        _ => caller.subject().cloned().unwrap_or_default(),
    };
    let decided = |decision: Decision| {
        let rule = decision.rule();
        json!({"allowed": decision.is_allowed(), "rule": rule, "because": rule.to_string()})
    };
    let asked = ["application", "account", "buildService"].map(|key| (key, query.get(key)));
    let named = asked
        .into_iter()
        .filter_map(|(key, name)| Some((key, name?)));
    let (key, name, mut told) = match named.collect::<Vec<_>>()[..] {
        [(key @ "application", name)] => {
            let decision = access.decision(&subject, name, permission).await?;
            (key, name, decided(decision))
        }
        [(key @ "account", name)] => {
            let decision = access.account_decision(&subject, name, permission).await?;
            (key, name, decided(decision))
        }
        [(key, name)] => {
            let told = access.build_server_decision(&subject, name, permission);
            (key, name, told.await?)
        }
        _ => {
            return Err(Error::field(
                "application",
                "is missing; name one application, account or buildService",
            ));
        }
    };
    told[key] = json!(name);
    told["permission"] = json!(permission);
    told["user"] = json!(subject.name);
    told["roles"] = subject.roles.iter().map(ToOwned::to_owned).collect();
    if !gate.identity.is_enabled() {
        told["allowed"] = json!(true);
        told["rule"] = json!("notEnforced");
        told["because"] = json!("nobody has to authenticate here, so everybody may do everything");
    }
    Ok(Answer::Ok(told))
}
