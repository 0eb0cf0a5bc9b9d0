//! How large an execution may become. Pure.
//!
//! Counted is what an execution is as JSON, large values in their places: so much of it is in memory with every
//! message that it handles. Its log is not counted.

use orchestrator_core::{Execution, Message, Stages};
use serde_json::{Map, Value};
use store::blob::MAX_BLOB;
use thiserror::Error;

use crate::commit::HEADER;
use crate::large;
use crate::turn::Step;

/// A turn that adds no more than this is always written, in bytes: what is full has still to end.
const ALWAYS: usize = 4 * 1024;

/// What makes an execution too large.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{place}{key} has {} bytes; {holder} may hold {}{remedy}",
    grouped(*.bytes), grouped(*.limit)
)]
pub struct TooLarge {
    /// Whose value it is, such as `stage 3 "Deploy": `; empty for the execution's own.
    pub place: String,
    /// Which value, such as `outputs.manifests`.
    pub key: String,
    /// How long it is as JSON.
    pub bytes: usize,
    /// What has the limit.
    holder: &'static str,
    /// What may be held.
    pub limit: usize,
    /// What to do.
    remedy: &'static str,
}

/// A part that a turn changes.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it was.
    pub old: Option<&'a Map<String, Value>>,
    /// What it is.
    pub new: Option<&'a Map<String, Value>>,
}

/// Whether an execution of so many bytes, which had so many before, may become that without a closer look.
pub fn fits((before, bytes): (usize, usize), limit: usize) -> bool {
    let grows = bytes > before.saturating_add(ALWAYS);
    !grows || bytes <= limit && bytes <= MAX_BLOB
}

/// Whether an execution may become this large, by changes of some parts.
///
/// # Errors
/// The largest of the values that make it too large.
pub fn check(
    after: &Execution,
    changes: &[Change<'_>],
    sizes: (usize, usize),
    limit: usize,
) -> Result<(), TooLarge> {
    if fits(sizes, limit) {
        return Ok(());
    }
    let (_, bytes) = sizes;
    let values = changes.iter().flat_map(|change| new_values(*change));
    let largest = values
        .map(|(part, key, value)| (large::length(value), part, key))
        .max();
    let Some((bytes_of, part, key)) = largest else {
        return Ok(());
    };
    let (holder, limit, remedy) = if bytes > limit {
        let remedy = ", all in all: keep it elsewhere and pass a reference, or raise orchestrator.execution-limit";
        ("an execution", limit, remedy)
    } else if bytes_of > MAX_BLOB {
        let remedy = ": keep it elsewhere and pass a reference";
        ("a value", MAX_BLOB, remedy)
    } else {
        return Ok(());
    };
    Err(TooLarge {
        place: place(after, &part),
        key,
        bytes: bytes_of,
        holder,
        limit,
        remedy,
    })
}

/// Fields of a part whose values are told by their own keys.
fn is_keyed(part: &str, field: &str) -> bool {
    match part {
        HEADER => matches!(field, "trigger" | "templateVariables" | "initialConfig"),
        _ => matches!(field, "context" | "outputs"),
    }
}

/// Values that are new or other than before: (part, key, value).
fn new_values<'a>(change: Change<'a>) -> Vec<(String, String, &'a Value)> {
    let mut found = Vec::new();
    for (field, value) in change.new.into_iter().flatten() {
        let old = change.old.and_then(|old| old.get(field));
        match value {
            Value::Object(inner) if is_keyed(change.name, field) => {
                let changed = inner
                    .iter()
                    .filter(|(key, value)| old.and_then(|old| old.get(key)) != Some(value));
                found.extend(changed.map(|(key, value)| {
                    let key = format!("{field}.{key}");
                    (change.name.to_owned(), key, value)
                }));
            }
            _ if old == Some(value) => {}
            _ => found.push((change.name.to_owned(), field.clone(), value)),
        }
    }
    found
}

