//! What is asked for meanwhile: pipelines of every form, and somebody who answers what they ask.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};
use tests::eventually;
use tests::fixture::{pipeline, stage};
use tests::gate::{self, Gate, outline};
use tests::sink::{Delivery, Reply, Sink};

/// The application of all of them.
pub(crate) const APPLICATION: &str = "chaos";
/// The pipelines that are started, in turn.
pub(crate) const KINDS: [&str; 10] = [
    "chain", "join", "busy", "parent", "limited", "judged", "branches", "failing", "waits",
    "broken",
];
/// What `parent` starts.
const CHILD: &str = "child";
/// Executions of `limited` at the same time.
pub(crate) const LIMIT: usize = 3;
/// Branches of `join`.
const BRANCHES: usize = 12;
/// A start is accepted within this time.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long the outside takes: long enough that calls are hit.
const CALL: Duration = Duration::from_millis(200);
/// Between two looks for judgments to give.
const JUDGING: Duration = Duration::from_millis(300);
/// Statuses of what has not ended.
const OPEN: &str = "NOT_STARTED,RUNNING,PAUSED,SUSPENDED";

/// The kind of a start, and whether it is an odd one of its kind: those are answered otherwise.
pub(crate) fn variant(number: usize) -> (&'static str, bool) {
    (KINDS[number % KINDS.len()], number / KINDS.len() % 2 == 1)
}

/// A call of the outside that tells whose it is.
struct Calls<'a> {
    sink: &'a Sink,
    pipeline: &'a str,
    number: &'a str,
    /// The execution that was asked for: itself, or the one it is a child of.
    root: &'a str,
}

impl Calls<'_> {
    fn to(&self, path: &str, name: &str, after: &[&str], fields: Value) -> Value {
        let payload = json!({"root": self.root, "number": self.number,
            "pipeline": self.pipeline, "stage": name});
        let fixed = json!({"url": self.sink.url(path), "method": "POST", "payload": payload});
        let mut call = stage("webhook", name, name, after, fixed);
        if let (Some(call), Value::Object(fields)) = (call.as_object_mut(), fields) {
            call.extend(fields);
        }
        call
    }

    fn hook(&self, name: &str, after: &[&str]) -> Value {
        self.to("/hook", name, after, json!({}))
    }

    fn refused(&self, name: &str, after: &[&str], fields: Value) -> Value {
        self.to("/refuse", name, after, fields)
    }
}

fn wait(name: &str, after: &[&str], seconds: u32) -> Value {
    stage("wait", name, name, after, json!({"waitTime": seconds}))
}

/// The stages of a pipeline that is started by its number.
fn stages(kind: &str, sink: &Sink, child: &str) -> Vec<Value> {
    let calls = Calls {
        sink,
        pipeline: kind,
        number: "${trigger['payload']['number']}",
        root: "${execution.id}",
    };
    let stops = json!({"failPipeline": false});
    match kind {
        "chain" => vec![
            calls.hook("First", &[]),
            wait("Rest", &["First"], 1),
            stage(
                "evaluateVariables",
                "Name",
                "Name",
                &["Rest"],
                json!({"variables": [{"key": "twice", "value": "${trigger['payload']['number'] * 2}"}]}),
            ),
            calls.hook("Second", &["Name"]),
            calls.hook("Third", &["Second"]),
        ],
        "join" => {
            let names: Vec<String> = (1..=BRANCHES).map(|n| format!("Branch {n}")).collect();
            let mut all: Vec<Value> = names.iter().map(|name| calls.hook(name, &[])).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            all.push(calls.hook("Together", &names));
            all
        }
        "busy" => vec![
            calls.to("/busy", "Busy", &[], json!({})),
            calls.hook("Then", &["Busy"]),
        ],
        "parent" => {
            let fields = json!({"application": APPLICATION, "pipeline": child, "waitForCompletion": true,
                "pipelineParameters": {"number": calls.number}});
            vec![
                stage("pipeline", "Child", "Child", &[], fields),
                calls.hook("After", &["Child"]),
            ]
        }
        "limited" => vec![calls.hook("Alone", &[]), wait("Rest", &["Alone"], 1)],
        "judged" => vec![
            stage("manualJudgment", "Ask", "Ask", &[], json!({})),
            calls.hook("Approved", &["Ask"]),
        ],
        "branches" => vec![
            calls.refused(
                "Goes on",
                &[],
                json!({"continuePipeline": true, "failPipeline": false}),
            ),
            calls.hook("After", &["Goes on"]),
            calls.refused("Stops", &[], stops),
            calls.hook("Never", &["Stops"]),
            calls.to(
                "/hook",
                "Off",
                &[],
                json!({"stageEnabled": {"type": "expression",
                "expression": "trigger['payload']['number'] < 0"}}),
            ),
            calls.hook("Beside", &["Off"]),
        ],
        "failing" => vec![
            calls.refused(
                "Stops",
                &[],
                json!({"failPipeline": false, "completeOtherBranchesThenFail": true}),
            ),
            wait("Rest", &[], 2),
            calls.hook("Beside", &["Rest"]),
        ],
        "waits" => {
            let rests = ["Rest 1", "Rest 2", "Rest 3"];
            let mut all: Vec<Value> = rests
                .iter()
                .zip(1..)
                .map(|(n, s)| wait(n, &[], s))
                .collect();
            all.push(calls.hook("Awake", &rests));
            all
        }
        "broken" => vec![
            calls.hook("First", &[]),
            calls.refused("Fails", &["First"], json!({})),
            calls.hook("Never", &["Fails"]),
        ],
        other => panic!("there is no {other}"),
    }
}

