//! Environments: named places that versions are promoted to. An account
//! belongs to one environment at most, so that what runs in it has one answer.
//! Spinnaker has no such object; users spell environments as accounts.

use proto::status::FieldError;
use serde_json::{Map, Value};

use super::{kind_of, text};

const NAME_MAX: usize = 100;
/// Accounts of one environment.
const MOST_ACCOUNTS: usize = 200;

/// The accounts of an environment.
fn accounts(body: &Map<String, Value>) -> Vec<String> {
    let list = body.get("accounts").and_then(Value::as_array);
    let names = list.into_iter().flatten().filter_map(Value::as_str);
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

/// The accounts as unique keys.
pub(super) fn claims(body: &Map<String, Value>) -> Vec<String> {
    let keys = accounts(body).into_iter();
    keys.map(|account| format!("environment-account:{account}"))
        .collect()
}

/// What is said when an account is another environment's.
pub(super) fn taken(key: &str, environment: &str) -> FieldError {
    let account = key.split_once(':').map_or(key, |(_, account)| account);
    let message = format!(
        "account \"{account}\" belongs to environment {environment}; remove it there first"
    );
    FieldError::new("accounts", message)
}

/// Every fault of an environment; empty for one that may be saved.
pub(super) fn check(body: &Map<String, Value>) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text(body, "name") {
        None => faults.push(FieldError::new(
            "name",
            "it is empty; an environment needs a name",
        )),
        Some(name) if name.len() > NAME_MAX || !name.chars().all(fine) => {
            let message = format!(
                "\"{name}\" may hold only ASCII letters, digits and -_., at most {NAME_MAX}"
            );
            faults.push(FieldError::new("name", message));
        }
        Some(_) => {}
    }
    match body.get("accounts") {
        Some(Value::Array(list)) => {
            if list.is_empty() || list.len() > MOST_ACCOUNTS {
                let message = format!(
                    "it has {} entries; send 1 to {MOST_ACCOUNTS} names of accounts",
                    list.len()
                );
                faults.push(FieldError::new("accounts", message));
            }
            for (i, account) in list.iter().enumerate() {
                if account.as_str().is_none_or(|a| a.trim().is_empty()) {
                    let message = "it is no name; send the name of an account";
                    faults.push(FieldError::new(format!("accounts[{i}]"), message));
                }
            }
        }
        other => {
            let kind = other.map_or("missing", kind_of);
            let message = format!("it is {kind}; send a list of names of accounts");
            faults.push(FieldError::new("accounts", message));
        }
    }
    for (field, what) in [
        ("order", "a whole number; lower ones come first"),
        ("mixedVersionsAfterMs", "a number of milliseconds from 0 on"),
    ] {
        let wrong = match body.get(field) {
            None => false,
            Some(value) if field == "order" => value.as_i64().is_none(),
            Some(value) => value.as_u64().is_none(),
        };
        if wrong {
            let message = format!("it is {}; send {what}", kind_of(&body[field]));
            faults.push(FieldError::new(field, message));
        }
    }
    if let Some(owner) = body.get("owner").filter(|o| !o.is_string()) {
        let message = format!("it is {}; send a team's name or address", kind_of(owner));
        faults.push(FieldError::new("owner", message));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_fault_of_an_environment_is_named_by_its_path() {
        for (environment, path) in [
            (json!({"accounts": ["a"]}), "name"),
            (json!({"name": "a/b", "accounts": ["a"]}), "name"),
            (json!({"name": "e"}), "accounts"),
            (json!({"name": "e", "accounts": []}), "accounts"),
            (json!({"name": "e", "accounts": ["a", 1]}), "accounts[1]"),
            (
                json!({"name": "e", "accounts": ["a"], "order": "1"}),
                "order",
            ),
            (
                json!({"name": "e", "accounts": ["a"], "mixedVersionsAfterMs": -1}),
                "mixedVersionsAfterMs",
            ),
            (json!({"name": "e", "accounts": ["a"], "owner": 1}), "owner"),
        ] {
            let found = check(environment.as_object().unwrap());
            let paths: Vec<_> = found.iter().map(|f| f.path.as_str()).collect();
            assert_eq!(paths, [path], "{environment}");
        }
        let fine = json!({"name": "staging", "accounts": ["a"], "order": 1, "owner": "team"});
        assert!(check(fine.as_object().unwrap()).is_empty());
    }
}
