//! Expressions tried on an execution as it was served, away from any installation: nothing is looked up.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{Answers, Options, Scope, evaluate_with, summary};

/// An execution and the stage that expressions are tried in.
#[derive(Debug, Clone)]
pub struct Offline {
    root: Map<String, Value>,
    stage: String,
}

impl Offline {
    /// The execution as `GET /pipelines/{id}` serves it, and a stage's id or reference id.
    ///
    /// # Errors
    /// One sentence, when that is no execution or has no such stage; it names those there are.
    pub fn new(execution: &Value, stage: &str) -> Result<Self, String> {
        let stages = execution.get("stages").and_then(Value::as_array);
        let stages = stages.ok_or("it is no execution: it has no stages")?;
        let text = |value: &Value, key: &str| {
            let found = value.get(key).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let by = |key: &'static str| stages.iter().find(|s| text(s, key) == stage);
        let here = by("id").or_else(|| by("refId")).ok_or_else(|| {
            let told = stages.iter().map(|s| {
                format!(
                    "{} ({}, \"{}\")",
                    text(s, "id"),
                    text(s, "refId"),
                    text(s, "name")
                )
            });
            let told: Vec<String> = told.take(20).collect();
            format!(
                "it has no stage \"{stage}\"; its stages are {}",
                told.join(", ")
            )
        })?;
        let context = here.get("context").and_then(Value::as_object);
        let mut root = context.cloned().unwrap_or_default();
        let mut execution = execution.clone();
        let mut trigger = execution
            .get("trigger")
            .cloned()
            .unwrap_or_else(|| json!({}));
        if let Some(fields) = trigger.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
            for (key, value) in defaults() {
                fields.entry(key).or_insert(value);
            }
        }
        if let Some(fields) = execution.as_object_mut() {
            fields.insert("trigger".to_owned(), trigger.clone());
        }
        let given = trigger.get("parameters");
        let given = given.filter(|p| p.as_object().is_some_and(|p| !p.is_empty()));
        if let Some(parameters) = given {
            root.insert("parameters".to_owned(), parameters.clone());
        } else {
            root.entry("parameters").or_insert_with(|| json!({}));
        }
        root.insert("trigger".to_owned(), trigger);
        if let Some(variables) = execution.get("templateVariables") {
            root.insert("templateVariables".to_owned(), variables.clone());
        }
        root.insert("execution".to_owned(), execution);
        Ok(Self {
            root,
            stage: text(here, "id"),
        })
    }

    /// Evaluates a text, expressions and all; answers what it became, and what failed in the form of
    /// `expressionEvaluationSummary`.
    pub fn ask(&self, text: &str, now_ms: i64) -> (Value, Map<String, Value>) {
        let template = json!({ "expression": text });
        let mut answers: Answers = BTreeMap::new();
        loop {
            let scope = Scope {
                root: &self.root,
                now_ms,
                answers: &answers,
                place: "offline",
            };
            let options = Options {
                inherit_for: Some(&self.stage),
                // Nobody asks, as at the REST interface without a user.
                user: Some("anonymous"),
                ..Options::default()
            };
            let mut evaluated = evaluate_with(&template, &scope, &options);
            let known = answers.len();
            for need in evaluated.needs {
                answers.insert(need.key, unanswered(&need.url));
            }
            // Whoever asks the same again would ask for ever.
            if answers.len() == known {
                let detail = summary(&evaluated.failures, now_ms);
                let value = evaluated.value.get_mut("expression").map(Value::take);
                return (value.unwrap_or_default(), detail);
            }
        }
    }
}

/// What every trigger has, whether it was written or not.
fn defaults() -> [(&'static str, Value); 8] {
    [
        ("user", json!("[anonymous]")),
        ("parameters", json!({})),
        ("artifacts", json!([])),
        ("notifications", json!([])),
        ("rebake", json!(false)),
        ("dryRun", json!(false)),
        ("strategy", json!(false)),
        ("resolvedExpectedArtifacts", json!([])),
    ]
}

/// There are no definitions here, no store of artifacts and no network.
fn unanswered(url: &str) -> Result<String, String> {
    if url.starts_with("ref:") {
        return Ok(url.to_owned());
    }
    let is_address = ["http:", "https:"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if is_address {
        Err(format!(
            "{url} is not looked up offline; evaluate it where the pipeline runs"
        ))
    } else {
        Ok("null".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution() -> Value {
        json!({"id": "E", "application": "a", "trigger": {"parameters": {"n": 3}}, "stages": [
            {"id": "S1", "refId": "1", "name": "One", "context": {"x": 1}, "outputs": {"y": 2},
             "requisiteStageRefIds": []},
            {"id": "S2", "refId": "2", "name": "Two", "context": {"z": 5}, "outputs": {},
             "requisiteStageRefIds": ["1"]},
        ]})
    }

    #[test]
    fn a_stage_sees_its_context_its_ancestors_outputs_and_the_parameters() {
        for stage in ["S2", "2"] {
            let offline = Offline::new(&execution(), stage).unwrap();
            let (value, detail) = offline.ask("${parameters.n + y + z}", 0);
            assert_eq!((value, detail), (json!(10), Map::new()));
        }
    }

    #[test]
    fn what_would_be_looked_up_fails_or_is_not_there() {
        let offline = Offline::new(&execution(), "1").unwrap();
        for (text, says) in [
            (
                "${#fromUrl('https://example.com/')}",
                "not looked up offline",
            ),
            ("${#pipelineId('p')}", "could not be found"),
        ] {
            let (value, detail) = offline.ask(text, 0);
            assert_eq!(value, text);
            assert!(json!(detail).to_string().contains(says), "{detail:?}");
        }
    }

    #[test]
    fn a_stage_that_is_not_there_is_told_with_those_that_are() {
        let says = Offline::new(&execution(), "9").unwrap_err();
        assert!(says.contains("S1 (1, \"One\")"), "{says}");
        assert!(
            Offline::new(&json!([]), "1")
                .unwrap_err()
                .contains("no execution")
        );
    }
}
