//! Expressions of a stage's context: evaluated, written back, their failures kept.
//!
//! The language is the `expression` crate's; what it may see of an execution, and
//! when, is decided here (`orca: ContextParameterProcessor`). An execution that asks
//! for evaluator `v4` has its stages' texts evaluated when each stage starts; any
//! other, as in Orca, when it is submitted too.

use expression::{Evaluated, Failure, Options, Scope};
use serde_json::{Map, Value, json};

use crate::env::{Answers, Env};
use crate::execution::{Execution, ExecutionType};
use crate::outcome::{Lookup, LookupRequest};
use crate::stage::Stage;

/// The key under which failures are kept.
pub const SUMMARY: &str = "expressionEvaluationSummary";

/// Names an expression of this stage can use: its context, its ancestors' outputs
/// nearest first, `execution`, `trigger`, `parameters`. Without a stage: the contexts
/// and outputs of all, later ones over earlier ones.
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
    } else {
        for stage in &execution.stages {
            root.extend(stage.context.clone());
            root.extend(stage.outputs.clone());
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
    evaluate_over(&scope_root(execution, stage), execution, stage, value, env)
}

fn evaluate_over(
    root: &Map<String, Value>,
    execution: &Execution,
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
    let options = Options {
        current_stage: stage.map(|s| s.id.as_str()),
        user: Some(execution.user()),
        ..Options::default()
    };
    let evaluated = expression::evaluate_with(value, &scope, &options);
    if evaluated.needs.is_empty() {
        return Ok(evaluated);
    }
    let lookup = |need: expression::Need| Lookup {
        key: need.key,
        request: LookupRequest::Url(need.url),
    };
    Err(evaluated.needs.into_iter().map(lookup).collect())
}

/// Whether stages' texts wait until their stage starts.
fn defers(evaluator: Option<&str>) -> bool {
    evaluator.is_some_and(|version| version.eq_ignore_ascii_case("v4"))
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
    let own: &[&str] = match env.stages.stage(stage.definition()) {
        Some(definition) if defers(execution.spel_evaluator.as_deref()) => {
            definition.own_expressions()
        }
        Some(_) | None => &[],
    };
    let is_own = |key: &str| own.contains(&key);
    let asked: Map<String, Value> = stage
        .context
        .iter()
        .filter(|(key, _)| *key != SUMMARY && !is_own(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let asked = Value::Object(asked);
    let one_by_one = LISTS.iter().find_map(|list| {
        let value = stage.context.get(list.key).filter(|_| is_own(list.key))?;
        has_template(value).then_some((list, value))
    });
    let variables = one_by_one.map(|(_, value)| value);
    if variables.is_none() && !has_template(&asked) {
        return Ok(None);
    }
    let mut root = scope_root(execution, Some(stage));
    let evaluated = evaluate_over(&root, execution, Some(stage), &asked, env)?;
    let mut failures = evaluated.failures;
    // Keys may be templates too: the evaluated ones take the places of the written.
    let mut entries = match evaluated.value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
    .into_iter();
    let mut context = Map::new();
    for (key, value) in stage.context.iter().filter(|(key, _)| *key != SUMMARY) {
        if is_own(key) {
            context.insert(key.clone(), value.clone());
        } else {
            context.extend(entries.next());
        }
    }
    if let Some((list, written)) = one_by_one {
        root.extend(context.clone());
        let (evaluated, more) =
            evaluate_one_by_one(&mut root, execution, stage, list, written.clone(), env)?;
        failures.extend(more);
        context.insert(list.key.to_owned(), evaluated);
    }
    if !failures.is_empty() {
        // The same text under two keys fails once.
        let mut told: Vec<Failure> = Vec::new();
        for failure in failures {
            let same = |t: &Failure| t.key == failure.key && t.description == failure.description;
            if !told.iter().any(same) {
                told.push(failure);
            }
        }
        let summary = expression::summary(&told, env.now);
        context.insert(SUMMARY.to_owned(), summary.into());
    }
    Ok(Some(context))
}

/// A list of a context whose entries are evaluated one by one: each sees those before it.
struct List {
    /// Its key.
    key: &'static str,
    /// What gives an entry its name for those after it.
    name: &'static str,
    /// What the name stands for.
    value: &'static str,
    /// Fields whose texts are evaluated.
    texts: &'static [&'static str],
    /// Where the value as written is kept, so that a restart evaluates it again.
    source: Option<&'static str>,
}

static LISTS: [List; 2] = [
    List {
        key: "variables",
        name: "key",
        value: "value",
        texts: &["value", "description"],
        source: Some("sourceValue"),
    },
    List {
        key: "artifactContents",
        name: "name",
        value: "contents",
        texts: &["contents"],
        source: None,
    },
];

fn evaluate_one_by_one(
    root: &mut Map<String, Value>,
    execution: &Execution,
    stage: &Stage,
    list: &List,
    mut entries: Value,
    env: &Env<'_>,
) -> Result<(Value, Vec<Failure>), Vec<Lookup>> {
    let mut failures = Vec::new();
    for entry in entries.as_array_mut().into_iter().flatten() {
        let Some(fields) = entry.as_object_mut() else {
            continue;
        };
        let template: Map<String, Value> = list
            .texts
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), fields.get(*key)?.clone())))
            .filter(|(_, written)| written.as_str().is_some_and(|text| text.contains("${")))
            .collect();
        if !template.is_empty() {
            if let (Some(source), Some(written)) = (list.source, template.get(list.value)) {
                fields.entry(source).or_insert_with(|| written.clone());
            }
            let evaluated = evaluate_over(root, execution, Some(stage), &template.into(), env)?;
            match evaluated.value {
                Value::Object(values) if evaluated.failures.is_empty() => fields.extend(values),
                Value::Object(_)
                | Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => {}
            }
            failures.extend(evaluated.failures);
        }
        let (name, value) = (fields.get(list.name), fields.get(list.value));
        if let (Some(Value::String(name)), Some(value)) = (name, value) {
            root.insert(name.clone(), value.clone());
        }
    }
    Ok((entries, failures))
}

