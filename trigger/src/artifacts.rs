//! Expected artifacts: which ones a trigger brings, and what stands in for the others.
//!
//! Pure. Source: `kork: ExpectedArtifact`, `orca: ArtifactUtils.resolveArtifacts`.

use serde_json::{Map, Value};

use crate::pattern;

/// What an execution's trigger holds about artifacts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resolved {
    /// All artifacts: received, default and prior ones.
    pub artifacts: Vec<Value>,
    /// The expected artifacts, each with its `boundArtifact`.
    pub resolved: Vec<Value>,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key) == Some(&Value::Bool(true))
}

/// Whether an artifact is what `matchArtifact` asks for.
fn fits(expected: &Value, artifact: &Value) -> bool {
    let wanted = expected.get("matchArtifact").unwrap_or(&Value::Null);
    ["type", "name", "version", "location", "reference"]
        .iter()
        .all(|key| {
            let pattern = text(wanted, key);
            if pattern.is_empty() {
                return true;
            }
            let Some(value) = artifact.get(*key).and_then(Value::as_str) else {
                return false;
            };
            let embedded = |t: &str| matches!(t, "embedded/base64" | "remote/base64");
            pattern == value
                || (*key == "type" && embedded(pattern) && embedded(value))
                || pattern::whole(pattern, value) == Ok(true)
        })
}

fn list<'a>(map: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    match map.get(key) {
        Some(Value::Array(items)) => items,
        _ => &[],
    }
}

/// Whether a trigger that waits for artifacts got one of them.
///
/// # Errors
/// Which expected artifacts nothing came for.
pub fn received_one(
    pipeline: &Map<String, Value>,
    trigger: &Map<String, Value>,
    received: &[Value],
) -> Result<(), String> {
    let wanted = list(trigger, "expectedArtifactIds");
    if wanted.is_empty() {
        return Ok(());
    }
    let expected = list(pipeline, "expectedArtifacts");
    let listed = |e: &&Value| wanted.contains(e.get("id").unwrap_or(&Value::Null));
    let found = expected
        .iter()
        .filter(listed)
        .any(|e| received.iter().any(|artifact| fits(e, artifact)));
    if found {
        return Ok(());
    }
    let names: Vec<_> = expected.iter().filter(listed).map(name).collect();
    Err(format!(
        "no artifact of the event is one of the expected {}",
        names.join(", ")
    ))
}

fn name(expected: &Value) -> String {
    ["displayName", "name", "id"]
        .iter()
        .map(|key| text(expected, key))
        .find(|name| !name.is_empty())
        .unwrap_or("without a name")
        .to_owned()
}

/// Whether resolving needs the artifacts of the pipeline's last execution.
pub fn needs_prior(
    pipeline: &Map<String, Value>,
    trigger: &Map<String, Value>,
    received: &[Value],
) -> bool {
    considered(pipeline, trigger).any(|expected| {
        flag(expected, "usePriorArtifact") && !received.iter().any(|a| fits(expected, a))
    })
}

/// The expected artifacts that concern this start.
fn considered<'a>(
    pipeline: &'a Map<String, Value>,
    trigger: &'a Map<String, Value>,
) -> impl Iterator<Item = &'a Value> {
    let wanted = list(trigger, "expectedArtifactIds");
    list(pipeline, "expectedArtifacts").iter().filter(|e| {
        wanted.contains(e.get("id").unwrap_or(&Value::Null))
            || flag(e, "useDefaultArtifact")
            || flag(e, "usePriorArtifact")
    })
}

