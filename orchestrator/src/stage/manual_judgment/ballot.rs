//! What an answer to a judgment may say: two fields, each checked. Pure.

use proto::status::{Failure, FieldError};
use serde_json::{Map, Value};

use crate::definition::kind_of;

/// The pipeline goes on.
pub(super) const CONTINUE: &str = "continue";
/// It does not.
pub(super) const STOP: &str = "stop";
/// Characters of an input that is not one of the choices offered.
const MOST_INPUT: usize = 4_000;

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ballot {
    /// [`CONTINUE`] or [`STOP`].
    pub(super) status: &'static str,
    /// The choice, or a text; null for none.
    pub(super) input: Value,
}

impl Ballot {
    /// Reads an answer to a stage.
    ///
    /// Differs from Spinnaker: nothing else of the stage can be changed together with an answer,
    /// since otherwise an answer could bring the rules by which it counts; and an input is one of
    /// the choices, if choices are offered.
    ///
    /// # Errors
    /// `Invalid` with every faulty field.
    pub(super) fn read(
        asked: &Map<String, Value>,
        stage: &Map<String, Value>,
    ) -> Result<Self, Failure> {
        let mut faults = Vec::new();
        for (field, value) in asked {
            let fault = match field.as_str() {
                // Told by callers, known from the call.
                "judgmentStatus" | "judgmentInput" | "lastModifiedBy" => continue,
                "manualSkip" => "a judgment cannot be skipped by hand; answer it".to_owned(),
                _ => format!(
                    "it is {}; an answer has judgmentStatus and judgmentInput only, the rest of \
                     the stage is changed in the pipeline",
                    shown(value)
                ),
            };
            faults.push(FieldError::new(field, fault));
        }
        let status = asked.get("judgmentStatus");
        let word = status.and_then(Value::as_str).unwrap_or_default().trim();
        let status = match word.to_lowercase().as_str() {
            CONTINUE => CONTINUE,
            STOP => STOP,
            _ => {
                let shown = status.map_or_else(|| "missing".to_owned(), shown);
                let fault = format!("it is {shown}; send \"{CONTINUE}\" or \"{STOP}\"");
                faults.push(FieldError::new("judgmentStatus", fault));
                STOP
            }
        };
        let input = match input(asked.get("judgmentInput"), stage) {
            Ok(input) => input,
            Err(fault) => {
                faults.push(FieldError::new("judgmentInput", fault));
                Value::Null
            }
        };
        if faults.is_empty() {
            Ok(Self { status, input })
        } else {
            Err(Failure::invalid("", faults))
        }
    }
}

fn input(given: Option<&Value>, stage: &Map<String, Value>) -> Result<Value, String> {
    let text = match given {
        None | Some(Value::Null) => return Ok(Value::Null),
        Some(Value::String(text)) if text.is_empty() => return Ok(Value::Null),
        Some(Value::String(text)) => text,
        Some(other) => return Err(format!("it is {}; send a string", shown(other))),
    };
    let choices = choices(stage);
    if !choices.is_empty() && !choices.contains(&text.as_str()) {
        let of = choices.join("\", \"");
        return Err(format!(
            "it is {}; choose one of \"{of}\"",
            shown(&Value::from(text.as_str()))
        ));
    }
    if choices.is_empty() && text.chars().count() > MOST_INPUT {
        let length = text.chars().count();
        return Err(format!(
            "it has {length} characters, more than the {MOST_INPUT} allowed; shorten it"
        ));
    }
    Ok(Value::from(text.as_str()))
}

/// What a stage offers under `judgmentInputs`, as objects or plain texts.
pub(super) fn choices(stage: &Map<String, Value>) -> Vec<&str> {
    let list = stage.get("judgmentInputs").and_then(Value::as_array);
    let value = |choice: &'_ Value| choice.get("value").is_some();
    list.into_iter()
        .flatten()
        .filter_map(|choice| {
            if value(choice) {
                choice["value"].as_str()
            } else {
                choice.as_str()
            }
        })
        .filter(|choice| !choice.is_empty())
        .collect()
}

/// A value for a message, large ones by their kind.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.len() > 80 || value.is_object() {
        kind_of(value).to_owned()
    } else {
        text
    }
}