/// Whose a part is.
fn place(execution: &Execution, part: &str) -> String {
    let id = part.strip_prefix("s:");
    let stage = id.and_then(|id| {
        execution
            .stages
            .iter()
            .find(|stage| stage.id.as_str() == id)
    });
    stage.map_or_else(String::new, |stage| {
        format!("stage {} \"{}\": ", stage.ref_id, stage.name)
    })
}

/// Whether these only end what failed: that is written however large the execution is.
pub fn only_ends(steps: &[Step]) -> bool {
    steps.iter().all(|step| match step {
        Step::Finished(_, result) => result.is_err(),
        Step::Message(message) => matches!(
            message,
            Message::AbortStage { .. } | Message::CancelExecution { .. }
        ),
        Step::Decided(_) => false,
    })
}

/// What is kept of an execution that is too large to be: who it is, what started it, and why it did not begin.
pub fn refused(execution: &Execution, why: &str) -> Execution {
    let mut kept = execution.clone();
    kept.stages = Stages::default();
    kept.initial_config.clear();
    kept.template_variables.clear();
    let small = |value: &Value| large::length(value) <= ALWAYS;
    kept.trigger.fields_mut().retain(|_, value| small(value));
    kept.failure = Some(why.to_owned());
    kept
}

/// A number as people read it: `10,485,760`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchestrator_core::testing;
    use serde_json::json;

    const LIMIT: usize = 10 * 1024 * 1024;

    fn deploy() -> Execution {
        let stages = json!([{"type": "wait", "refId": "3", "name": "Deploy", "waitTime": 5}]);
        testing::execution(&stages).0
    }

    fn check_stage(old: &Value, new: &Value, sizes: (usize, usize)) -> Result<(), TooLarge> {
        let execution = deploy();
        let name = Execution::part(&execution.stages[0].id);
        let change = Change {
            name: &name,
            old: old.as_object(),
            new: new.as_object(),
        };
        check(&execution, &[change], sizes, LIMIT)
    }

    #[test]
    fn the_value_that_makes_it_too_large_is_named_with_its_stage() {
        let old = json!({"context": {"big": "y".repeat(9_000_000)}, "outputs": {}});
        let mut new = old.clone();
        new["outputs"]["manifests"] = "x".repeat(11_403_110).into();
        new["context"]["other"] = json!(1);
        let fault = check_stage(&old, &new, (9_000_200, 20_403_400)).unwrap_err();
        let text = "stage 3 \"Deploy\": outputs.manifests has 11,403,112 bytes; an execution may hold 10,485,760";
        assert!(fault.to_string().starts_with(text), "{fault}");
        assert!(fault.to_string().contains("orchestrator.execution-limit"));
    }

    #[test]
    fn what_is_full_still_ends() {
        let (old, new) = (json!({"status": "RUNNING"}), json!({"status": "TERMINAL"}));
        assert_eq!(check_stage(&old, &new, (LIMIT - 5, LIMIT + 5)), Ok(()));
        assert_eq!(check_stage(&old, &new, (LIMIT + 500, LIMIT + 500)), Ok(()));
        assert_eq!(check_stage(&old, &new, (100, LIMIT)), Ok(()));
        let full = (LIMIT - 5, LIMIT + 2 * ALWAYS);
        assert!(check_stage(&old, &new, full).is_err());
    }

    #[test]
    fn a_single_value_has_a_limit_of_its_own() {
        let execution = deploy();
        let new = json!({"trigger": {"payload": "x".repeat(MAX_BLOB)}});
        let change = Change {
            name: HEADER,
            old: None,
            new: new.as_object(),
        };
        let sizes = (0, MAX_BLOB + 20);
        let fault = check(&execution, &[change], sizes, usize::MAX).unwrap_err();
        let text = fault.to_string();
        assert!(
            text.starts_with("trigger.payload has 10,485,762 bytes; a value may hold"),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 999, 1_000, 12_345_678].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "12,345,678"]);
    }
}
