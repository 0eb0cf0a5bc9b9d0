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
use crate::flow::referred_parent;
use crate::outcome::{Lookup, LookupRequest};
use crate::stage::Stage;

/// What expressions call the execution that started this one.
const WORD: &str = "parentExecution";
/// The answer that is the execution which started this one.
pub const PARENT: &str = "parent-execution";

/// The key under which failures are kept.
pub const SUMMARY: &str = "expressionEvaluationSummary";

/// Names an expression can use: the stage's context if there is a stage, and of a
/// pipeline `execution`, `trigger`, `parameters`.
pub fn scope_root(execution: &Execution, stage: Option<&Stage>) -> Map<String, Value> {
    root(execution, stage, true)
}

/// The same, the execution itself left out unless it is looked at: writing out one of many
/// stages takes longer than all the rest.
fn root(execution: &Execution, stage: Option<&Stage>, whole: bool) -> Map<String, Value> {
    let mut root = stage.map(|stage| stage.context.clone()).unwrap_or_default();
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
        if whole {
            root.insert("execution".to_owned(), execution.to_json());
        }
        if !execution.template_variables.is_empty() {
            let variables = Value::Object(execution.template_variables.clone());
            root.insert("templateVariables".to_owned(), variables);
        }
    }
    root
}

/// Whether a template may look at the execution: by its name, or by what gives the root
/// as a whole, which takes a function, a method or a bracket.
fn sees_execution(template: &Value) -> bool {
    let sees = |text: &str| {
        text.contains("${")
            && (text.contains(['#', '(', '['])
                || text.contains("execution")
                || text.contains("deployedServerGroups"))
    };
    match template {
        Value::String(text) => sees(text),
        Value::Array(items) => items.iter().any(sees_execution),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| sees(key) || sees_execution(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What a stage's ancestors put out, nearest first: names that hold where its context
/// has no such key, and that `#root` does not show.
fn inherited(execution: &Execution, stage: &Stage) -> Map<String, Value> {
    let mut names = Map::new();
    for ancestor in execution.ancestors(stage) {
        for (key, value) in &ancestor.outputs {
            names.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    names
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

/// The names that some texts can use, with the whole of the execution that started this
/// one if they speak of it: what is kept of it here is a reference.
fn scope_for(
    execution: &Execution,
    stage: Option<&Stage>,
    written: &[&Value],
    env: &Env<'_>,
) -> Result<Map<String, Value>, Vec<Lookup>> {
    let whole = written.iter().any(|value| sees_execution(value));
    let mut root = root(execution, stage, whole);
    let Some(parent) = referred_parent(execution.trigger.fields()) else {
        return Ok(root);
    };
    if !written.iter().any(|value| mentions(value, WORD)) {
        return Ok(root);
    }
    let Some(answer) = env.answers.get(PARENT) else {
        let request = LookupRequest::Execution(parent.to_owned());
        let key = PARENT.to_owned();
        return Err(vec![Lookup { key, request }]);
    };
    // One that is gone stays the reference it is.
    if let Some(parent) = answer
        .as_ref()
        .ok()
        .and_then(|t| serde_json::from_str::<Value>(t).ok())
    {
        for trigger in ["/trigger", "/execution/trigger"] {
            let place = Value::Object(std::mem::take(&mut root));
            root = with_parent(place, trigger, &parent);
        }
    }
    Ok(root)
}

fn with_parent(mut root: Value, place: &str, parent: &Value) -> Map<String, Value> {
    let trigger = root.pointer_mut(place).and_then(Value::as_object_mut);
    if let Some(trigger) = trigger {
        trigger.insert("parentExecution".to_owned(), parent.clone());
    }
    match root {
        Value::Object(root) => root,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

/// Whether an expression in a pipeline may ask for the execution that started it.
pub fn speaks_of_parent(pipeline: &Map<String, Value>) -> bool {
    pipeline
        .values()
        .any(|value| has_template(value) && mentions(value, WORD))
}

/// Whether a word is in any text of a value.
fn mentions(value: &Value, word: &str) -> bool {
    match value {
        Value::String(text) => text.contains(word),
        Value::Array(items) => items.iter().any(|item| mentions(item, word)),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.contains(word) || mentions(value, word)),
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
    let root = scope_for(execution, stage, &[value], env)?;
    evaluate_over(&root, execution, stage, value, env)
}

/// Evaluates a text as somebody tries it out: at a stage, but not as one that runs.
///
/// # Errors
/// The look-ups it needs first.
pub fn try_out(
    execution: &Execution,
    stage: Option<&Stage>,
    text: &str,
    user: &str,
    env: &Env<'_>,
) -> Result<Evaluated, Vec<Lookup>> {
    let template = json!({ "expression": text });
    let root = scope_for(execution, stage, &[&template], env)?;
    let options = Options {
        user: Some(user),
        ..Options::default()
    };
    let mut evaluated = evaluate_with(&root, execution, stage, &template, env, options)?;
    evaluated.value = evaluated
        .value
        .get_mut("expression")
        .map(Value::take)
        .unwrap_or_default();
    Ok(evaluated)
}

fn evaluate_over(
    root: &Map<String, Value>,
    execution: &Execution,
    stage: Option<&Stage>,
    value: &Value,
    env: &Env<'_>,
) -> Result<Evaluated, Vec<Lookup>> {
    let options = Options {
        current_stage: stage.map(|s| s.id.as_str()),
        user: Some(execution.user()),
        ..Options::default()
    };
    evaluate_with(root, execution, stage, value, env, options)
}

fn evaluate_with(
    root: &Map<String, Value>,
    execution: &Execution,
    stage: Option<&Stage>,
    value: &Value,
    env: &Env<'_>,
    options: Options<'_>,
) -> Result<Evaluated, Vec<Lookup>> {
    let place = stage.map_or_else(
        || "execution".to_owned(),
        |s| format!("{}/{}", s.id, s.attempt),
    );
    let names = stage.map(|stage| inherited(execution, stage));
    let scope = Scope {
        root,
        now_ms: env.now,
        answers: env.answers,
        place: &place,
    };
    let options = Options {
        fallback: names.as_ref(),
        longest: Some(env.settings.longest_expression),
        ..options
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

/// A context after evaluation; none if it stays as it is.
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
        list.waits(value).then_some((list, value))
    });
    if one_by_one.is_none() && !has_template(&asked) {
        if !stage.context.contains_key(SUMMARY) {
            return Ok(None);
        }
        // What failed once and is no template any more has not failed.
        let mut context = stage.context.clone();
        context.shift_remove(SUMMARY);
        return Ok(Some(context));
    }
    let mut written = vec![&asked];
    written.extend(one_by_one.map(|(_, value)| value));
    let mut root = scope_for(execution, Some(stage), &written, env)?;
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
    /// What failures call the value.
    told: &'static str,
    /// Whether a value is kept as it was written, so that a restart evaluates it again.
    noted: bool,
}

static LISTS: [List; 2] = [
    List {
        key: "variables",
        name: "key",
        value: "value",
        told: "var",
        noted: true,
    },
    List {
        key: "artifactContents",
        name: "name",
        value: "contents",
        told: "contents",
        noted: false,
    },
];

impl List {
    /// Whether there is something to evaluate or to note.
    fn waits(&self, entries: &Value) -> bool {
        let done = |entry: &Value| {
            entry.get(self.value).is_none_or(|value| !value.is_string())
                || entry.get(SOURCE).is_some()
        };
        let list = entries.as_array();
        let mut list = list.into_iter().flatten();
        has_template(entries) || self.noted && list.any(|entry| !done(entry))
    }
}

/// Where a variable keeps its value as it was written.
pub const SOURCE: &str = "sourceValue";

/// A text that is to be kept as it was written, so that nothing evaluates it again.
pub fn source_of(written: &str) -> String {
    written.replace("${", "{")
}

/// Entries one by one: each whose value is a text sees those before it that were evaluated.
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
        let Some(Value::String(written)) = fields.get(list.value).cloned() else {
            continue;
        };
        if list.noted {
            note_source(fields, &written);
        }
        // Failures are told under these names.
        let mut template = Map::new();
        template.insert(list.told.to_owned(), written.into());
        if let Some(Value::String(description)) = fields.get(DESCRIPTION) {
            template.insert(DESCRIPTION.to_owned(), description.clone().into());
        }
        let evaluated = evaluate_over(root, execution, Some(stage), &template.into(), env)?;
        if !evaluated.failures.is_empty() {
            failures.extend(evaluated.failures);
            continue;
        }
        let Value::Object(mut found) = evaluated.value else {
            continue;
        };
        if let Some(description) = found.shift_remove(DESCRIPTION) {
            fields.insert(DESCRIPTION.to_owned(), description);
        }
        let value = found.shift_remove(list.told).unwrap_or_default();
        if let Some(Value::String(name)) = fields.get(list.name) {
            root.insert(name.clone(), value.clone());
        }
        fields.insert(list.value.to_owned(), value);
    }
    Ok((entries, failures))
}

/// What is said of an entry, which may be a template too.
const DESCRIPTION: &str = "description";

/// Keeps a value as it was written, once.
fn note_source(fields: &mut Map<String, Value>, written: &str) {
    if fields.contains_key(SOURCE) {
        return;
    }
    let source = source_of(written);
    // A brace that was no expression's could not be told from one that was.
    if source.replace('{', "${") != written {
        fields.insert(SOURCE_TEXT.to_owned(), written.into());
    }
    fields.insert(SOURCE.to_owned(), source.into());
}

/// Where a variable keeps it whole if [`SOURCE`] does not tell it.
pub const SOURCE_TEXT: &str = "sourceText";

/// A variable as it was written, before it is evaluated again.
pub fn restore_source(variable: &mut Map<String, Value>) {
    let source = variable.shift_remove(SOURCE);
    let whole = variable.shift_remove(SOURCE_TEXT);
    let written = match (whole, source) {
        (Some(whole), _) => Some(whole),
        (None, Some(Value::String(source))) => Some(source.replace('{', "${").into()),
        (None, other) => other,
    };
    if let Some(written) = written {
        variable.insert("value".to_owned(), written);
    }
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

/// The same, with what could not be evaluated. The trigger of a pipeline that another
/// one starts is evaluated against itself first.
pub(crate) fn submitted(
    body: &Map<String, Value>,
    user: &str,
    now: i64,
) -> (Map<String, Value>, Vec<Failure>) {
    let child = body
        .get("trigger")
        .filter(|trigger| trigger.get("parentExecution").is_some());
    let Some(trigger) = child else {
        return in_one_pass(body, user, now);
    };
    let alone: Map<String, Value> = [("trigger".to_owned(), trigger.clone())]
        .into_iter()
        .collect();
    let mut prepared = body.clone();
    // What fails fails again with the pipeline around it, and is told then.
    prepared.extend(in_one_pass(&alone, user, now).0);
    in_one_pass(&prepared, user, now)
}

fn in_one_pass(
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
