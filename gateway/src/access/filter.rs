//! Answers without what the caller may not read.

use std::collections::BTreeSet;

use authorization::Permission;
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use super::needs::Lose;
use super::{Access, text};
use crate::answer::json;
use crate::error::Error;

/// What may be read of what an answer names.
struct Readable {
    applications: std::collections::HashMap<String, bool>,
    accounts: std::collections::BTreeMap<String, authorization::Decision>,
}

/// The application an element belongs to; none if it belongs to none.
fn application_of(item: &Value) -> Option<&str> {
    let own = item.get("application").and_then(Value::as_str);
    own.or_else(|| item.pointer("/moniker/app").and_then(Value::as_str))
        .filter(|name| !name.is_empty())
}

/// The texts in a list of an element.
fn texts<'a>(item: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    let list = item.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

impl Readable {
    fn application(&self, name: &str) -> bool {
        let known = self.applications.get(&name.to_lowercase());
        known.copied().unwrap_or(false)
    }

    fn account(&self, name: &str) -> bool {
        self.accounts
            .get(name)
            .is_some_and(|decision| decision.is_allowed())
    }

    fn place(&self, item: &Value) -> bool {
        let account = item.get("account").and_then(Value::as_str);
        account.is_none_or(|name| name.is_empty() || self.account(name))
            && application_of(item).is_none_or(|name| self.application(name))
    }

    fn keys(&self, map: &mut Map<String, Value>) {
        map.retain(|account, _| self.account(account));
    }

    /// The accounts of a balancer that are left; false if there are none.
    fn balancer(&self, item: &mut Value) -> bool {
        let Some(accounts) = item.get_mut("accounts").and_then(Value::as_array_mut) else {
            return true;
        };
        accounts.retain(|account| self.account(text(account, "name")));
        !accounts.is_empty()
    }

    fn apply(&self, lose: Lose, body: &mut Value) {
        let within = |item: &mut Value, key: &str, keep: &dyn Fn(&Value) -> bool| {
            if let Some(list) = item.get_mut(key).and_then(Value::as_array_mut) {
                list.retain(keep);
            }
        };
        match (lose, body) {
            (Lose::ByAccount, Value::Object(map)) => self.keys(map),
            (Lose::Clusters, body) => {
                if let Some(Value::Object(map)) = body.get_mut("clusters") {
                    self.keys(map);
                }
            }
            (Lose::Balancers, balancer @ Value::Object(_)) => {
                self.balancer(balancer);
            }
            (lose, Value::Array(items)) => items.retain_mut(|item| match lose {
                // What names no application cannot be shown to be readable.
                Lose::Applications(key) => self.application(text(item, key)),
                Lose::EachApplications(key) => {
                    texts(item, key).any(|application| self.application(application))
                }
                Lose::Accounts(key) => self.account(text(item, key)),
                Lose::Places => self.place(item),
                Lose::Balancers => self.balancer(item),
                Lose::Results => {
                    within(item, "results", &|found| self.place(found));
                    true
                }
                Lose::ProjectClusters => {
                    within(item, "applications", &|found| self.place(found));
                    self.place(item)
                }
                Lose::Nothing | Lose::ByAccount | Lose::Clusters => true,
            }),
            _ => {}
        }
    }
}

/// Every application an answer names.
fn named(body: &Value, lose: Lose, into: &mut BTreeSet<String>) {
    let key = match lose {
        Lose::Applications(key) => key,
        _ => "application",
    };
    for item in body.as_array().into_iter().flatten() {
        into.insert(text(item, key).to_lowercase());
        into.extend(application_of(item).map(str::to_lowercase));
        if let Lose::EachApplications(key) = lose {
            into.extend(texts(item, key).map(str::to_lowercase));
        }
        for inner in ["results", "applications"] {
            let inner = item.get(inner).and_then(Value::as_array);
            into.extend(
                inner
                    .into_iter()
                    .flatten()
                    .filter_map(application_of)
                    .map(str::to_lowercase),
            );
        }
    }
    into.remove("");
}

/// The answer without what may not be read.
///
/// # Errors
/// When it cannot be filtered: it is then not answered at all.
pub(super) async fn without_unreadable(
    access: Access<'_>,
    response: Response,
    lose: Lose,
) -> Result<Response, Error> {
    if lose == Lose::Nothing || access.limited().is_none() || response.status() != StatusCode::OK {
        return Ok(response);
    }
    let unfiltered = || {
        let message = "the answer cannot be reduced to what you may read";
        Error::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    };
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map_err(|_| unfiltered())?.to_bytes();
    let mut body: Value = serde_json::from_slice(&bytes).map_err(|_| unfiltered())?;
    let mut names = BTreeSet::new();
    named(&body, lose, &mut names);
    let names: Vec<String> = names.into_iter().collect();
    let readable = Readable {
        applications: access.readable(&names).await?.unwrap_or_default(),
        accounts: access.accounts(Permission::Read).await?.unwrap_or_default(),
    };
    readable.apply(lose, &mut body);
    Ok(json(parts.status, body))
}
