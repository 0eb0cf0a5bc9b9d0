//! Why an execution or a stage failed: the root cause first, then where it happened,
//! then what followed from it. A pure, total function over the execution.
//!
//! The root is the failure that came first: of all stages that failed, synthetic ones
//! included, the one whose failed task (or whose own planning) ended earliest. What
//! came later (a rollback that failed too, the parent's summary) is told behind it.

use orchestrator_core::{Execution, Stage, Status, context};
use serde_json::{Map, Value};

/// A line is no longer, in characters.
const LONGEST: usize = 400;
/// Lines behind the first.
const MOST: usize = 8;

/// Texts that say only that something failed.
const EMPTY_WORDS: [&str; 10] = [
    "unexpected task failure",
    "unexpected task status",
    "failed expression evaluation",
    "precondition failed",
    "orchestration failed",
    "task failed",
    "stage failed",
    "failed",
    "error",
    "no reason provided.",
];

/// What begins an error of a child pipeline, up to the place in parentheses.
const CHILD: &str = "Exception in child pipeline stage (";

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// The cause, one line.
    pub first: String,
    /// Where: `stage Deploy › Create shop-prod, task waitForUpInstances`.
    pub place: String,
    /// Further lines: what the failing part said beside it, what failed later.
    pub more: Vec<String>,
}

impl Cause {
    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        let mut all = vec![self.first.clone()];
        if !self.place.is_empty() {
            all.push(format!("in {}", self.place));
        }
        all.extend(self.more.iter().cloned());
        all
    }
}

/// Why the execution ended as it did; none for one that did not fail.
pub fn of_execution(execution: &Execution) -> Option<Cause> {
    let found = match execution.status {
        Status::Terminal | Status::Stopped | Status::FailedContinue | Status::Canceled => {
            roots(execution, &execution.stages.iter().collect::<Vec<_>>())
        }
        _ => return None,
    };
    // Somebody's wish comes before whatever their wish made fail.
    if execution.status == Status::Canceled {
        let mut cause = canceled(execution);
        cause.more.extend(found.into_iter().flat_map(|c| c.lines()));
        cause.more.truncate(MOST);
        return Some(cause);
    }
    if let Some(failure) = execution
        .failure
        .as_deref()
        .filter(|f| !f.trim().is_empty())
    {
        return Some(Cause {
            first: line(failure),
            place: "the start of the execution".to_owned(),
            more: Vec::new(),
        });
    }
    if found.is_none() && execution.canceled {
        return Some(canceled(execution));
    }
    Some(found.unwrap_or_else(|| Cause {
        first: format!("it ended {} and no stage says why", execution.status),
        ..Cause::default()
    }))
}

/// Why a stage ended as it did, whatever the execution does; none for one that did not fail.
pub fn of_stage(execution: &Execution, stage: &Stage) -> Option<Cause> {
    let below = execution.descendants(&stage.id);
    let stages: Vec<&Stage> = std::iter::once(stage)
        .chain(below.iter().filter_map(|id| execution.stage(id)))
        .collect();
    if !fails(stage) && stage.status != Status::Canceled {
        return None;
    }
    if stage.status == Status::Canceled && execution.canceled {
        return Some(canceled(execution));
    }
    roots(execution, &stages)
}

fn canceled(execution: &Execution) -> Cause {
    let by = execution.canceled_by.as_deref().unwrap_or("somebody");
    let first = match execution.cancellation_reason.as_deref().map(str::trim) {
        Some(reason) if !reason.is_empty() => format!("canceled by {by}: {reason}"),
        _ => format!("canceled by {by}"),
    };
    Cause {
        first: line(&first),
        ..Cause::default()
    }
}

fn fails(stage: &Stage) -> bool {
    matches!(
        stage.status,
        Status::Terminal | Status::Stopped | Status::FailedContinue
    )
}

