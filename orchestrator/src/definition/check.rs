//! What a pipeline must satisfy to be saved: a pure function that names every
//! fault with its path.

use orchestrator_core::{MOST_STAGES, WINDOW, graph, kind_of as kind_of_stage};
use proto::status::FieldError;
use serde_json::{Map, Value};

use super::{kind_of, text};
use crate::notification::{address, plan};
use crate::stage;

/// Faults told at once; more would not be read.
const MOST_FAULTS: usize = 50;

/// A trigger's size: every event carries its own copy.
const MOST_TRIGGER_BYTES: usize = 64 * 1024;

/// What is known of the accounts there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    /// These, completely.
    Known(Vec<String>),
    /// Nobody could be asked.
    Unknown,
}

/// Texts of a pipeline's stages that hold `${` and are no expression. They stay as they
/// are written when the stage runs, which is what a script with `${VAR:-x}` wants and
/// what a mistyped expression does not.
pub fn doubtful_texts(pipeline: &Map<String, Value>) -> Vec<FieldError> {
    let mut doubts = Faults::default();
    let stages = pipeline.get("stages").and_then(Value::as_array);
    for (i, stage) in stages.into_iter().flatten().enumerate() {
        for (key, value) in stage.as_object().into_iter().flatten() {
            expressions(&format!("stages[{i}].{key}"), value, &mut doubts);
        }
    }
    doubts.0
}

/// Every fault of a pipeline; empty for one that may be saved.
pub fn check_pipeline(pipeline: &Map<String, Value>, accounts: &Accounts) -> Vec<FieldError> {
    let mut faults = Faults::default();
    for field in ["application", "name"] {
        if text(pipeline, field).is_none() {
            faults.add(field, "A pipeline requires name and application fields");
        }
    }
    for field in [
        "triggers",
        "parameterConfig",
        "expectedArtifacts",
        "notifications",
    ] {
        objects(pipeline, field, &mut faults);
    }
    notifications(pipeline, "notifications", plan::MOST, &mut faults);
    let triggers = pipeline.get("triggers").and_then(Value::as_array);
    for (i, trigger) in triggers.into_iter().flatten().enumerate() {
        let bytes = trigger.to_string().len();
        if bytes > MOST_TRIGGER_BYTES {
            let message =
                format!("it has {bytes} bytes, more than the {MOST_TRIGGER_BYTES} allowed");
            faults.add(&format!("triggers[{i}]"), &message);
        }
    }
    match pipeline.get("stages") {
        None => {}
        Some(Value::Array(stages)) => {
            let of_strategy = text(pipeline, "type").is_some_and(|kind| kind == "strategy");
            check_stages(stages, of_strategy, accounts, &mut faults);
        }
        Some(other) => faults.add("stages", &format!("it is {}; send a list", kind_of(other))),
    }
    faults.0
}

#[derive(Default)]
struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, path: &str, message: &str) {
        if self.0.len() < MOST_FAULTS {
            self.0.push(FieldError {
                path: path.to_owned(),
                message: message.to_owned(),
            });
        }
    }
}

/// A list of objects, if it is there at all.
fn objects(map: &Map<String, Value>, field: &str, faults: &mut Faults) {
    match map.get(field) {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) => {
            for (i, entry) in list.iter().enumerate().filter(|(_, e)| !e.is_object()) {
                let message = format!("it is {}; send an object", kind_of(entry));
                faults.add(&format!("{field}[{i}]"), &message);
            }
        }
        Some(other) => faults.add(field, &format!("it is {}; send a list", kind_of(other))),
    }
}

/// Notifications of a pipeline or stage: each must be one that can be sent.
fn notifications(map: &Map<String, Value>, path: &str, most: usize, faults: &mut Faults) {
    let Some(Value::Array(list)) = map.get("notifications") else {
        return;
    };
    if list.len() > most {
        let message = format!(
            "{} notifications are more than the {most} allowed",
            list.len()
        );
        faults.add(path, &message);
    }
    for (i, entry) in list.iter().enumerate() {
        if let Value::Object(entry) = entry {
            for fault in address::check(entry, &format!("{path}[{i}]")) {
                faults.add(&fault.path, &fault.message);
            }
        }
    }
}

