//! What only another version knows is left to it as long as one of its processes is alive, and fails its owner
//! clearly when none is; what it wrote survives, or is not touched at all.

use std::time::Duration;

use orchestrator::commit::{execution_key, mailbox};
use orchestrator::services::fake::Fake;
use orchestrator::task::Pool;
use orchestrator::{Config, system_clock};
use orchestrator_core::{ExecutionId, Target};
use proto::orchestrator::v1::{GetExecutionRequest, ListExecutionsRequest};
use proto::status::{Failure, Kind};
use serde_json::{Value, json};
use store::{Address, Batch, DocumentKey, IndexChange, Mode, Outgoing, Shared};

use crate::commit::backends;
use crate::rig::{Rig, as_user, make, memory, quick, stage, webhook};

/// Two tries, so that what counts them soon gives up.
fn hasty() -> Config {
    Config {
        max_tries: 2,
        ..quick()
    }
}

/// More than what counts tries needs to give up.
const WHILE: Duration = Duration::from_secs(5);

/// Says that a process of another version is alive for so long, and what it knows.
async fn say(store: &Shared, alive: Duration, knows: &[&str]) {
    let shard = store.shards().of_name("consumers");
    let key = DocumentKey::new("consumer", "newer");
    let found = store.load(shard, &key).await.unwrap();
    let alive = i64::try_from(alive.as_millis()).unwrap();
    let said = json!({"engine": "99.0-other", "knows": knows});
    let at = system_clock()();
    let batch = Batch::new(shard, format!("say {at}"))
        .document(&key, found.map_or(0, |found| found.version))
        .set("h", said.to_string())
        .index(IndexChange::Put {
            index: "consumers".to_owned(),
            member: "newer".to_owned(),
            score: at + alive,
        });
    store.commit(batch).await.unwrap().unwrap();
}

const LONG: Duration = Duration::from_secs(3_600);

async fn put(rig: &Rig, id: &str, to: Address, fingerprint: &str, body: &Value) {
    let shard = rig.store.shards().of_id(id);
    let batch = Batch::new(shard, format!("put {fingerprint}")).message(Outgoing {
        to,
        fingerprint: fingerprint.to_owned(),
        mode: Mode::Push,
        delay_ms: 0,
        body: body.to_string().into(),
    });
    rig.store.commit(batch).await.unwrap().unwrap();
}

fn reason(stage: &Value) -> String {
    let errors = &stage["context"]["exception"]["details"]["errors"];
    errors[0].as_str().unwrap_or_default().to_owned()
}

fn judgment(ref_id: &str) -> Value {
    make("manualJudgment", ref_id, &[], json!({}))
}

