//! Large values: where they are, what they cost, and how much of them an execution may hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use orchestrator::Config;
use orchestrator::commit;
use orchestrator::executions::Executions;
use orchestrator::replay::Export;
use orchestrator::services::fake::{Fake, ok};
use orchestrator::stage::Catalog;
use orchestrator_core::{Execution, StageId};
use proto::message::{EXECUTION_REQUESTS, ExecutionRequested};
use proto::orchestrator::v1::GetExecutionRequest;
use proto::status::Kind;
use serde_json::{Value, json};
use servers::Redis;
use store::{Address, Batch, Mode, Outgoing, Shared, blob};

use crate::archive::dying::{Death, DyingStore};
use crate::commit::backends;
use crate::rig::{Rig, eventually, make, on, pipeline, quick, stage, webhook};

fn hook(fake: &Fake, ref_id: &str, body: &Value) {
    fake.answer(&format!("http://hook.test/{ref_id}"), Ok(ok(body)));
}

/// A stage as it is stored.
async fn stored(store: &Shared, id: &str, of: &Value) -> String {
    let key = commit::execution_key(id);
    let document = store.load(store.shards().of_id(id), &key).await.unwrap();
    let stage_id = StageId::new(of["id"].as_str().unwrap());
    let document = document.unwrap();
    document
        .text(&Execution::part(&stage_id))
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn large_values_lie_beside_the_execution_and_nobody_sees_it() {
    for (backend, store, _server) in backends().await {
        let fake = Fake::new();
        let looks = json!({"_blob": format!("sha256:{}", "0".repeat(64)), "_bytes": 1});
        let body = json!({"text": "x".repeat(900_000), "small": 1, "looks": looks});
        hook(&fake, "1", &body);
        let rig = Rig::over(store.clone(), fake, quick()).await;
        let value = "${#stage('webhook 1')['context']['webhook']['body']['text'].length()}";
        let variables = json!({"variables": [{"key": "length", "value": value}]});
        let stages = json!([
            webhook("1", &[]),
            make("evaluateVariables", "2", &["1"], variables)
        ]);
        let id = rig.start_stages(stages).await;
        let execution = rig.ends(&id, "SUCCEEDED").await;
        let first = stage(&execution, "1");
        assert_eq!(first["context"]["webhook"]["body"], body, "{backend}");
        let length = &stage(&execution, "2")["outputs"]["length"];
        assert_eq!(length.to_string().trim_matches('"'), "900000");
        let text = stored(&store, &id, first).await;
        assert!(text.len() < 4_000 && text.contains("\"_blob\""), "{text}");
        assert!(
            text.contains("\"small\":1"),
            "only the large value is elsewhere"
        );
        // Its log is as it always was, and decided again.
        let executions = Executions::new(store);
        let (head, entries) = executions.export(&id).await.unwrap();
        let lines: Vec<String> = std::iter::once(head.to_string()).chain(entries).collect();
        assert!(
            !lines.join("").contains("\"_blob\":\"sha256:")
                || lines.join("").contains(&"x".repeat(900_000))
        );
        let export = Export::read(&lines.join("\n")).unwrap();
        let settings = orchestrator::settings(&Config::default());
        let found = export.verify(&Catalog, &settings).unwrap();
        assert_eq!((found.hashed, found.again), (found.entries, found.entries));
        assert_eq!(
            export.stored,
            executions.load(&id).await.unwrap().unwrap().digest
        );
    }
}

/// What a build before this one wrote: whole parts as blobs, hashed with their values in their places.
#[tokio::test]
async fn parts_that_were_put_aside_whole_are_read_and_go_on() {
    for (backend, store, _server) in backends().await {
        let fake = Fake::new();
        hook(&fake, "1", &json!({"text": "x".repeat(300_000)}));
        let rig = Rig::over(store.clone(), fake, quick()).await;
        let ask = make("manualJudgment", "2", &["1"], json!({}));
        let id = rig.start_stages(json!([webhook("1", &[]), ask])).await;
        let asks = rig.stage_is(&id, "2", "RUNNING").await;
        let before = rig.get(&id).await;
        let (shard, key) = (store.shards().of_id(&id), commit::execution_key(&id));
        let document = store.load(shard, &key).await.unwrap().unwrap();
        let whole = json!(stage(&before, "1"));
        let part = Execution::part(&StageId::new(whole["id"].as_str().unwrap()));
        let loaded = Executions::new(store.clone())
            .load(&id)
            .await
            .unwrap()
            .unwrap();
        let found = loaded.execution().unwrap().stages.first().unwrap().clone();
        let text = serde_json::to_vec(&found).unwrap();
        let aside = blob::outsource(&text.into()).unwrap();
        store.put_blob(shard, &key, aside.content).await.unwrap();
        // Whoever wrote that knew nothing of the third.
        let hash = json!([document.version + 1, "0".repeat(32)]).to_string();
        let batch = Batch::new(shard, "old")
            .document(&key, document.version)
            .set(&part, aside.stands)
            .set(commit::DIGEST, hash)
            .document(&commit::log_key(&id), document.version)
            .set(
                &commit::log_part(document.version + 1),
                json!({"writes": {}}).to_string(),
            );
        store.commit(batch).await.unwrap().unwrap();
        assert_eq!(rig.get(&id).await, before, "{backend}");
        let go_on = json!({"judgmentStatus": "continue"});
        rig.update_stage(&id, &asks, go_on).await.unwrap();
        rig.ends(&id, "SUCCEEDED").await;
        let log = Executions::new(store.clone()).log(&id).await.unwrap();
        let settings = orchestrator::settings(&Config::default());
        orchestrator::replay::verify(&log, &Catalog, &settings).unwrap();
        // A commit that touches it puts its values aside one by one.
        rig.restart(&id, &whole).await.unwrap();
        let again = rig.stage_is(&id, "2", "RUNNING").await;
        rig.update_stage(&id, &again, json!({"judgmentStatus": "continue"}))
            .await
            .unwrap();
        rig.ends(&id, "SUCCEEDED").await;
        assert!(!stored(&store, &id, &whole).await.starts_with("blob:"));
    }
}

#[tokio::test]
async fn a_value_is_sent_once_however_often_its_stage_is_written() {
    const STAGES: u64 = 8;
    const EACH: u64 = 1024 * 1024;
    let Some(server) = Redis::start("everysec") else {
        return;
    };
    let fake = Fake::new();
    let mut stages = Vec::new();
    for number in 1..=STAGES {
        let letter = char::from(b'a' + u8::try_from(number).unwrap()).to_string();
        let size = usize::try_from(EACH).unwrap();
        hook(
            &fake,
            &number.to_string(),
            &json!({"text": letter.repeat(size)}),
        );
        let after = (number - 1).to_string();
        let after: Vec<&str> = if number == 1 { vec![] } else { vec![&after] };
        stages.push(webhook(&number.to_string(), &after));
    }
    let rig = Rig::over(on(&server).await, fake.clone(), quick()).await;
    let before = server.traffic();
    let id = rig.start_stages(stages.into()).await;
    // Nobody else reads meanwhile: whoever comes between a commit and its being at hand is sent the values, which on a
    // busy machine happens often.
    let most = usize::try_from(STAGES).unwrap();
    eventually("the last is asked", async || fake.requests().len() == most).await;
    rig.ends(&id, "SUCCEEDED").await;
    let after = server.traffic();
    let (sent, read) = (after.0 - before.0, after.1 - before.1);
    println!("{STAGES} stages with 1 MiB each: {sent} bytes sent, {read} read");
    // The first one twice: a server that does not know the script yet is sent it and asked again.
    assert!(sent < (STAGES + 1) * EACH * 11 / 10, "{sent}");
    // The reader at the end may do so.
    assert!(read < STAGES * EACH / 2, "{read}");
    // Commits that touch no value cost nothing of it.
    let version = async || {
        let loaded = Executions::new(rig.store.clone()).load(&id).await.unwrap();
        loaded.unwrap().version
    };
    let (commits, before) = (version().await, server.traffic().0);
    let execution = rig.get(&id).await;
    rig.restart(&id, stage(&execution, "8")).await.unwrap();
    rig.ends(&id, "SUCCEEDED").await;
    let (commits, sent) = (version().await - commits, server.traffic().0 - before);
    println!("{commits} commits of a restart of the last: {sent} bytes sent");
    assert!(sent < EACH * 12 / 10, "{sent}");
}

/// A store may lose its last writes: the value that was put, and not the commit that comes after.
#[tokio::test]
async fn a_value_that_the_store_lost_before_its_commit_is_put_again() {
    let store = crate::rig::memory();
    let fake = Fake::new();
    hook(&fake, "1", &json!({"text": "x".repeat(100_000)}));
    let death = Death::new(usize::MAX, false);
    let losing: Shared = Arc::new(DyingStore(store.clone(), death.clone()));
    let rig = Rig::over(losing, fake, quick()).await;
    death.loses.store(2, Ordering::SeqCst);
    let id = rig.start_stages(json!([webhook("1", &[])])).await;
    let execution = rig.ends(&id, "SUCCEEDED").await;
    let text = &stage(&execution, "1")["context"]["webhook"]["body"]["text"];
    assert_eq!(text.as_str().unwrap().len(), 100_000);
    assert_eq!(death.loses.load(Ordering::SeqCst), 0);
    let found = Executions::new(store).get(&id, None).await.unwrap();
    assert_eq!(found.to_json(), execution);
}

fn limited() -> Config {
    Config {
        execution_limit: 1_000_000,
        ..quick()
    }
}

#[tokio::test]
async fn what_would_be_too_large_fails_its_stage_by_name_and_nothing_is_lost() {
    for (backend, store, _server) in backends().await {
        let fake = Fake::new();
        for ref_id in ["1", "2", "3"] {
            hook(&fake, ref_id, &json!({"text": "x".repeat(600_000)}));
        }
        hook(&fake, "4", &json!({"text": "small"}));
        let rig = Rig::over(store.clone(), fake, limited()).await;
        let goes_on = json!({"failPipeline": false, "continuePipeline": true});
        let mut second = webhook("2", &["1"]);
        second
            .as_object_mut()
            .unwrap()
            .extend(goes_on.as_object().unwrap().clone());
        let stages = json!([
            webhook("1", &[]),
            second,
            webhook("4", &["2"]),
            webhook("3", &["4"])
        ]);
        let id = rig.start_stages(stages).await;
        let execution = rig.ends(&id, "TERMINAL").await;
        let status = |ref_id: &str| stage(&execution, ref_id)["status"].clone();
        let all = ["1", "2", "4", "3"].map(status);
        assert_eq!(
            all,
            ["SUCCEEDED", "FAILED_CONTINUE", "SUCCEEDED", "TERMINAL"],
            "{backend}"
        );
        for ref_id in ["2", "3"] {
            let told = stage(&execution, ref_id)["context"]["exception"].to_string();
            let text = format!("stage {ref_id} \\\"webhook {ref_id}\\\": context.webhook has 600,");
            assert!(told.contains(&text), "{told}");
            assert!(told.contains("an execution may hold 1,000,000"), "{told}");
        }
        let first = &stage(&execution, "1")["context"]["webhook"]["body"]["text"];
        assert_eq!(first.as_str().unwrap().len(), 600_000);
    }
}

#[tokio::test]
async fn a_start_that_is_too_large_is_refused_by_name() {
    let rig = Rig::over(crate::rig::memory(), Fake::new(), limited()).await;
    let mut body = pipeline("p", json!([make("wait", "1", &[], json!({"waitTime": 0}))]));
    body["trigger"] = json!({"type": "manual", "payload": {"text": "x".repeat(1_000_000)}});
    let failure = rig.try_start(&body, "").await.unwrap_err();
    assert_eq!(failure.kind, Kind::Invalid);
    let text = "trigger.payload has 1,000,011 bytes; an execution may hold 1,000,000";
    assert!(failure.message.starts_with(text), "{failure}");
    let large = make("wait", "7", &[], json!({"notes": "x".repeat(1_000_000)}));
    let failure = rig.try_start(&pipeline("p", json!([large])), "").await;
    let text = "stage 7 \"wait 7\": context.notes has 1,000,002 bytes";
    let failure = failure.unwrap_err();
    assert!(failure.message.starts_with(text), "{failure}");
}

#[tokio::test]
async fn a_requested_start_that_is_too_large_is_kept_as_one_that_failed() {
    let rig = Rig::over(crate::rig::memory(), Fake::new(), limited()).await;
    let waits = pipeline("p", json!([make("wait", "1", &[], json!({}))]));
    let saved = rig.save(&waits).await.unwrap();
    let config = saved["id"].as_str().unwrap().to_owned();
    let asked = ExecutionRequested {
        application: "app".into(),
        pipeline_config_id: config.clone(),
        trigger_id: "t".into(),
        event_id: "e".into(),
        recorded_at_ms: 1_700_000_000_000,
        trigger: json!({"type": "webhook", "user": "bob", "payload": {"text": "x".repeat(1_100_000)}}),
    };
    // Too large for a message: it lies with the event.
    let event = store::DocumentKey::new("event", "e");
    let shards = rig.store.shards();
    let (there, shard) = (shards.of_name("e"), shards.of_application("app"));
    let body = serde_json::to_vec(&asked).unwrap().into();
    let aside = blob::outsource(&body).unwrap();
    let put = rig.store.put_blob(there, &event, aside.content.clone());
    put.await.unwrap();
    let batch = Batch::new(shard, "e").message(Outgoing {
        to: Address::new(EXECUTION_REQUESTS, "e", "app"),
        fingerprint: "e".into(),
        mode: Mode::Ensure,
        delay_ms: 0,
        body: aside.in_message(there, &event),
    });
    rig.store.commit(batch).await.unwrap().unwrap();
    let id = shards.mint_id(asked.recorded_at_ms, &format!("{config}/t/e"), shard);
    eventually("started", async || {
        let (kind, id) = (0, id.clone());
        let mut client = rig.executions.clone();
        client.get(GetExecutionRequest { kind, id }).await.is_ok()
    })
    .await;
    let execution = rig.ends(&id, "TERMINAL").await;
    let why = execution["cancellationReason"].as_str().unwrap();
    assert!(why.contains("trigger.payload has 1,100,011 bytes"), "{why}");
    assert_eq!(
        (&execution["trigger"]["user"], &execution["name"]),
        (&json!("bob"), &json!("p"))
    );
    assert!(execution["trigger"].get("payload").is_none());
}