fn check_stages(stages: &[Value], of_strategy: bool, accounts: &Accounts, faults: &mut Faults) {
    if stages.len() > MOST_STAGES {
        let message = format!(
            "{} stages are more than the {MOST_STAGES} allowed",
            stages.len()
        );
        faults.add("stages", &message);
        return;
    }
    let mut maps = Vec::with_capacity(stages.len());
    for (i, stage) in stages.iter().enumerate() {
        let path = format!("stages[{i}]");
        let Value::Object(stage) = stage else {
            faults.add(&path, &format!("it is {}; send an object", kind_of(stage)));
            continue;
        };
        check_stage(&path, stage, of_strategy, accounts, faults);
        maps.push(stage.clone());
    }
    // Paths count positions, so the graph is looked at only if every stage is one.
    if maps.len() == stages.len() {
        graph::number_stages(&mut maps);
        for fault in graph::check(&maps) {
            faults.add(&fault.path, &fault.message);
        }
    }
}

fn check_stage(
    path: &str,
    stage: &Map<String, Value>,
    of_strategy: bool,
    accounts: &Accounts,
    faults: &mut Faults,
) {
    let most = plan::MOST_OF_STAGE;
    notifications(stage, &format!("{path}.notifications"), most, faults);
    // An alias, if there is one, selects the definition.
    let field = if text(stage, "alias").is_some() {
        "alias"
    } else {
        "type"
    };
    let Some(written) = text(stage, field) else {
        faults.add(&format!("{path}.type"), "it is missing; name a stage type");
        return;
    };
    let kind = match field {
        "type" => kind_of_stage(stage),
        _ => written.to_owned(),
    };
    match stage::find(&kind) {
        None => {
            let message = format!("\"{kind}\" is no stage type; {}", stage::known_types());
            faults.add(&format!("{path}.{field}"), &message);
        }
        Some(found) => {
            // What a strategy deploys, the stage that runs it says.
            if !(of_strategy && kind == "deploy") {
                for fault in found.validate(stage, path) {
                    faults.add(&fault.path, &fault.message);
                }
            }
            if let Accounts::Known(known) = accounts {
                for (at, account) in found.accounts(stage) {
                    // One that an expression yields is known only when it runs.
                    if account.contains("${") || known.contains(&account) {
                        continue;
                    }
                    let message = format!(
                        "account \"{account}\" does not exist; known are {}",
                        known.join(", ")
                    );
                    faults.add(&format!("{path}.{at}"), &message);
                }
            }
        }
    }
    let restricted = match stage.get(WINDOW) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    if restricted {
        for fault in stage::restrict_execution_during_time_window::faults(stage, path) {
            faults.add(&fault.path, &fault.message);
        }
    }
    let condition = stage
        .get("stageEnabled")
        .and_then(|enabled| enabled.get("expression"));
    if let Some(Value::String(condition)) = condition
        && let Err(message) = stage::bare_expression(condition)
    {
        faults.add(&format!("{path}.stageEnabled.expression"), &message);
    }
}

