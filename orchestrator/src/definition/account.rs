//! Service accounts: whom pipelines run as when nobody starts them.
//! Source: `front50: ServiceAccount`.

use authorization::MANAGED;
use proto::status::{Failure, FieldError};
use serde_json::{Map, Value};

use super::{Definitions, Object, kind_of, text};

const NAME_MAX: usize = 200;

/// Every fault of a service account; empty for one that may be saved.
pub(super) fn check(body: &Map<String, Value>) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    match text(body, "name") {
        None => faults.push(FieldError::new(
            "name",
            "it is empty; a service account needs a name",
        )),
        Some(name) if name.len() > NAME_MAX || !name.chars().all(fine) => {
            let message = format!(
                "\"{name}\" may hold only ASCII letters, digits and ._-@, at most {NAME_MAX}"
            );
            faults.push(FieldError::new("name", message));
        }
        Some(_) => {}
    }
    match body.get("memberOf") {
        Some(Value::Array(roles)) => {
            for (at, role) in roles.iter().enumerate() {
                if role.as_str().is_none_or(|role| role.trim().is_empty()) {
                    let message = format!("it is {}; name a role", kind_of(role));
                    faults.push(FieldError::new(format!("memberOf[{at}]"), message));
                }
            }
        }
        other => {
            let found = other.map_or("missing", kind_of);
            let message = format!("it is {found}; send the list of its roles");
            faults.push(FieldError::new("memberOf", message));
        }
    }
    faults
}

/// Lets the triggers of a pipeline with `roles` run as its own service account, unless they say
/// whom else. Source: `orca: SaveServiceAccountTask`.
pub(super) fn run_as_own(pipeline: &mut Map<String, Value>, id: &str) {
    let roles = pipeline.get("roles").and_then(Value::as_array);
    if roles.is_none_or(Vec::is_empty) {
        return;
    }
    let own = format!("{id}{MANAGED}");
    let triggers = pipeline.get_mut("triggers").and_then(Value::as_array_mut);
    for trigger in triggers
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        if text(trigger, "runAsUser").is_none() {
            trigger.insert("runAsUser".to_owned(), own.clone().into());
        }
    }
}

impl Definitions {
    /// The roles of a service account: those it is kept with, or those of the pipeline whose own
    /// it is; none if there is no such account.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn service_account(&self, name: &str) -> Result<Option<Vec<String>>, Failure> {
        let (found, field) = match name.strip_suffix(MANAGED) {
            Some(id) => (self.get_pipeline(id, "").await?, "roles"),
            None => (
                self.get_object(Object::ServiceAccount, name).await?,
                "memberOf",
            ),
        };
        let roles = found
            .as_ref()
            .and_then(|found| found.get(field)?.as_array());
        let named = roles.map(|roles| roles.iter().filter_map(Value::as_str));
        // A pipeline without roles has no account of its own.
        let named: Option<Vec<String>> = named.map(|names| names.map(ToOwned::to_owned).collect());
        Ok(named.filter(|names| field == "memberOf" || !names.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_account_has_a_name_and_roles() {
        let faults = |value: Value| -> Vec<String> {
            let faults = check(value.as_object().unwrap());
            faults.into_iter().map(|fault| fault.path).collect()
        };
        assert!(faults(json!({"name": "bot@acme", "memberOf": ["dev"]})).is_empty());
        assert_eq!(faults(json!({"memberOf": "dev"})), ["name", "memberOf"]);
        assert_eq!(
            faults(json!({"name": "a b", "memberOf": ["", 1]})),
            ["name", "memberOf[0]", "memberOf[1]"]
        );
    }

    #[test]
    fn a_pipeline_with_roles_runs_as_its_own_account() {
        let run_as = |roles: Value, trigger: Value| {
            let mut pipeline = json!({"roles": roles, "triggers": [trigger]});
            run_as_own(pipeline.as_object_mut().unwrap(), "p1");
            pipeline["triggers"][0]["runAsUser"].clone()
        };
        let own = json!("p1@managed-service-account");
        assert_eq!(run_as(json!(["dev"]), json!({"type": "cron"})), own);
        assert_eq!(
            run_as(json!(["dev"]), json!({"runAsUser": "bot"})),
            json!("bot")
        );
        assert_eq!(run_as(json!([]), json!({"type": "cron"})), Value::Null);
        assert_eq!(run_as(Value::Null, json!({"type": "cron"})), Value::Null);
    }
}