/// Binds every expected artifact: one that was received, else the prior one,
/// else the default.
///
/// # Errors
/// The first expected artifact that nothing or more than one thing fits.
pub fn resolve(
    pipeline: &Map<String, Value>,
    trigger: &Map<String, Value>,
    received: &[Value],
    prior: &[Value],
) -> Result<Resolved, String> {
    let mut outcome = Resolved {
        artifacts: received.to_vec(),
        resolved: Vec::new(),
    };
    for expected in considered(pipeline, trigger) {
        let mut fitting = received.iter().filter(|a| fits(expected, a));
        let bound = match (fitting.next(), fitting.next()) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "expected artifact {} fits more than one artifact; narrow its match",
                    name(expected)
                ));
            }
            (Some(one), None) => one.clone(),
            (None, _) => {
                let prior = prior
                    .iter()
                    .find(|a| flag(expected, "usePriorArtifact") && fits(expected, a));
                let default = expected
                    .get("defaultArtifact")
                    .filter(|d| flag(expected, "useDefaultArtifact") && d.is_object());
                let Some(instead) = prior.or(default) else {
                    return Err(format!(
                        "unmatched expected artifact {} could not be resolved; \
                         send a matching artifact or give it a default",
                        name(expected)
                    ));
                };
                outcome.artifacts.push(instead.clone());
                instead.clone()
            }
        };
        let mut resolved = expected.clone();
        if let Value::Object(map) = &mut resolved {
            map.insert("boundArtifact".to_owned(), bound);
        }
        outcome.resolved.push(resolved);
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("no object: {other}"),
        }
    }

    fn image(version: &str) -> Value {
        json!({"type": "docker/image", "name": "h/a", "version": version, "reference": format!("h/a:{version}")})
    }

    fn pipeline(extra: Value) -> Map<String, Value> {
        let mut expected = object(json!({
            "id": "e1", "displayName": "the image",
            "matchArtifact": {"type": "docker/image", "name": "h/a", "version": ""},
        }));
        expected.extend(object(extra));
        object(json!({"expectedArtifacts": [expected]}))
    }

    fn trigger() -> Map<String, Value> {
        object(json!({"expectedArtifactIds": ["e1"]}))
    }

    #[test]
    fn artifacts_fit_by_equality_or_whole_pattern_and_empty_means_any() {
        for (wanted, artifact, expected) in [
            (json!({}), image("1"), true),
            (json!({"name": "h/.*"}), image("1"), true),
            (json!({"name": "h"}), image("1"), false),
            (json!({"location": "x"}), image("1"), false),
            (json!({"reference": "h/a:1"}), image("1"), true),
            (json!({"name": "("}), image("1"), false),
            (
                json!({"type": "embedded/base64"}),
                json!({"type": "remote/base64"}),
                true,
            ),
        ] {
            let expectation = json!({"matchArtifact": wanted});
            assert_eq!(fits(&expectation, &artifact), expected, "{wanted}");
        }
    }

    #[test]
    fn a_trigger_that_waits_for_artifacts_needs_one_of_them() {
        let plain = pipeline(json!({}));
        assert_eq!(received_one(&plain, &trigger(), &[image("1")]), Ok(()));
        assert_eq!(received_one(&plain, &Map::new(), &[]), Ok(()));
        let reason = received_one(&plain, &trigger(), &[]).unwrap_err();
        assert!(reason.contains("the image"), "{reason}");
    }

    #[test]
    fn what_came_wins_over_the_prior_one_and_that_over_the_default() {
        let all = pipeline(json!({
            "usePriorArtifact": true, "useDefaultArtifact": true, "defaultArtifact": image("default"),
        }));
        let bound = |received: &[Value], prior: &[Value]| {
            let resolved = resolve(&all, &trigger(), received, prior).unwrap();
            resolved.resolved[0]["boundArtifact"]["version"].clone()
        };
        assert_eq!(bound(&[image("1")], &[image("0")]), "1");
        assert_eq!(bound(&[], &[image("0")]), "0");
        assert_eq!(bound(&[], &[]), "default");
        assert!(needs_prior(&all, &trigger(), &[]));
        assert!(!needs_prior(&all, &trigger(), &[image("1")]));
    }

    #[test]
    fn nothing_or_more_than_one_thing_that_fits_is_an_error() {
        let plain = pipeline(json!({}));
        let none = resolve(&plain, &trigger(), &[], &[image("0")]).unwrap_err();
        assert!(none.contains("could not be resolved"), "{none}");
        let two = resolve(&plain, &trigger(), &[image("1"), image("2")], &[]).unwrap_err();
        assert!(two.contains("more than one"), "{two}");
        let unconcerned = resolve(&plain, &Map::new(), &[image("1")], &[]).unwrap();
        assert_eq!(unconcerned.artifacts, [image("1")]);
        assert!(unconcerned.resolved.is_empty());
    }
}