fn expressions(path: &str, value: &Value, faults: &mut Faults) {
    match value {
        Value::String(template) if template.contains("${") => {
            if let Err(error) = expression::parse_check(template) {
                faults.add(path, &format!("it stays as it is written: {error}"));
            }
        }
        Value::Array(list) => {
            for (i, entry) in list.iter().enumerate() {
                expressions(&format!("{path}[{i}]"), entry, faults);
            }
        }
        Value::Object(map) => {
            for (key, entry) in map {
                expressions(&format!("{path}.{key}"), entry, faults);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(stages: Value) -> Vec<String> {
        let pipeline = json!({"application": "a", "name": "p", "stages": stages});
        let accounts = Accounts::Known(vec!["prod".into()]);
        let Value::Object(pipeline) = pipeline else {
            unreachable!()
        };
        let found = check_pipeline(&pipeline, &accounts);
        found
            .iter()
            .map(|f| format!("{}: {}", f.path, f.message))
            .collect()
    }

    fn wait(ref_id: &str, after: &[&str]) -> Value {
        json!({"type": "wait", "refId": ref_id, "requisiteStageRefIds": after, "waitTime": 0})
    }

    #[test]
    fn a_trigger_has_a_limit() {
        let trigger = json!({"type": "docker", "payload": "x".repeat(MOST_TRIGGER_BYTES)});
        let pipeline = json!({"application": "a", "name": "p", "triggers": [{}, trigger]});
        let Value::Object(pipeline) = pipeline else {
            unreachable!()
        };
        let found = check_pipeline(&pipeline, &Accounts::Unknown);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "triggers[1]");
    }

    #[test]
    fn every_fault_is_named_by_its_path() {
        for (stages, expected) in [
            (
                json!([wait("1", &["2"]), wait("2", &["1"])]),
                "stages[0].requisiteStageRefIds: stages wait for each other: 1 → 2 → 1",
            ),
            (
                json!([wait("0", &[]), wait("1", &["1"])]),
                "stages[1].requisiteStageRefIds: stages wait for each other: 1 → 1",
            ),
            (
                json!([{"type": "wait", "refId": "1", "restrictExecutionDuringTimeWindow": "true"}]),
                "stages[0].restrictedExecutionWindow: Incorrect time windows specified",
            ),
            (
                json!([{"type": "wait", "refId": "1", "restrictExecutionDuringTimeWindow": true,
                    "restrictedExecutionWindow": {"days": [9], "jitter": {"enabled": true, "maxDelay": -1}}}]),
                "stages[0].restrictedExecutionWindow.days[0]: 9 is no day of the week",
            ),
            (
                json!([{"type": "wait", "refId": "1",
                    "stageEnabled": {"type": "expression", "expression": "1 +"}}]),
                "stages[0].stageEnabled.expression: bad expression",
            ),
            (
                json!([{"type": "checkPreconditions", "refId": "1", "preconditions": [
                    {"type": "expression", "context": {"expression": "a ("}}]}]),
                "stages[0].preconditions[0].context.expression: bad expression",
            ),
            (
                json!([{"type": "destroyServerGroup", "refId": "1", "target": "t", "region": "r"}]),
                "stages[0].account: it is missing",
            ),
            (
                json!([{"type": "resizeServerGroup", "refId": "1", "account": "prod", "region": "r"}]),
                "stages[0].target: neither serverGroupName nor target is set",
            ),
            (
                json!([{"type": "createServerGroup", "refId": "1", "account": "prod"}]),
                "stages[0].region: it is missing",
            ),
            (
                json!([{"type": "deploy", "refId": "1", "account": "nowhere", "clusters": [{"region": "r"}]}]),
                "stages[0].account: account \"nowhere\" does not exist",
            ),
            (
                json!([{"type": "deploy", "refId": "1", "clusters": []}]),
                "stages[0].clusters: it is empty",
            ),
            (
                json!([{"type": "wait", "providerType": "moon", "refId": "1"}]),
                "stages[0].type: \"wait_moon\" is no stage type",
            ),
            (
                json!([wait("1", &["9"])]),
                "stages[0].requisiteStageRefIds[0]: \"9\" is no stage's refId",
            ),
            (
                json!([wait("1", &[]), wait("1", &[])]),
                "stages[1].refId: \"1\" is stages[0]'s already",
            ),
            (
                json!([{"type": "teleport", "refId": "1"}]),
                "stages[0].type: \"teleport\" is no stage type",
            ),
            (json!([{"refId": "1"}]), "stages[0].type: it is missing"),
            (json!(["wait"]), "stages[0]: it is a string; send an object"),
            (json!({}), "stages: it is an object; send a list"),
            (
                json!([{"type": "deploy", "refId": "1", "clusters": [{"account": "nowhere"}]}]),
                "stages[0].clusters[0].account: account \"nowhere\" does not exist; known are prod",
            ),
            (
                json!([wait("1", &[]), {"type": "wait"}]),
                "stages[1].refId: is missing",
            ),
        ] {
            let found = faults(stages);
            assert!(
                found.iter().any(|f| f.starts_with(expected)),
                "{expected}: {found:?}"
            );
        }
    }

    #[test]
    fn a_text_that_is_no_expression_may_be_saved_and_is_told() {
        let stages = json!([{"type": "wait", "refId": "1", "command": "echo ${VAR:-x} ${1}",
            "a": {"b": ["${1 + }", "${#nope()}", "${1 + 1}"]}}]);
        assert_eq!(faults(stages.clone()), [""; 0]);
        let pipeline = json!({"stages": stages});
        let told = doubtful_texts(pipeline.as_object().unwrap());
        let paths: Vec<&str> = told.iter().map(|doubt| doubt.path.as_str()).collect();
        assert_eq!(
            paths,
            ["stages[0].command", "stages[0].a.b[0]", "stages[0].a.b[1]"]
        );
        assert!(told[0].message.starts_with("it stays as it is written: "));
    }

    #[test]
    fn a_faultless_pipeline_has_no_faults() {
        assert_eq!(
            faults(json!([
                wait("1", &[]),
                wait("2", &["1"]),
                wait("3", &["1", "2"])
            ])),
            [""; 0]
        );
        assert_eq!(faults(json!([{"type": "wait"}, {"type": "wait"}])), [""; 0]);
        for times in [
            json!({"whitelist": [{"startHour": 22, "endHour": 5}], "days": [1, 7]}),
            json!({"whitelist": "${parameters.hours}"}),
        ] {
            let stage = json!({"type": "wait", "restrictExecutionDuringTimeWindow": true,
                "restrictedExecutionWindow": times});
            assert_eq!(faults(json!([stage])), [""; 0]);
        }
    }
}