/// What is submitted, with the expressions in it evaluated that can be: all but the
/// stages, whose texts wait for their stage unless the pipeline asks for an evaluator
/// before `v4` (or for none). A text that cannot be evaluated yet stays as it is.
///
/// Differs from Spinnaker: `trigger.parentExecution` belongs to another execution
/// and is left as it is; look-ups wait for the stage.
pub(crate) fn at_submission(body: &Map<String, Value>, user: &str, now: i64) -> Map<String, Value> {
    submitted(body, user, now).0
}

/// The same, with what could not be evaluated.
pub(crate) fn submitted(
    body: &Map<String, Value>,
    user: &str,
    now: i64,
) -> (Map<String, Value>, Vec<Failure>) {
    let deferred = defers(body.get("spelEvaluator").and_then(Value::as_str));
    let kept = |key: &str| deferred && key == "stages";
    let mut asked = Map::new();
    for (key, value) in body.iter().filter(|(key, _)| !kept(key)) {
        asked.insert(key.clone(), value.clone());
    }
    let trigger = asked.get_mut("trigger").and_then(Value::as_object_mut);
    let parent = trigger.and_then(|trigger| trigger.shift_remove("parentExecution"));
    let asked = Value::Object(asked);
    if !has_template(&asked) {
        return (body.clone(), Vec::new());
    }
    let mut root = Map::new();
    for (key, value) in ["trigger", "templateVariables"]
        .into_iter()
        .filter_map(|key| Some((key, body.get(key)?)))
    {
        root.insert(key.to_owned(), value.clone());
    }
    let parameters = body.get("trigger").and_then(|t| t.get("parameters"));
    if let Some(parameters) = parameters {
        root.insert("parameters".to_owned(), parameters.clone());
    }
    let answers = Answers::new();
    let scope = Scope {
        root: &root,
        now_ms: now,
        answers: &answers,
        place: "submission",
    };
    let options = Options {
        unknown_names: false,
        user: Some(user),
        ..Options::default()
    };
    let mut evaluated = body.clone();
    let found = expression::evaluate_with(&asked, &scope, &options);
    if let Value::Object(fields) = found.value {
        evaluated.extend(fields);
    }
    let trigger = evaluated.get_mut("trigger").and_then(Value::as_object_mut);
    if let (Some(trigger), Some(parent)) = (trigger, parent) {
        trigger.insert("parentExecution".to_owned(), parent);
    }
    (evaluated, found.failures)
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