#[tokio::test]
async fn a_message_of_a_living_other_version_is_never_given_up_and_holds_up_nothing() {
    for (backend, store, _server) in backends().await {
        say(&store, LONG, &["message ofALaterVersion"]).await;
        let rig = Rig::over(store.clone(), Fake::new(), hasty()).await;
        let id = rig
            .start_stages(json!([judgment("1"), judgment("2")]))
            .await;
        let ask = rig.stage_is(&id, "1", "RUNNING").await;
        let print = format!("ofALaterVersion/{}", ask["id"].as_str().unwrap());
        let own = mailbox(&Target::Execution(ExecutionId::new(&*id)), "app");
        put(&rig, &id, own, &print, &json!({"kind": "ofALaterVersion"})).await;
        tokio::time::sleep(WHILE).await;
        // It waits for longer now than what comes meanwhile.
        let second = rig.stage_is(&id, "2", "RUNNING").await;
        let begun = std::time::Instant::now();
        rig.update_stage(&id, &second, json!({"judgmentStatus": "continue"}))
            .await
            .unwrap();
        rig.stage_is(&id, "2", "SUCCEEDED").await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{backend}");
        assert_eq!(stage(&rig.get(&id).await, "1")["status"], "RUNNING");
        // Its processes ended.
        say(&store, Duration::ZERO, &[]).await;
        let failed = rig.stage_is(&id, "1", "TERMINAL").await;
        let reason = reason(&failed);
        assert!(
            reason.contains("ofALaterVersion cannot be read"),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_stage_of_a_type_that_a_living_other_version_knows_waits_for_it() {
    let store = memory();
    say(&store, LONG, &["stage ofALaterVersion"]).await;
    let rig = Rig::over(store.clone(), Fake::new(), hasty()).await;
    let stages = json!([
        webhook("1", &[]),
        make("ofALaterVersion", "2", &["1"], json!({})),
        webhook("3", &["1"]),
    ]);
    let id = rig.start_stages(stages).await;
    rig.stage_is(&id, "3", "SUCCEEDED").await;
    tokio::time::sleep(WHILE).await;
    assert_eq!(stage(&rig.get(&id).await, "2")["status"], "NOT_STARTED");
    say(&store, Duration::ZERO, &[]).await;
    let execution = rig.ends(&id, "TERMINAL").await;
    let reason = reason(stage(&execution, "2"));
    assert!(reason.contains("ofALaterVersion"), "{reason}");
}

#[tokio::test]
async fn a_type_that_no_living_version_knows_fails_at_once() {
    let store = memory();
    // The other version does not know it either.
    say(&store, LONG, &["stage somethingElse"]).await;
    let rig = Rig::over(store, Fake::new(), hasty()).await;
    let begun = std::time::Instant::now();
    let id = rig
        .start_stages(json!([make("mistyped", "1", &[], json!({}))]))
        .await;
    rig.ends(&id, "TERMINAL").await;
    assert!(begun.elapsed() < WHILE);
}

#[tokio::test]
async fn a_run_of_a_task_that_a_living_other_version_knows_is_left_to_it() {
    let store = memory();
    say(&store, LONG, &["task ofALaterVersion", "run"]).await;
    let rig = Rig::over(store.clone(), Fake::new(), hasty()).await;
    let id = rig.start_stages(json!([judgment("1")])).await;
    let ask = rig.stage_is(&id, "1", "RUNNING").await;
    let stage_id = ask["id"].as_str().unwrap();
    let effect = format!("{id}/{stage_id}/0/1");
    let at = |number: u32| Address::new(Pool::Http.queue(), &format!("{effect}#{number}"), "app");
    put(&rig, &id, at(7), "run", &json!({"ofALaterVersion": true})).await;
    let run = json!({
        "executionId": id, "application": "app", "stageId": stage_id, "taskId": "1",
        "taskType": "ofALaterVersion", "run": "run", "number": 8, "effectId": effect,
    });
    put(&rig, &id, at(8), "run", &run).await;
    tokio::time::sleep(WHILE).await;
    assert_eq!(stage(&rig.get(&id).await, "1")["status"], "RUNNING");
    say(&store, Duration::ZERO, &[]).await;
    let failed = rig.stage_is(&id, "1", "TERMINAL").await;
    assert!(reason(&failed).contains("run of its task cannot be read"));
}

/// Rewrites parts of a stored execution, as a newer version would.
async fn rewrite(rig: &Rig, id: &str, change: impl Fn(&str, &mut Value)) {
    let (shard, key) = (rig.store.shards().of_id(id), execution_key(id));
    for _ in 0..20 {
        let found = rig.store.load(shard, &key).await.unwrap().unwrap();
        let log = DocumentKey::new("execution-log", id);
        let mut batch =
            Batch::new(shard, format!("rewrite {}", found.version)).document(&key, found.version);
        for (part, content) in &found.parts {
            if part != "h" && !part.starts_with("s:") {
                continue;
            }
            let mut content = serde_json::from_slice(content).unwrap();
            change(part, &mut content);
            batch = batch.set(part, content.to_string());
        }
        // Versions of an execution and of its log agree.
        let batch = batch
            .document(&log, found.version)
            .set(&format!("{:010}", found.version + 1), "{\"writes\": {}}");
        if rig.store.commit(batch).await.unwrap().is_ok() {
            return;
        }
    }
    panic!("{id} is changed by others every time");
}

async fn parts(rig: &Rig, id: &str) -> Vec<(String, Value)> {
    let shard = rig.store.shards().of_id(id);
    let found = rig.store.load(shard, &execution_key(id)).await.unwrap();
    let parts = found.unwrap().parts.into_iter();
    let read = |content: &[u8]| serde_json::from_slice(content).unwrap();
    parts
        .map(|(part, content)| (part, read(&content)))
        .collect()
}

#[tokio::test]
async fn fields_of_a_newer_version_are_still_there_at_the_end() {
    let rig = Rig::over(memory(), Fake::new(), quick()).await;
    let id = rig
        .start_stages(json!([judgment("1"), webhook("2", &["1"])]))
        .await;
    rig.stage_is(&id, "1", "RUNNING").await;
    rewrite(&rig, &id, |_, content| {
        content["_later"] = json!({"n": 1.50});
        if let Some(tasks) = content["tasks"].as_array_mut() {
            tasks.iter_mut().for_each(|task| task["_later"] = json!(7));
        }
    })
    .await;
    let ask = rig.stage_is(&id, "1", "RUNNING").await;
    rig.update_stage(&id, &ask, json!({"judgmentStatus": "continue"}))
        .await
        .unwrap();
    rig.ends(&id, "SUCCEEDED").await;
    let parts = parts(&rig, &id).await;
    let of_it = parts
        .iter()
        .filter(|(part, _)| part == "h" || part.starts_with("s:"));
    for (part, content) in of_it {
        assert_eq!(content["_later"], json!({"n": 1.50}), "{part}");
    }
    let judged = parts.iter().find(|(_, content)| content["refId"] == "1");
    assert_eq!(judged.unwrap().1["tasks"][0]["_later"], 7);
}

#[tokio::test]
async fn an_execution_in_a_newer_form_is_left_alone_and_says_why() {
    let rig = Rig::over(memory(), Fake::new(), hasty()).await;
    let other = rig.start_stages(json!([judgment("1")])).await;
    let id = rig.start_stages(json!([judgment("1")])).await;
    for id in [&other, &id] {
        rig.stage_is(id, "1", "RUNNING").await;
    }
    let form = |number: u32| {
        move |part: &str, content: &mut Value| {
            if part == "h" {
                content["_schema"] = json!(number);
                // Something that would be taken for damage.
                content["status"] = json!(if number == 1 { "RUNNING" } else { "FLYING" });
            }
        }
    };
    rewrite(&rig, &id, form(2)).await;
    let request = GetExecutionRequest {
        kind: 0,
        id: id.clone(),
    };
    let refused = rig.executions.clone().get(request).await.unwrap_err();
    let refused = Failure::from(refused);
    assert_eq!(refused.kind, Kind::Unimplemented);
    let wanted = format!("execution {id} is stored in form 2 by a newer version");
    assert!(refused.message.contains(&wanted), "{}", refused.message);
    // It spoils no list.
    let listed = rig
        .executions
        .clone()
        .list(as_user(ListExecutionsRequest::default()))
        .await
        .unwrap()
        .into_inner();
    let text = format!("{listed:?}");
    assert!(text.contains(&other) && !text.contains(&id), "{text}");
    // What comes for it waits, however often it is looked at.
    let own = mailbox(&Target::Execution(ExecutionId::new(&*id)), "app");
    let cancel = json!({"kind": "cancelExecution", "user": "ann"});
    put(&rig, &id, own, "cancelExecution", &cancel).await;
    tokio::time::sleep(WHILE).await;
    let header = parts(&rig, &id).await;
    let header = header.iter().find(|(part, _)| part == "h").unwrap();
    assert_eq!(
        (&header.1["status"], &header.1["_schema"]),
        (&json!("FLYING"), &json!(2))
    );
    // Written in a form that is read again, it goes on.
    rewrite(&rig, &id, form(1)).await;
    rig.ends(&id, "CANCELED").await;
}