/// The first of the failures among these stages, the others behind it.
fn roots(execution: &Execution, stages: &[&Stage]) -> Option<Cause> {
    // A stage whose failure was accepted is a cause only if there is no other.
    let halting: Vec<&Stage> = stages
        .iter()
        .copied()
        .filter(|s| fails(s) && s.status != Status::FailedContinue)
        .collect();
    let failed = if halting.is_empty() {
        stages.iter().copied().filter(|s| fails(s)).collect()
    } else {
        halting
    };
    let mut found: Vec<(i64, u8, usize, &Stage)> = failed
        .iter()
        .enumerate()
        .map(|(i, stage)| {
            let (at, rank) = instant(execution, stage);
            (at, rank, i, *stage)
        })
        .collect();
    found.sort_by_key(|(at, rank, i, _)| (*at, *rank, *i));
    let mut causes: Vec<Cause> = Vec::new();
    let mut silent = None;
    for (.., stage) in found {
        match of_one(execution, stage) {
            Some(cause) if causes.iter().any(|c| says(c, &cause.first)) => {}
            Some(cause) => causes.push(cause),
            None => {
                silent.get_or_insert(stage);
            }
        }
    }
    let mut causes = causes.into_iter();
    let Some(mut first) = causes.next() else {
        return silent.map(|stage| Cause {
            first: match (condition(stage), failed_task(stage)) {
                (Some(condition), _) => condition,
                (None, Some(task)) => {
                    format!("task {task} ended {} without a reason", stage.status)
                }
                (None, None) => format!("{} ended {} without a reason", named(stage), stage.status),
            },
            place: place(execution, stage),
            more: Vec::new(),
        });
    };
    for later in causes {
        first
            .more
            .push(line(&format!("then: {} ({})", later.first, later.place)));
    }
    first.more.truncate(MOST);
    Some(first)
}

fn says(cause: &Cause, text: &str) -> bool {
    cause.first == text || cause.more.iter().any(|m| m == text)
}

/// When a stage failed by itself, and how little that says: its failed task, else its end,
/// where what it planned comes before itself.
fn instant(execution: &Execution, stage: &Stage) -> (i64, u8) {
    let task = stage
        .tasks
        .iter()
        .filter(|t| {
            matches!(
                t.status,
                Status::Terminal | Status::Stopped | Status::FailedContinue
            )
        })
        .filter_map(|t| t.end_time)
        .min();
    let end = stage.end_time.unwrap_or(i64::MAX);
    if let Some(task) = task {
        return (task, 0);
    }
    let planned = execution.synthetics(&stage.id, None).any(fails);
    (end, if planned { 2 } else { 1 })
}

fn failed_task(stage: &Stage) -> Option<&str> {
    let failed = stage.tasks.iter().find(|t| {
        matches!(
            t.status,
            Status::Terminal | Status::Stopped | Status::FailedContinue
        )
    });
    failed.map(|t| t.name.as_str())
}

/// What a `checkPreconditions` stage found not to hold, where its author gave no message.
fn condition(stage: &Stage) -> Option<String> {
    let own = stage.context.get("context")?;
    let text = |key: &str| own.get(key).and_then(Value::as_str);
    let (asked, found) = (text("expression")?, text("expressionResult")?);
    Some(line(&format!(
        "the condition {asked} does not hold: it is {found}"
    )))
}

fn named(stage: &Stage) -> &str {
    if stage.name.is_empty() {
        &stage.kind
    } else {
        &stage.name
    }
}

/// `stage A › B, task t`, from the user's stage down.
fn place(execution: &Execution, stage: &Stage) -> String {
    let mut names = vec![named(stage)];
    let mut at = stage;
    for _ in 0..execution.stages.len() {
        match at.parent_stage_id.as_ref().and_then(|p| execution.stage(p)) {
            Some(parent) => {
                names.push(named(parent));
                at = parent;
            }
            None => break,
        }
    }
    names.reverse();
    let mut text = format!("stage {}", names.join(" › "));
    if let Some(task) = failed_task(stage) {
        text.push_str(&format!(", task {task}"));
    }
    text
}

fn of_one(execution: &Execution, stage: &Stage) -> Option<Cause> {
    let mut lines = told(stage).into_iter();
    let mut first = lines.next()?;
    let mut place = place(execution, stage);
    // The child's error, and the child as its place.
    while let Some(rest) = first.strip_prefix(CHILD) {
        let Some((child, error)) = rest.split_once("): ") else {
            break;
        };
        place.push_str(&format!(" › child pipeline {child}"));
        first = error.to_owned();
    }
    if let Some(seen) = seen(stage, &first) {
        first = seen;
    }
    let rest: Vec<String> = lines.clone().collect();
    if let Some(logged) = logged(&first, &rest) {
        first = format!("{logged}: {first}");
    }
    let more = lines.filter(|m| *m != first).take(MOST).collect();
    Some(Cause {
        first: line(&first),
        place,
        more,
    })
}

