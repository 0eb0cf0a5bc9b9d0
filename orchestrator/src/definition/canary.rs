//! Canary configs: kept here with their versions and their place in the archive; what one may hold is for
//! canary-judge to say, which saves them. Source: `kayenta: CanaryConfigController`.

use proto::status::FieldError;
use serde_json::{Map, Value};

use super::text;

/// What begins the unique keys of names.
const PREFIX: &str = "canary-config";

/// What no other canary config may have: its name in one of its applications.
pub(super) fn claims(body: &Map<String, Value>) -> Vec<String> {
    let name = text(body, "name").unwrap_or_default();
    let applications = body.get("applications").and_then(Value::as_array);
    let applications = applications
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_lowercase);
    let mut claims: Vec<String> = applications
        .map(|application| format!("{PREFIX}:{application}:{name}"))
        .collect();
    claims.sort_unstable();
    claims.dedup();
    claims
}

/// What is said when a name is another's.
pub(super) fn taken(key: &str) -> FieldError {
    let mut parts = key.splitn(3, ':').skip(1);
    let application = parts.next().unwrap_or_default();
    let name = parts.next().unwrap_or_default();
    // The original's words, with the one application that is in the way.
    let message = format!(
        "Canary config with name '{name}' already exists in the scope of applications [{application}]."
    );
    FieldError::new("name", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_unique_in_each_application_of_its_config() {
        let body = json!({"name": "c", "applications": ["Shop", "cart", "shop"]});
        let claims = claims(body.as_object().unwrap());
        assert_eq!(claims, ["canary-config:cart:c", "canary-config:shop:c"]);
        let message = taken(&claims[1]).message;
        assert!(
            message.contains("'c'") && message.contains("[shop]"),
            "{message}"
        );
    }
}
