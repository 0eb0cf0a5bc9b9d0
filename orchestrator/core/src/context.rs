//! Expressions of a stage's context: evaluated, written back, their failures kept.
//!
//! The language is the `expression` crate's; what it may see of an execution is
//! decided here (`orca: ContextParameterProcessor`).

use expression::{Evaluated, Failure, Scope};
use serde_json::{Map, Value, json};

use crate::env::Env;
use crate::execution::{Execution, ExecutionType};
use crate::outcome::{Lookup, LookupRequest};
use crate::stage::Stage;

/// The key under which failures are kept.
pub const SUMMARY: &str = "expressionEvaluationSummary";

/// Names an expression of this stage can use: its context, its ancestors' outputs
/// nearest first, `execution`, `trigger`, `parameters`.
pub fn scope_root(execution: &Execution, stage: Option<&Stage>) -> Map<String, Value> {
    let mut root = Map::new();
    if let Some(stage) = stage {
        for (key, value) in &stage.context {
            root.insert(key.clone(), value.clone());
        }
        for ancestor in execution.ancestors(stage) {
            for (key, value) in &ancestor.outputs {
                root.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    if execution.kind == ExecutionType::Pipeline {
        let trigger = Value::Object(execution.trigger.fields().clone());
        let parameters = execution
            .trigger
            .get("parameters")
            .filter(|p| p.as_object().is_some_and(|p| !p.is_empty()))
            .cloned();
        if let Some(parameters) = parameters {
            root.insert("parameters".to_owned(), parameters);
        } else {
            root.entry("parameters".to_owned())
                .or_insert_with(|| json!({}));
        }
        root.insert("trigger".to_owned(), trigger);
        root.insert("execution".to_owned(), execution.to_json());
        if !execution.template_variables.is_empty() {
            let variables = Value::Object(execution.template_variables.clone());
            root.insert("templateVariables".to_owned(), variables);
        }
    }
    root
}

/// Whether any text in a value is a template.
pub fn has_template(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(has_template),
        Value::Object(fields) => fields
            .iter()
            .any(|(k, v)| k.contains("${") || has_template(v)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Evaluates a single value for a stage.
///
/// # Errors
/// The look-ups it needs first.
pub fn evaluate(
    execution: &Execution,
    stage: Option<&Stage>,
    value: &Value,
    env: &Env<'_>,
) -> Result<Evaluated, Vec<Lookup>> {
    if !has_template(value) {
        return Ok(Evaluated {
            value: value.clone(),
            ..Evaluated::default()
        });
    }
    evaluate_over(&scope_root(execution, stage), stage, value, env)
}

fn evaluate_over(
    root: &Map<String, Value>,
    stage: Option<&Stage>,
    value: &Value,
    env: &Env<'_>,
) -> Result<Evaluated, Vec<Lookup>> {
    let place = stage.map_or_else(
        || "execution".to_owned(),
        |s| format!("{}/{}", s.id, s.attempt),
    );
    let scope = Scope {
        root,
        now_ms: env.now,
        answers: env.answers,
        place: &place,
    };
    let evaluated = expression::evaluate(value, &scope);
    if evaluated.needs.is_empty() {
        return Ok(evaluated);
    }
    let lookup = |need: expression::Need| Lookup {
        key: need.key,
        request: LookupRequest::Url(need.url),
    };
    Err(evaluated.needs.into_iter().map(lookup).collect())
}

/// A context after evaluation; none if no text in it is a template.
///
/// # Errors
/// The look-ups it needs first.
pub fn evaluate_context(
    execution: &Execution,
    stage: &Stage,
    env: &Env<'_>,
) -> Result<Option<Map<String, Value>>, Vec<Lookup>> {
    let waits = stage
        .context
        .iter()
        .any(|(k, v)| k != SUMMARY && has_template(v));
    if !waits {
        return Ok(None);
    }
    let own: &[&str] = env
        .stages
        .stage(stage.definition())
        .map_or(&[], |d| d.own_expressions());
    let mut root = scope_root(execution, Some(stage));
    let mut context = stage.context.clone();
    let mut failures: Vec<Failure> = Vec::new();
    let mut needs = Vec::new();
    for (key, value) in &stage.context {
        if key == SUMMARY || own.contains(&key.as_str()) || !has_template(value) {
            continue;
        }
        match evaluate_over(&root, Some(stage), value, env) {
            Ok(evaluated) => {
                failures.extend(named(key, value, evaluated.failures));
                context.insert(key.clone(), evaluated.value);
            }
            Err(more) => needs.extend(more),
        }
    }
    if own.contains(&"variables") {
        root.extend(context.clone());
        match evaluate_variables(&mut root, stage, env) {
            Ok((variables, more)) => {
                failures.extend(more);
                context.insert("variables".to_owned(), variables);
            }
            Err(more) => needs.extend(more),
        }
    }
    if !needs.is_empty() {
        return Err(needs);
    }
    context.remove(SUMMARY);
    if !failures.is_empty() {
        context.insert(SUMMARY.to_owned(), summary(&failures, env.now));
    }
    Ok(Some(context))
}

/// Failures whose description names the context's key, as Orca's do.
fn named(key: &str, value: &Value, failures: Vec<Failure>) -> Vec<Failure> {
    let whole = value.is_string();
    failures
        .into_iter()
        .map(|mut failure| {
            if whole {
                failure.name(key);
            }
            failure
        })
        .collect()
}

/// Variables one by one: each sees those before it.
fn evaluate_variables(
    root: &mut Map<String, Value>,
    stage: &Stage,
    env: &Env<'_>,
) -> Result<(Value, Vec<Failure>), Vec<Lookup>> {
    let mut failures = Vec::new();
    let mut variables = stage.context.get("variables").cloned().unwrap_or_default();
    for variable in variables.as_array_mut().into_iter().flatten() {
        let Some(fields) = variable.as_object_mut() else {
            continue;
        };
        let key = fields
            .get("key")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if let Some(text) = fields
            .get("value")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
            && text.contains("${")
        {
            // The text as written, kept so that a restart evaluates it again.
            fields
                .entry("sourceValue")
                .or_insert_with(|| text.clone().into());
            let evaluated = evaluate_over(root, Some(stage), &text.into(), env)?;
            if evaluated.failures.is_empty() {
                fields.insert("value".to_owned(), evaluated.value);
            }
            failures.extend(evaluated.failures);
        }
        if let Some(value) = fields.get("value") {
            root.insert(key, value.clone());
        }
    }
    Ok((variables, failures))
}

fn summary(failures: &[Failure], now: i64) -> Value {
    let mut summary: Map<String, Value> = Map::new();
    for failure in failures {
        let mut entry = json!({
            "description": failure.description, "timestamp": now, "level": failure.level.as_str(),
        });
        if let (Some(kind), Some(fields)) = (&failure.exception_type, entry.as_object_mut()) {
            fields.insert("exceptionType".to_owned(), kind.clone().into());
        }
        if let Some(list) = summary
            .entry(failure.key.clone())
            .or_insert_with(|| json!([]))
            .as_array_mut()
        {
            list.push(entry);
        }
    }
    summary.into()
}

/// Every description of a context's failures.
pub fn failure_descriptions(context: &Map<String, Value>) -> Vec<String> {
    let Some(Value::Object(summary)) = context.get(SUMMARY) else {
        return Vec::new();
    };
    summary
        .values()
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|entry| entry.get("description")?.as_str().map(ToOwned::to_owned))
        .collect()
}
