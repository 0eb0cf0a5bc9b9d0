//! Types of stages whose provider or service this version does not have: they are
//! known, checked when a pipeline is saved, and refused in one sentence when they
//! would begin, before anything is sent.
//!
//! A pipeline that comes from elsewhere can so be kept and worked on. Built stages
//! are in the list beside this one; a type is in one of the two.

mod table;

use orchestrator_core::graph::Fault;
use orchestrator_core::{Description, PlanError, Stage, StageDefinition, StageView, TaskSpec};
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::provider;

pub use table::UNBUILT;

/// A type that is known and cannot be run.
#[derive(Debug)]
pub struct Unbuilt {
    /// The type.
    pub kind: &'static str,
    /// Other names that pipelines know it by.
    pub aliases: &'static [&'static str],
    /// For people.
    pub label: &'static str,
    /// What would run it, as in "needs the provider kubernetes".
    pub needs: &'static str,
    /// What its context must have.
    rules: &'static [Rule],
}

/// Something that a context must satisfy. Keys are paths such as `options.strategy`;
/// a value that is an expression is taken for a good one.
#[derive(Debug)]
enum Rule {
    /// One of these keys has a value; how to give one.
    Need(&'static [&'static str], &'static str),
    /// The key's value is one of these, if it has one.
    Among(&'static str, &'static [&'static str]),
    /// If the key has one of the values, the rules; an absent key is `""`.
    If(&'static str, &'static [&'static str], &'static [Rule]),
    /// The list has exactly one entry.
    One(&'static str, &'static str),
    /// One of two sets of rules holds; told are the faults of the first.
    Either(&'static [Rule], &'static [Rule]),
}

/// The type of this name or alias.
pub fn find(kind: &str) -> Option<&'static Unbuilt> {
    UNBUILT
        .iter()
        .find(|known| known.kind == kind || known.aliases.contains(&kind))
}

/// The sentence by which a stage is refused.
pub fn refusal(kind: &str, needs: &str) -> String {
    format!(
        "stage type \"{kind}\" needs {needs}, which this version does not have; remove the stage, \
         or disable it to keep it in the pipeline"
    )
}

/// Refuses a stage whose context names a provider that plans know nothing of.
pub(super) fn require_provider(stage: &Stage) -> Result<(), PlanError> {
    require_provider_of(&stage.kind, &stage.context)
}

/// The same for a context that a stage is planned with.
pub(super) fn require_provider_of(
    kind: &str,
    context: &Map<String, Value>,
) -> Result<(), PlanError> {
    match missing_provider(context) {
        None => Ok(()),
        Some(name) => Err(refusal(kind, &format!("the provider {name}"))),
    }
}

/// The provider that a context names and this version does not have.
pub(super) fn missing_provider(context: &Map<String, Value>) -> Option<&str> {
    let name = provider::name_of(context);
    let known = provider::PROVIDERS.iter().any(|p| p.key() == name);
    (!known && !name.contains("${")).then_some(name)
}

impl StageDefinition for Unbuilt {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn describe(&self) -> Description {
        Description {
            label: self.label,
            text: "Known, but not built into this version.",
            category: "unbuilt",
        }
    }

    fn is_built(&self) -> bool {
        false
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Err(refusal(self.kind, self.needs))
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        check(self.rules, context, path)
    }

    fn schema(&self) -> Value {
        schema(&json!({}), &[])
    }
}

impl StageType for Unbuilt {}

/// What a context lacks of these rules.
fn check(rules: &[Rule], context: &Map<String, Value>, path: &str) -> Vec<Fault> {
    let fault = |key: &str, message: String| vec![Fault::new(format!("{path}.{key}"), message)];
    let one = |rule: &Rule| match rule {
        Rule::Need(keys, remedy) => {
            if keys.iter().any(|key| value(context, key).is_some()) {
                return Vec::new();
            }
            let first = keys.first().copied().unwrap_or_default();
            match keys {
                [_] => fault(first, format!("it is missing; {remedy}")),
                several => {
                    let names = several.join(" and ");
                    fault(first, format!("none of {names} is set; {remedy}"))
                }
            }
        }
        Rule::Among(key, values) => match value(context, key).map(shown) {
            Some(found) if !is_expression(&found) && !values.contains(&found.as_str()) => {
                let values = values.join(", ");
                fault(key, format!("\"{found}\" is unknown; use one of {values}"))
            }
            _ => Vec::new(),
        },
        Rule::If(key, values, rules) => {
            let found = value(context, key).map(shown).unwrap_or_default();
            let holds = values.contains(&found.as_str());
            if holds {
                check(rules, context, path)
            } else {
                Vec::new()
            }
        }
        Rule::One(key, remedy) => match value(context, key) {
            Some(Value::Array(list)) if list.len() == 1 => Vec::new(),
            Some(Value::String(text)) if is_expression(text) => Vec::new(),
            Some(Value::Array(list)) => {
                let count = list.len();
                fault(key, format!("it has {count} entries; {remedy}"))
            }
            _ => fault(key, format!("it is missing; {remedy}")),
        },
        Rule::Either(first, second) => {
            let faults = check(first, context, path);
            if check(second, context, path).is_empty() {
                Vec::new()
            } else {
                faults
            }
        }
    };
    rules.iter().flat_map(one).collect()
}

/// The value at a path; what is empty counts as absent. Below a list its first entry
/// is meant.
fn value<'a>(context: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('.');
    let mut at = context.get(keys.next()?)?;
    for key in keys {
        if at.as_str().is_some_and(is_expression) {
            return Some(at);
        }
        at = match at {
            Value::Array(list) => list.first()?.get(key)?,
            other => other.get(key)?,
        };
    }
    let empty = match at {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    (!empty).then_some(at)
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn is_expression(text: &str) -> bool {
    text.contains("${")
}
