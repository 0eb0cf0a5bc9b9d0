//! The secrets of triggers, which are written and never read: whoever reads a pipeline sees
//! [`MASK`] in their place, and whoever saves it leaves the stored one alone.
//!
//! Differs from Spinnaker: there every reader of a pipeline can sign in its sender's name.

use proto::status::{Failure, FieldError};
use serde_json::{Map, Value};

use super::since::SINCE;
use super::text;

/// What stands in place of a secret.
pub(crate) const MASK: &str = "********";

const SECRET: &str = "secret";

fn triggers(pipeline: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let all = pipeline.get_mut("triggers").and_then(Value::as_array_mut);
    all.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Takes the secrets out of a pipeline that somebody is to read, and what is kept beside them.
pub(crate) fn mask(pipeline: &mut Value) {
    let Some(pipeline) = pipeline.as_object_mut() else {
        return;
    };
    for trigger in triggers(pipeline) {
        trigger.shift_remove(SINCE);
        match trigger.get_mut(SECRET) {
            // One without a secret is shown as such.
            None | Some(Value::Null) => {}
            Some(Value::String(secret)) if secret.is_empty() => {}
            Some(secret) => *secret = MASK.into(),
        }
    }
}

/// The same of a copy.
pub(crate) fn masked(mut pipeline: Value) -> Value {
    mask(&mut pipeline);
    pipeline
}

/// Puts the stored secrets back where a save has the mask: those of the same trigger.
///
/// # Errors
/// `Invalid` with the paths of triggers that have no stored secret.
pub(super) fn keep(
    body: &mut Map<String, Value>,
    stored: Option<&Map<String, Value>>,
) -> Result<(), Failure> {
    let known = stored.and_then(|stored| stored.get("triggers")?.as_array());
    let known = || known.into_iter().flatten().filter_map(Value::as_object);
    let mut faults = Vec::new();
    for (n, trigger) in triggers(body).enumerate() {
        if trigger.get(SECRET).and_then(Value::as_str) != Some(MASK) {
            continue;
        }
        let before = match text(trigger, "id") {
            Some(id) => known().find(|other| text(other, "id") == Some(id)),
            // Written anew by a person or a tool: the one that says the same.
            None => known().find(|other| alike(other, trigger)),
        };
        match before.and_then(|before| before.get(SECRET)) {
            Some(secret) => {
                trigger.insert(SECRET.into(), secret.clone());
            }
            None => faults.push(FieldError::new(
                format!("triggers[{n}].{SECRET}"),
                format!("it is {MASK} and this trigger has no stored secret; write the secret"),
            )),
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid("", faults))
    }
}

/// Whether two triggers are the same but for their ids, secrets and times.
pub(super) fn alike(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let own = |trigger: &Map<String, Value>| {
        let mut trigger = trigger.clone();
        trigger.shift_remove("id");
        trigger.shift_remove(SECRET);
        trigger.shift_remove(SINCE);
        trigger
    };
    own(one) == own(other)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn only_secrets_are_masked() {
        let triggers = json!([{"type": "git", "secret": "s"}, {"type": "webhook", "secret": ""}, {"type": "cron"}]);
        let expected = json!([{"type": "git", "secret": MASK}, {"type": "webhook", "secret": ""}, {"type": "cron"}]);
        let seen = masked(json!({"name": "P", "triggers": triggers}));
        assert_eq!(seen, json!({"name": "P", "triggers": expected}));
        assert_eq!(masked(json!({"name": "P"})), json!({"name": "P"}));
    }

    #[test]
    fn the_mask_keeps_the_secret_of_its_own_trigger() {
        let stored = object(json!({"triggers": [
            {"id": "a", "type": "git", "slug": "x", "secret": "of a"},
            {"id": "b", "type": "git", "slug": "y", "secret": "of b"},
        ]}));
        let mut body = object(json!({"triggers": [
            {"id": "b", "type": "git", "slug": "z", "secret": MASK},
            {"type": "git", "slug": "x", "secret": MASK},
            {"type": "git", "slug": "x", "secret": "new"},
        ]}));
        keep(&mut body, Some(&stored)).unwrap();
        let secrets: Vec<_> = triggers(&mut body).map(|t| t["secret"].clone()).collect();
        assert_eq!(secrets, ["of b", "of a", "new"]);
    }

    #[test]
    fn a_mask_of_nothing_is_refused() {
        let stored = object(json!({"triggers": [{"id": "a", "secret": "of a"}, {"id": "b"}]}));
        for (id, stored) in [("c", Some(&stored)), ("b", Some(&stored)), ("a", None)] {
            let mut body = object(json!({"triggers": [{"id": id, "secret": MASK}]}));
            let refused = keep(&mut body, stored).unwrap_err();
            assert_eq!(refused.fields[0].path, "triggers[0].secret");
        }
    }
}
