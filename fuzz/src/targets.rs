//! Readers of what users write, fed with anything: they must neither panic nor run on, and must say the same twice.

use expression::{Answers, Options, Scope};
use orchestrator_core::testing::CountedIds;
use orchestrator_core::{
    Execution, ExecutionId, ExecutionType, application_of, graph, new_execution, template,
};
use serde_json::{Map, Value, json};

/// A time for everything that asks for one.
const NOW_MS: i64 = 1_795_480_000_000;

/// The text of a context's value, evaluated in a small execution.
pub fn expression(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let execution = json!({
        "id": "E", "application": "a", "name": "p", "type": "PIPELINE", "status": "RUNNING",
        "trigger": {"type": "manual", "user": "ann", "parameters": {"n": "7", "list": [1, 2.5, null, "x"]}},
        "stages": [{
            "id": "S1", "refId": "1", "name": "one", "type": "wait", "status": "SUCCEEDED",
            "context": {"waitTime": 1, "deep": {"list": [{"a": 1}, {"a": 2}]}}, "outputs": {"out": "é"},
        }],
    });
    let mut root = Map::new();
    root.insert(
        "parameters".to_owned(),
        execution["trigger"]["parameters"].clone(),
    );
    root.insert("trigger".to_owned(), execution["trigger"].clone());
    root.insert("execution".to_owned(), execution);
    let answers = Answers::new();
    let scope = Scope {
        root: &root,
        now_ms: NOW_MS,
        answers: &answers,
        place: "E/S1",
    };
    let template = Value::from(text.as_ref());
    let once = expression::evaluate(&template, &scope);
    assert_eq!(
        once,
        expression::evaluate(&template, &scope),
        "evaluated twice"
    );
    let _ = expression::parse_check(&text);
    let strict = Options {
        unknown_names: false,
        ..Options::default()
    };
    let _ = expression::evaluate_with(&template, &scope, &strict);
    let _ = expression::parse(&text);
}

/// A pipeline as somebody posts it: read, checked, planned from a template, begun, written and read again.
pub fn pipeline(data: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let stages = body.get("stages").and_then(Value::as_array);
    let stages: Vec<_> = stages
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .cloned()
        .collect();
    assert_eq!(
        graph::check(&stages),
        graph::check(&stages),
        "checked twice"
    );
    if let Some(config) = body.as_object() {
        let _ = application_of(config);
        let _ = template::is_configuration(config);
        let _ = template::reference(config);
        let own = body
            .get("template")
            .and_then(Value::as_object)
            .unwrap_or(config);
        if let Ok(planned) = template::plan(config, own) {
            let _ = template::evaluated(&planned, "ann", NOW_MS);
        }
    }
    for kind in [ExecutionType::Pipeline, ExecutionType::Orchestration] {
        let begin = || {
            new_execution(
                kind,
                &body,
                ExecutionId::new("E"),
                "ann",
                NOW_MS,
                &mut CountedIds::default(),
            )
        };
        let (Ok((execution, messages)), Ok(again)) = (begin(), begin()) else {
            continue;
        };
        assert!(
            (&execution, &messages) == (&again.0, &again.1),
            "begun twice"
        );
        let header = execution.header_json().to_string();
        let read = Execution::from_parts(&header, execution.stages.iter().cloned().collect());
        assert_eq!(
            read.map(|read| read.to_json()),
            Ok(execution.to_json()),
            "written and read"
        );
    }
}
