//! Executions in every state that a change of version can meet them in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::sink::{Reply, Sink};
use tests::{Stack, eventually, gate, program};

use super::DEADLINE;

pub(super) const APPLICATION: &str = "skew";
/// Longer than the end of a control plane waits for its tasks.
const SLOW: Duration = Duration::from_secs(12);
/// Longer than a change of version takes to begin.
const WAIT_S: u64 = 6;

/// Status of an execution and of its stages by `refId`, by the name of its pipeline.
pub(super) type Outcome = BTreeMap<String, (String, Vec<(String, String)>)>;

/// The pipelines, and who is called.
pub(super) struct Work<'a> {
    sink: &'a Sink,
}

/// Executions that were begun together.
pub(super) struct Begun {
    tag: String,
    /// By the name of the pipeline; of one that lets in one at a time three.
    ids: BTreeMap<String, Vec<String>>,
    /// All that ended, once they did.
    ended: std::sync::Mutex<BTreeSet<String>>,
}

fn hook(sink: &Sink, ref_id: &str, after: &[&str]) -> Value {
    called(sink, "/hook", ref_id, after, json!({}))
}

/// A stage that calls a path and says who calls.
fn called(sink: &Sink, path: &str, ref_id: &str, after: &[&str], more: Value) -> Value {
    let mut fields = json!({
        "url": sink.url(path), "method": "POST",
        "payload": {"execution": "${execution.id}", "stage": ref_id},
    });
    if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
        fields.extend(more);
    }
    stage("webhook", ref_id, ref_id, after, fields)
}

fn wait(ref_id: &str, after: &[&str], seconds: u64) -> Value {
    stage("wait", ref_id, ref_id, after, json!({"waitTime": seconds}))
}

fn ask(ref_id: &str, after: &[&str]) -> Value {
    stage("manualJudgment", ref_id, ref_id, after, json!({}))
}

/// A path of its own for each tag, below this one.
fn tagged(path: &str) -> String {
    format!("{path}-${{trigger.parameters.tag}}")
}

impl<'a> Work<'a> {
    pub(super) async fn define(stack: &Stack, sink: &'a Sink) -> Self {
        let work = Self { sink };
        let child = [wait("1", &[], WAIT_S), hook(sink, "2", &["1"])];
        let child = work.save(stack, "Child", &child).await;
        let run = json!({
            "application": APPLICATION, "pipeline": child, "waitForCompletion": true,
            "pipelineParameters": {"tag": "${trigger.parameters.tag}"},
        });
        let parent = [
            stage("pipeline", "1", "1", &[], run),
            hook(sink, "2", &["1"]),
        ];
        work.save(stack, "Parent", &parent).await;
        let waiting = [wait("1", &[], WAIT_S), hook(sink, "2", &["1"])];
        work.save(stack, "Waiting", &waiting).await;
        let judged = [ask("1", &[]), hook(sink, "2", &["1"])];
        let judged = work.save(stack, "Judged", &judged).await;
        let slow = [
            called(sink, &tagged("/slow"), "1", &[], json!({})),
            hook(sink, "2", &["1"]),
        ];
        work.save(stack, "Slow", &slow).await;
        let monitored = json!({
            "waitForCompletion": true, "statusUrlResolution": "getMethod",
            "statusJsonPath": "$.state", "successStatuses": "DONE",
        });
        let busy = [
            called(sink, &tagged("/busy"), "1", &[], monitored),
            hook(sink, "2", &["1"]),
        ];
        work.save(stack, "Busy", &busy).await;
        let join = [
            hook(sink, "1", &[]),
            wait("2", &["1"], 2),
            wait("3", &["1"], WAIT_S),
            ask("4", &["1"]),
            hook(sink, "5", &["2", "3", "4"]),
        ];
        work.save(stack, "Join", &join).await;
        work.save(
            stack,
            "Paused",
            &[wait("1", &[], 2), hook(sink, "2", &["1"])],
        )
        .await;
        let failed = [
            called(sink, &tagged("/refuse"), "1", &[], json!({})),
            hook(sink, "2", &["1"]),
        ];
        work.save(stack, "Failed", &failed).await;
        let mut limited = pipeline(
            APPLICATION,
            "Limited",
            &[ask("1", &[]), hook(sink, "2", &["1"])],
        );
        limited["limitConcurrent"] = json!(true);
        limited["keepWaitingPipelines"] = json!(true);
        stack.gate.save_pipeline(&limited).await.unwrap();
        let mut hooked = pipeline(APPLICATION, "Hooked", &[hook(sink, "1", &[])]);
        hooked["triggers"] = json!([{"type": "webhook", "source": "skew", "enabled": true}]);
        stack.gate.save_pipeline(&hooked).await.unwrap();
        let mut after = pipeline(APPLICATION, "After", &[hook(sink, "1", &[])]);
        after["triggers"] = json!([{
            "type": "pipeline", "application": APPLICATION, "pipeline": judged,
            "status": ["successful"], "enabled": true,
        }]);
        stack.gate.save_pipeline(&after).await.unwrap();
        work
    }

