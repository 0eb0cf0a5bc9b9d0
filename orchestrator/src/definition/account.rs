//! Service accounts: whom pipelines run as when nobody starts them.
//! Source: `front50: ServiceAccount`.

use proto::status::FieldError;
use serde_json::{Map, Value};

use super::{kind_of, text};

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
}
