//! What a notification is written like: its type, its address, when it is wanted,
//! and how those of an application join a pipeline's. Pure.

use orchestrator_core::Execution;
use proto::status::FieldError;
use serde_json::{Map, Value, json};

use super::sender;

/// A text of a notification.
pub fn text<'a>(notification: &'a Value, key: &str) -> Option<&'a str> {
    let text = notification.get(key)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

/// The values of `when`; a single text counts as a list of one.
pub fn whens(notification: &Value) -> Vec<&str> {
    match notification.get("when") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => text
            .split([',', ' '])
            .filter(|word| !word.is_empty())
            .collect(),
        _ => Vec::new(),
    }
}

/// What is wrong with the notifications of an application, `{<type>: [{…}]}`.
pub fn check_all(body: &Map<String, Value>) -> Vec<FieldError> {
    let mut faults = Vec::new();
    for (kind, list) in body {
        for (i, entry) in list.as_array().into_iter().flatten().enumerate() {
            let mut entry = entry.as_object().cloned().unwrap_or_default();
            entry.entry("type").or_insert_with(|| kind.as_str().into());
            faults.extend(check(&entry, &format!("{kind}[{i}]")));
        }
    }
    faults
}

/// What is wrong with a notification as authored; `path` leads to it.
pub fn check(notification: &Map<String, Value>, path: &str) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let mut fault = |field: &str, message: String| {
        faults.push(FieldError::new(format!("{path}.{field}"), message));
    };
    let kind = match notification.get("type").and_then(Value::as_str) {
        None | Some("") => {
            fault(
                "type",
                format!("it is missing; use {}", sender::known_types()),
            );
            return faults;
        }
        Some(kind) => kind,
    };
    // What an expression yields is known only when it is sent.
    if kind.contains("${") {
        return faults;
    }
    let Some(found) = sender::find(kind) else {
        let known = sender::known_types();
        fault(
            "type",
            format!("\"{kind}\" is no notification type; use {known}"),
        );
        return faults;
    };
    match notification.get("when") {
        None | Some(Value::Null | Value::Array(_) | Value::String(_)) => {}
        Some(_) => fault(
            "when",
            "it is neither a list nor a text; send [\"pipeline.failed\"]".to_owned(),
        ),
    }
    let notification = Value::Object(notification.clone());
    if let Err(message) = found.check(&notification) {
        fault("address", message);
    }
    faults
}

/// Joins an application's notifications to those of an execution that begins: one of
/// the same type and address adds only what the pipeline's own does not ask for
/// already. Source: `orca: ExecutionLauncher`, `echo: NotificationAgent`.
pub fn join(execution: &mut Execution, of_application: &[Value]) {
    let target = |n: &Value| {
        let address = text(n, "address").or_else(|| text(n, "publisherName"));
        (
            text(n, "type").map(str::to_lowercase),
            address.map(str::to_owned),
        )
    };
    for added in of_application {
        let asked: Vec<String> = execution
            .notifications
            .iter()
            .filter(|own| target(own) == target(added))
            .flat_map(|own| whens(own).into_iter().map(str::to_owned))
            .collect();
        let left: Vec<&str> = whens(added)
            .into_iter()
            .filter(|when| !asked.iter().any(|a| a == when))
            .collect();
        if left.is_empty() {
            continue;
        }
        let mut added = added.clone();
        if let Some(fields) = added.as_object_mut() {
            fields.insert("when".to_owned(), json!(left));
            fields
                .entry("level")
                .or_insert_with(|| "application".into());
            execution.notifications.push(added);
        }
    }
}

/// The notifications in an application's document: `{application, <type>: [{…}]}`
/// (`front50: Notification`), each with its type.
pub fn of_document(document: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for (kind, list) in document.as_object().into_iter().flatten() {
        for entry in list.as_array().into_iter().flatten() {
            let Value::Object(mut fields) = entry.clone() else {
                continue;
            };
            fields.entry("type").or_insert_with(|| kind.as_str().into());
            all.push(fields.into());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_type_is_named_with_the_known_ones() {
        for (notification, expected) in [
            (json!({}), "n[0].type: it is missing; use "),
            (
                json!({"type": "pigeon"}),
                "n[0].type: \"pigeon\" is no notification type; use ",
            ),
            (json!({"type": "slack"}), "n[0].address: it is missing"),
            (
                json!({"type": "email", "address": "nobody"}),
                "n[0].address: \"nobody\" is no mail address",
            ),
            (
                json!({"type": "webhook", "address": "ftp://x"}),
                "n[0].address: ",
            ),
            (
                json!({"type": "microsoftteams", "address": "x"}),
                "n[0].address: ",
            ),
            (
                json!({"type": "slack", "address": "#c", "when": 1}),
                "n[0].when: ",
            ),
        ] {
            let found = check(notification.as_object().unwrap(), "n[0]");
            let told: Vec<String> = found
                .iter()
                .map(|f| format!("{}: {}", f.path, f.message))
                .collect();
            assert_eq!(told.len(), 1, "{notification}: {told:?}");
            assert!(told[0].starts_with(expected), "{told:?}");
            if expected.contains("type") {
                assert!(
                    told[0].contains("email, githubStatus, microsoftteams, slack, webhook"),
                    "{told:?}"
                );
            }
        }
        for right in [
            json!({"type": "slack", "address": "#c", "when": ["pipeline.failed"]}),
            json!({"type": "githubStatus"}),
            json!({"type": "GITHUBSTATUS"}),
            json!({"type": "email", "address": "a@b.test, c@d.test"}),
            json!({"type": "slack", "address": "${trigger.channel}"}),
            json!({"type": "webhook", "address": "https://hook.test/x"}),
        ] {
            assert_eq!(check(right.as_object().unwrap(), "n[0]"), [], "{right}");
        }
    }

    #[test]
    fn an_applications_notification_adds_only_what_is_not_asked_for() {
        let own = json!({"type": "slack", "address": "#a", "when": ["pipeline.failed"]});
        for (added, expected) in [
            (
                json!({"type": "slack", "address": "#a", "when": ["pipeline.failed"]}),
                None,
            ),
            (
                json!({"type": "slack", "address": "#a", "when": ["pipeline.failed", "pipeline.complete"]}),
                Some(json!(["pipeline.complete"])),
            ),
            (
                json!({"type": "slack", "address": "#b", "when": ["pipeline.failed"]}),
                Some(json!(["pipeline.failed"])),
            ),
            (
                json!({"type": "email", "address": "#a", "when": ["pipeline.failed"]}),
                Some(json!(["pipeline.failed"])),
            ),
        ] {
            let mut execution = Execution {
                notifications: vec![own.clone()],
                ..Execution::default()
            };
            join(&mut execution, &[added]);
            let joined = execution.notifications.get(1).map(|n| n["when"].clone());
            assert_eq!(joined, expected);
        }
    }
}