/// What an instance that died or never became healthy said itself, which tells more
/// than that it did: the first line of its log that reads like a failure.
fn logged<'a>(first: &str, rest: &'a [String]) -> Option<&'a str> {
    const WORDS: [&str; 12] = [
        "already in use",
        "error",
        "panic",
        "exception",
        "cannot",
        "could not",
        "denied",
        "not found",
        "no such",
        "refused",
        "out of memory",
        "fatal",
    ];
    if !first.contains(" died: ") && !first.contains(" did not become healthy ") {
        return None;
    }
    let line = rest.iter().find(|line| {
        let line = line.to_lowercase();
        WORDS.iter().any(|word| line.contains(word))
    })?;
    Some(
        line.split_once(" log line: ")
            .map_or(line.as_str(), |(_, l)| l),
    )
}

/// What a task that waited in vain saw last, put before the fact that its time was over.
fn seen(stage: &Stage, first: &str) -> Option<String> {
    if !first.contains(" timed out after ") {
        return None;
    }
    let over = first.split(". pausedDuration").next().unwrap_or(first);
    let context = &stage.context;
    if let Some(check) = context.get("lastCapacityCheck").filter(|c| c.is_object()) {
        let number = |key: &str| check.get(key).and_then(Value::as_i64);
        let up = number("up").or_else(|| number("current"));
        let wanted = number("targetDesiredSize").or_else(|| number("wanted"));
        if let (Some(up), Some(wanted)) = (up, wanted) {
            let down = number("down").unwrap_or(0);
            return Some(format!(
                "{up} of {wanted} instances came up, {down} are down: {over}"
            ));
        }
    }
    let monitor = context.get("webhook").and_then(|w| w.get("monitor"));
    let polled = monitor.and_then(|m| word(m, "error").or_else(|| word(m, "progressMessage")));
    if let Some(polled) = polled {
        return Some(format!("{polled}: {over}"));
    }
    if let Some(state) = monitor.and_then(|m| word(m, "resolvedValue")) {
        return Some(format!("it was still {state}: {over}"));
    }
    let last = context.get("kato.task.lastStatus").and_then(Value::as_str);
    if let Some(last) = last.filter(|l| !l.is_empty() && *l != "RUNNING") {
        return Some(format!("{last}: {over}"));
    }
    Some(over.to_owned())
}

fn word<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    let text = value.get(key)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

/// Everything a stage says about its failure, the most telling first, without repeats.
fn told(stage: &Stage) -> Vec<String> {
    let context = &stage.context;
    let mut told = Told::default();
    let mut add = |text: &str| told.add(text);
    if let Some(judged) = judgment(stage) {
        add(&judged);
    }
    for task in &stage.tasks {
        if let Some(exception) = task.task_exception_details.get("exception") {
            exception_texts(exception, &mut add);
        }
    }
    if let Some(webhook) = webhook(context) {
        add(&webhook);
    }
    for operation in list(context, "kato.tasks") {
        if let Some(exception) = operation.get("exception").filter(|e| e.is_object()) {
            exception_texts(exception, &mut add);
        }
    }
    if let Some(exception) = context.get("exception") {
        exception_texts(exception, &mut add);
    }
    for description in context::failure_descriptions(context) {
        add(&description);
    }
    for key in ["failureMessage", "errorMsg", "errorMessage", "error"] {
        if let Some(text) = context.get(key).and_then(Value::as_str) {
            add(text);
        }
    }
    for saved in list(context, "bulksave.pipelines_failed") {
        if let Some(text) = word(saved, "errorMsg") {
            add(text);
        }
    }
    // What only names a result counts if nothing said why.
    if told.all.is_empty()
        && let Some(result) = build(context).or_else(|| child(context))
    {
        told.add(&result);
    }
    told.all.extend(told.wrapping);
    told.all
}

/// Texts in the order of their worth.
#[derive(Default)]
struct Told {
    all: Vec<String>,
    wrapping: Vec<String>,
}

impl Told {
    fn add(&mut self, text: &str) {
        for text in text.lines().map(str::trim).filter(|t| !t.is_empty()) {
            let text = line(text);
            if EMPTY_WORDS.contains(&text.to_lowercase().as_str()) {
                continue;
            }
            let list = if wraps(&text) {
                &mut self.wrapping
            } else {
                &mut self.all
            };
            if !list.contains(&text) {
                list.push(text);
            }
        }
    }
}

/// Whether a text only wraps another one that is told too.
fn wraps(text: &str) -> bool {
    let text = text.to_lowercase();
    text.starts_with("the following stages failed") || text.starts_with("operation failed")
}

fn list<'a>(context: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    let found = context.get(key).or_else(|| {
        let (outer, inner) = key.split_once('.')?;
        context.get(outer)?.get(inner)
    });
    found.and_then(Value::as_array).into_iter().flatten()
}