/// Saves all pipelines; answers the ids of those that executions are listed by.
pub(crate) async fn save(gate: &Gate, sink: &Sink) -> Vec<String> {
    let reply = |status| Reply {
        status,
        body: json!({}),
        delay: CALL,
    };
    sink.reply("/hook", reply(200));
    sink.reply("/busy", reply(200));
    sink.refuse_first("/busy", 503);
    sink.reply("/refuse", reply(400));
    gate.save_application(APPLICATION).await.unwrap();
    let calls = Calls {
        sink,
        pipeline: CHILD,
        number: "${trigger['parameters']['number']}",
        root: "${trigger['parentExecution']['id']}",
    };
    let stages_of_child = [calls.hook("Inside", &[]), wait("Rest", &["Inside"], 1)];
    let mut child = pipeline(APPLICATION, CHILD, &stages_of_child);
    child["parameterConfig"] = json!([{"name": "number", "required": true}]);
    let id = |saved: Value| saved["id"].as_str().unwrap().to_owned();
    let mut ids = vec![id(gate.save_pipeline(&child).await.unwrap())];
    for kind in KINDS {
        let mut definition = pipeline(APPLICATION, kind, &stages(kind, sink, &ids[0]));
        definition["triggers"] = json!([{"type": "webhook", "enabled": true, "source": kind}]);
        if kind == "limited" {
            definition["maxConcurrentExecutions"] = json!(LIMIT);
            definition["keepWaitingPipelines"] = json!(true);
        }
        ids.push(id(gate.save_pipeline(&definition).await.unwrap()));
    }
    ids
}

/// Asks for the start of this number until it is accepted.
async fn ask(gate: &Gate, number: usize) -> anyhow::Result<i64> {
    let path = format!("/webhooks/webhook/{}", variant(number).0);
    let (name, body) = (format!("start-{number}"), json!({"number": number}));
    gate.deliver(&path, &name, &body, PATIENCE).await
}

/// Asks for these starts at a steady pace.
pub(crate) async fn ask_all(gate: &Gate, numbers: Range<usize>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    let mut asked = Vec::new();
    for number in numbers {
        ticks.tick().await;
        let gate = gate.clone();
        asked.push(tokio::spawn(async move { ask(&gate, number).await }));
    }
    for answered in asked {
        answered.await.unwrap().unwrap();
    }
}

/// The number of the start that an execution comes from; none of a child.
pub(crate) fn number(execution: &Value) -> Option<usize> {
    execution["trigger"]["payload"]["number"]
        .as_u64()
        .and_then(|number| usize::try_from(number).ok())
}

/// Who a delivery is from: number, pipeline, stage.
pub(crate) fn place(delivery: &Delivery) -> Option<(usize, String, String)> {
    let body = delivery.json().ok()?;
    let text = |key: &str| body[key].as_str().map(ToOwned::to_owned);
    let number = match &body["number"] {
        Value::String(text) => text.parse().ok()?,
        other => usize::try_from(other.as_u64()?).ok()?,
    };
    Some((number, text("pipeline")?, text("stage")?))
}

async fn list(gate: &Gate, query: &str) -> anyhow::Result<Vec<Value>> {
    let path = format!("/applications/{APPLICATION}/pipelines?{query}");
    Ok(gate
        .get(&path)
        .await?
        .as_array()
        .cloned()
        .unwrap_or_default())
}

/// The latest executions of each pipeline, without contexts.
pub(crate) async fn latest(gate: &Gate, limit: usize) -> anyhow::Result<Vec<Value>> {
    list(gate, &format!("limit={limit}&expand=false")).await
}

/// Answers judgments until this is dropped: odd ones with `stop`. Whoever is not heard is answered again.
pub(crate) async fn judge(gate: &Gate) {
    let query = "statuses=RUNNING&limit=200&expand=false&pipelineNameFilter=judged";
    loop {
        let open = list(gate, query).await.unwrap_or_default();
        for execution in &open {
            let asks = gate::stage(execution, "Ask").filter(|stage| stage["status"] == "RUNNING");
            if let (Some(stage), Some(number)) = (asks, number(execution)) {
                let judgment = if variant(number).1 {
                    "stop"
                } else {
                    "continue"
                };
                let id = execution["id"].as_str().unwrap_or_default();
                let _unheard = gate.judge(id, stage, judgment).await;
            }
        }
        tokio::time::sleep(JUDGING).await;
    }
}

/// Waits until every start of these has an execution and all executions have ended.
pub(crate) async fn ended(gate: &Gate, numbers: Range<usize>, deadline: Duration) {
    eventually("every execution has ended", deadline, async || {
        let told = |error: anyhow::Error| format!("{error:#}");
        let query = format!("limit=2000&expand=false&statuses={OPEN}");
        let open = list(gate, &query).await.map_err(told)?;
        if let Some(first) = open.first() {
            let outline = outline(first);
            return Err(format!("{} are open, such as {outline}", open.len()));
        }
        let all = latest(gate, 2_000).await.map_err(told)?;
        let there: BTreeSet<usize> = all.iter().filter_map(number).collect();
        let missing: Vec<usize> = numbers.clone().filter(|n| !there.contains(n)).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{} were not begun: {missing:?}", missing.len()))
        }
    })
    .await
    .unwrap();
}

/// Every execution by its id, of these pipelines.
pub(crate) async fn executions(gate: &Gate, pipelines: &[String]) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for pipeline in pipelines {
        let path = format!("/executions?pipelineConfigIds={pipeline}&limit=1000");
        let all = eventually(&path, PATIENCE, async || {
            gate.get(&path).await.map_err(|error| format!("{error:#}"))
        });
        for execution in all.await.unwrap().as_array().into_iter().flatten() {
            let id = execution["id"].as_str().unwrap().to_owned();
            found.insert(id, execution.clone());
        }
    }
    found
}