    /// Saves a pipeline; its id.
    async fn save(&self, stack: &Stack, name: &str, stages: &[Value]) -> String {
        let saved = stack
            .gate
            .save_pipeline(&pipeline(APPLICATION, name, stages))
            .await;
        saved.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Begins one of each and waits until each is where it is to be met.
    pub(super) async fn begin(&self, stack: &Stack, tag: &str) -> Begun {
        let gate = &stack.gate;
        let state = |state: &str| Reply {
            body: json!({"state": state}),
            ..Reply::default()
        };
        self.sink.reply(
            &format!("/slow-{tag}"),
            Reply {
                delay: SLOW,
                ..Reply::default()
            },
        );
        self.sink.reply(&format!("/busy-{tag}"), state("BUSY"));
        self.sink.reply(
            &format!("/refuse-{tag}"),
            Reply {
                status: 404,
                ..Reply::default()
            },
        );
        let trigger = json!({"type": "manual", "parameters": {"tag": tag}});
        let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in [
            "Failed", "Limited", "Limited", "Limited", "Paused", "Judged", "Slow", "Busy", "Join",
            "Parent", "Waiting",
        ] {
            let id = gate.start(APPLICATION, name, &trigger).await.unwrap();
            ids.entry(name.to_owned()).or_default().push(id);
        }
        let begun = Begun {
            tag: tag.to_owned(),
            ids,
            ended: std::sync::Mutex::default(),
        };
        let paused = format!("/pipelines/{}/pause", begun.id("Paused"));
        order(stack, Method::PUT, &paused).await;
        for name in [
            "Limited", "Judged", "Slow", "Busy", "Join", "Parent", "Waiting",
        ] {
            let (id, at) = (begun.id(name), if name == "Join" { "4" } else { "1" });
            gate.wait_for_stage(id, at, "RUNNING", DEADLINE)
                .await
                .unwrap();
        }
        for path in ["slow", "busy"] {
            let path = format!("/{path}-{tag}");
            self.sink.wait_for(&path, 1, DEADLINE).await.unwrap();
        }
        let failed = gate.wait_for_execution(begun.id("Failed"), DEADLINE).await;
        assert_eq!(failed.unwrap()["status"], "TERMINAL");
        // Accepted by this version; who starts it is open.
        let event = json!({"tag": tag});
        gate.deliver("/webhooks/webhook/skew", tag, &event, DEADLINE)
            .await
            .unwrap();
        let mut text = pipeline(APPLICATION, "Text", &[wait("1", &[], 1)]);
        text["description"] = json!(tag);
        let known = gate
            .get(&format!("/applications/{APPLICATION}/pipelineConfigs/Text"))
            .await;
        if let Ok(known) = known {
            text["id"] = known["id"].clone();
        }
        gate.save_pipeline(&text).await.unwrap();
        begun
    }

    /// Does what each waits for; the statuses that they end with.
    pub(super) async fn finish(&self, stack: &Stack, begun: &Begun) -> Outcome {
        let (gate, tag) = (&stack.gate, &begun.tag);
        let good = Reply {
            body: json!({"state": "DONE"}),
            ..Reply::default()
        };
        for path in ["slow", "busy", "refuse"] {
            self.sink.reply(&format!("/{path}-{tag}"), good.clone());
        }
        order(
            stack,
            Method::PUT,
            &format!("/pipelines/{}/resume", begun.id("Paused")),
        )
        .await;
        let failed = begun.id("Failed");
        let refused = gate.execution(failed).await.unwrap();
        let refused = gate::stage(&refused, "1").unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        order(
            stack,
            Method::PUT,
            &format!("/pipelines/{failed}/stages/{refused}/restart"),
        )
        .await;
        let judged = [("Judged", "1"), ("Join", "4")].map(|(name, at)| (begun.id(name), at));
        // One after the other is let in.
        let limited = begun.ids["Limited"].iter().map(|id| (id.as_str(), "1"));
        for (id, at) in judged.into_iter().chain(limited) {
            let open = gate
                .wait_for_stage(id, at, "RUNNING", DEADLINE)
                .await
                .unwrap();
            gate.judge(id, &open, "continue").await.unwrap();
        }
        let mut outcome = Outcome::new();
        let mut note = |name: &str, number: usize, execution: &Value| {
            let mut stages: Vec<(String, String)> = execution["stages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|stage| (text(&stage["refId"]), text(&stage["status"])))
                .collect();
            stages.sort();
            outcome.insert(
                format!("{name} {number}"),
                (text(&execution["status"]), stages),
            );
            begun.ended.lock().unwrap().insert(text(&execution["id"]));
        };
        for (name, ids) in &begun.ids {
            for (number, id) in ids.iter().enumerate() {
                let execution = gate.wait_for_execution(id, DEADLINE).await.unwrap();
                note(name, number, &execution);
            }
        }
        let judged = begun.id("Judged");
        for (name, is_it) in [
            (
                "Hooked",
                &(|e: &Value| e["trigger"]["payload"]["tag"] == **tag) as &dyn Fn(&Value) -> bool,
            ),
            ("After", &|e| {
                e["trigger"]["parentExecution"]["id"] == judged
                    || e["trigger"]["parentPipelineId"] == judged
                    || e["trigger"]["parentExecutionId"] == judged
            }),
            ("Child", &|e| e["trigger"]["parameters"]["tag"] == **tag),
        ] {
            let execution = one(stack, name, is_it).await;
            note(name, 0, &execution);
        }
        outcome
    }

    /// What was saved under the version before is what is served and started.
    pub(super) async fn require_definitions(&self, stack: &Stack, tag: &str) {
        let path = format!("/applications/{APPLICATION}/pipelineConfigs/Text");
        let saved = stack.gate.get(&path).await.unwrap();
        assert_eq!(saved["description"], tag);
        let all = stack
            .gate
            .get(&format!("/applications/{APPLICATION}/pipelineConfigs"))
            .await
            .unwrap();
        assert_eq!(all.as_array().unwrap().len(), 13, "{all:#}");
    }

    /// Each stage called once, whoever repeated it; how many executions and effects there were.
    pub(super) fn require_once(&self, begun: &[Begun]) -> (usize, usize) {
        let mut keys: BTreeMap<(String, String, String), BTreeSet<String>> = BTreeMap::new();
        for delivery in self.sink.all().iter().filter(|d| d.method == "POST") {
            let body = delivery.json().unwrap();
            let path = delivery.path.split('-').next().unwrap().to_owned();
            let place = (path, text(&body["execution"]), text(&body["stage"]));
            let key = delivery.headers["idempotency-key"].clone();
            keys.entry(place).or_default().insert(key);
        }
        let ended: BTreeSet<String> = begun
            .iter()
            .flat_map(|b| b.ended.lock().unwrap().clone())
            .collect();
        for ((path, execution, stage), keys) in &keys {
            assert!(
                ended.contains(execution),
                "{execution} was started by nobody"
            );
            // A restart is another attempt.
            let wanted = if path == "/refuse" { 2 } else { 1 };
            assert_eq!(keys.len(), wanted, "{path} {execution} {stage}: {keys:?}");
        }
        (ended.len(), keys.len())
    }
}

impl Begun {
    fn id(&self, name: &str) -> &str {
        &self.ids[name][0]
    }

    /// Each is served, listed and has a log that is whole.
    pub(super) async fn require_readable(&self, stack: &Stack) {
        let gennaker = stack.program("gennaker").unwrap();
        let data = stack.data.display().to_string();
        let ended = self.ended.lock().unwrap().clone();
        let listed = stack.gate.executions(APPLICATION).await.unwrap();
        let listed: BTreeSet<String> = listed.iter().map(|e| text(&e["id"])).collect();
        let missing: Vec<_> = ended.difference(&listed).collect();
        assert!(
            missing.is_empty(),
            "{}: {missing:?} are not listed",
            self.tag
        );
        for id in &ended {
            let arguments = ["execution", "replay", id, "--data", &data, "--verify"];
            let told = program::run(&gennaker, arguments).await.unwrap();
            let count = |what: &str| {
                let before = told.split(what).next().unwrap_or_default();
                before
                    .rsplit([' ', ','])
                    .find(|word| !word.is_empty())
                    .map(ToOwned::to_owned)
            };
            let (entries, equal) = (count(" entries are whole"), count(" hashes are equal"));
            assert!(entries.is_some() && entries == equal, "{id}: {told}");
        }
    }
}

/// What an undisturbed run leads to, so that equal is not equally wrong.
pub(super) fn require_expected(outcome: &Outcome) {
    assert_eq!(outcome.len(), 14, "{outcome:#?}");
    for (name, (status, stages)) in outcome {
        let good = status == "SUCCEEDED" && stages.iter().all(|(_, status)| status == "SUCCEEDED");
        assert!(good, "{name}: {status} {stages:?}");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn order(stack: &Stack, method: Method, path: &str) {
    let answer = stack
        .gate
        .http()
        .send(method, path, Some(&json!({})))
        .await
        .unwrap();
    assert!(
        answer.status.as_u16() < 300,
        "{path}: {} {}",
        answer.status,
        answer.text()
    );
}

/// The one execution of a pipeline that is meant, once it ended.
async fn one(stack: &Stack, name: &str, is_it: &dyn Fn(&Value) -> bool) -> Value {
    eventually(&format!("one of {name} has ended"), DEADLINE, async || {
        let all = match stack.gate.executions(APPLICATION).await {
            Ok(all) => all,
            Err(error) => return Err(format!("{error:#}")),
        };
        let mut meant = all.into_iter().filter(|e| e["name"] == name && is_it(e));
        match (meant.next(), meant.next()) {
            (Some(execution), None) if gate::is_complete(&execution) => Ok(execution),
            (Some(_), Some(second)) => {
                panic!("{name} was started twice: {}", gate::outline(&second))
            }
            (found, _) => Err(found.map_or_else(|| "none".to_owned(), |e| gate::outline(&e))),
        }
    })
    .await
    .unwrap()
}