fn exception_texts(exception: &Value, add: &mut impl FnMut(&str)) {
    let details = exception.get("details");
    let errors = details
        .and_then(|d| d.get("errors"))
        .and_then(Value::as_array);
    for error in errors.into_iter().flatten() {
        match error {
            Value::String(text) => add(without_class(text)),
            Value::Object(_) => {
                if let Some(text) = word(error, "message") {
                    add(without_class(text));
                }
            }
            _ => {}
        }
    }
    for text in [
        word(exception, "message"),
        details.and_then(|d| word(d, "error")),
        details.and_then(Value::as_str),
        exception.as_str(),
    ]
    .into_iter()
    .flatten()
    {
        add(without_class(text));
    }
    for line in details.and_then(Value::as_array).into_iter().flatten() {
        if let Some(text) = line.as_str() {
            add(text);
        }
    }
}

/// A text without the name of a Java class before it: imported histories have such.
fn without_class(text: &str) -> &str {
    match text.split_once(": ") {
        Some((class, rest))
            if class.contains('.')
                && !class.contains([' ', '/'])
                && (class.ends_with("Exception") || class.ends_with("Error")) =>
        {
            rest
        }
        _ => text,
    }
}

fn judgment(stage: &Stage) -> Option<String> {
    if stage.kind != "manualJudgment" {
        return None;
    }
    let status = stage.context.get("judgmentStatus")?.as_str()?;
    if !status.eq_ignore_ascii_case("stop") {
        return None;
    }
    let by = stage
        .last_modified
        .as_ref()
        .and_then(|m| word(m, "user"))
        .or_else(|| stage.context.get("lastModifiedBy")?.as_str())
        .unwrap_or("somebody");
    let input = stage.context.get("judgmentInput").and_then(Value::as_str);
    Some(match input.map(str::trim).filter(|i| !i.is_empty()) {
        Some(input) => format!("stopped by {by}: {input}"),
        None => format!("stopped by {by}"),
    })
}

fn webhook(context: &Map<String, Value>) -> Option<String> {
    let webhook = context.get("webhook").filter(|w| w.is_object())?;
    let monitor = webhook.get("monitor");
    let endpoint = context
        .get("statusEndpoint")
        .filter(|_| monitor.is_some())
        .or_else(|| context.get("url"))
        .and_then(Value::as_str)
        .map(without_query)
        .unwrap_or("the webhook");
    let part = monitor.unwrap_or(webhook);
    let code = part.get("statusCodeValue").and_then(Value::as_i64);
    let error = word(part, "error").or_else(|| word(webhook, "error"));
    let body = part.get("body").filter(|b| !b.is_null()).map(|b| match b {
        Value::String(text) => text.trim().to_owned(),
        other => word(other, "error")
            .or_else(|| word(other, "message"))
            .map_or_else(|| other.to_string(), ToOwned::to_owned),
    });
    let body = body.filter(|b| !b.is_empty());
    if let Some(code) = code.filter(|c| *c >= 400) {
        let said = body.map_or(String::new(), |b| format!(": {b}"));
        return Some(format!("{endpoint} answered {code}{said}"));
    }
    if let Some(error) = error {
        // Behind the address is what happened to the request.
        let after = error.split_once(" performing a request to ");
        let cause = after.and_then(|(_, rest)| Some(rest.split_once(". ")?.1.trim()));
        return Some(cause.filter(|c| !c.is_empty()).unwrap_or(error).to_owned());
    }
    let state = monitor.and_then(|m| word(m, "resolvedValue"))?;
    Some(format!("{endpoint} ended with {state}"))
}

/// What lies behind `?` may be a secret.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// A build of a CI server (`orca: JenkinsStage`).
fn build(context: &Map<String, Value>) -> Option<String> {
    let info = context.get("buildInfo")?;
    let result = word(info, "result").filter(|r| *r != "SUCCESS")?;
    let name = word(info, "name")
        .or_else(|| context.get("job")?.as_str())
        .unwrap_or("the build");
    let number = info.get("number").and_then(Value::as_i64);
    let number = number.map_or(String::new(), |n| format!(" #{n}"));
    Some(format!("build {name}{number} ended with {result}"))
}

fn child(context: &Map<String, Value>) -> Option<String> {
    let name = context
        .get("executionName")
        .or_else(|| context.get("pipelineName"))?
        .as_str()?;
    let status = context.get("status").and_then(Value::as_str)?;
    Some(format!("child pipeline {name} ended with {status}"))
}

/// One line of bearable length.
fn line(text: &str) -> String {
    let one = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if one.chars().count() <= LONGEST {
        return one;
    }
    one.chars().take(LONGEST - 1).chain(['…']).collect()
}
