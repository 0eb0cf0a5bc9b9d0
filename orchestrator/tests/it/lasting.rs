//! What does not pass by itself ends: it is tried so often, then it fails its owner with the reason, and holds
//! up nobody else meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use orchestrator::Config;
use orchestrator::commit::mailbox;
use orchestrator::services::fake::{Fake, ok};
use orchestrator::services::{Http, HttpError, HttpRequest, HttpResponse};
use orchestrator::task::Pool;
use orchestrator_core::{ExecutionId, Target};
use serde_json::{Value, json};
use store::{Address, Batch, Mode, Outgoing};
use tokio::sync::Notify;

use crate::commit::backends;
use crate::rig::{Rig, eventually, make, memory, quick, stage, webhook};

fn patience(max_tries: u32) -> Config {
    Config {
        max_tries,
        ..quick()
    }
}

fn judgment(ref_id: &str, after: &[&str]) -> Value {
    make("manualJudgment", ref_id, after, json!({}))
}

fn variables(value: &str) -> Value {
    let variables = json!({"variables": [{"key": "a", "value": value}]});
    make("evaluateVariables", "1", &[], variables)
}

/// Puts something into a mailbox that only another version can have put there.
async fn put(rig: &Rig, id: &str, to: Address, fingerprint: String) {
    let shard = rig.store.shards().of_id(id);
    let batch = Batch::new(shard, format!("put {fingerprint}")).message(Outgoing {
        to,
        fingerprint,
        mode: Mode::Push,
        delay_ms: 0,
        body: json!({"kind": "ofALaterVersion"})
            .to_string()
            .into_bytes()
            .into(),
    });
    rig.store.commit(batch).await.unwrap().unwrap();
}

fn own(id: &str) -> Address {
    mailbox(&Target::Execution(ExecutionId::new(id)), "app")
}

/// The first line of why a stage failed.
fn reason(execution: &Value, ref_id: &str) -> String {
    let errors = &stage(execution, ref_id)["context"]["exception"]["details"]["errors"];
    errors[0].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_message_of_a_later_version_is_left_to_it_and_holds_up_nothing() {
    for (backend, store, _server) in backends().await {
        let rig = Rig::over(store, Fake::new(), patience(200)).await;
        let id = rig
            .start_stages(json!([judgment("1", &[]), webhook("2", &["1"])]))
            .await;
        let ask = rig.stage_is(&id, "1", "RUNNING").await;
        let stage_id = ask["id"].as_str().unwrap();
        put(&rig, &id, own(&id), format!("ofALaterVersion/{stage_id}")).await;
        // Nobody is asked more often than once a second about it, so this comes while it is there.
        rig.update_stage(&id, &ask, json!({"judgmentStatus": "continue"}))
            .await
            .unwrap();
        rig.ends(&id, "SUCCEEDED").await;
        let shard = rig.store.shards().of_id(&id);
        let what = store::Reserve {
            queue: store::MAILBOX,
            most: 0,
            lease_ms: 1,
            max_tries: 200,
        };
        let left = rig.store.reserve(shard, what).await.unwrap();
        assert!(left.next_ms.is_some(), "{backend}: it is kept");
    }
}

#[tokio::test]
async fn a_message_that_nobody_can_read_fails_its_owner_in_the_end() {
    for (backend, store, _server) in backends().await {
        let rig = Rig::over(store, Fake::new(), patience(2)).await;
        let stages = json!([judgment("1", &[]), judgment("2", &[])]);
        let id = rig.start_stages(stages).await;
        let ask = rig.stage_is(&id, "1", "RUNNING").await;
        rig.stage_is(&id, "2", "RUNNING").await;
        let stage_id = ask["id"].as_str().unwrap();
        put(&rig, &id, own(&id), format!("ofALaterVersion/{stage_id}/1")).await;
        let failed = rig.stage_is(&id, "1", "TERMINAL").await;
        let execution = json!({"stages": [failed]});
        let reason = reason(&execution, "1");
        assert!(
            reason.contains("message ofALaterVersion cannot be read"),
            "{backend}: {reason}"
        );
        rig.ends(&id, "TERMINAL").await;
        // One for no stage: the execution.
        let id = rig.start_stages(json!([judgment("1", &[])])).await;
        rig.stage_is(&id, "1", "RUNNING").await;
        put(&rig, &id, own(&id), "ofALaterVersion".to_owned()).await;
        let execution = rig.ends(&id, "CANCELED").await;
        let why = execution["cancellationReason"].as_str().unwrap();
        assert!(why.contains("cannot be read"), "{why}");
    }
}

#[tokio::test]
async fn a_run_that_nobody_can_read_fails_its_stage() {
    for (backend, store, _server) in backends().await {
        let rig = Rig::over(store, Fake::new(), patience(2)).await;
        let id = rig.start_stages(json!([judgment("1", &[])])).await;
        let ask = rig.stage_is(&id, "1", "RUNNING").await;
        let stage_id = ask["id"].as_str().unwrap();
        let at = |attempt: u32| {
            let subject = format!("{id}/{stage_id}/{attempt}/1#7");
            Address::new(Pool::Http.queue(), &subject, "app")
        };
        // One of another attempt fails nobody.
        put(&rig, &id, at(3), "run".to_owned()).await;
        put(&rig, &id, at(0), "run".to_owned()).await;
        let execution = rig.ends(&id, "TERMINAL").await;
        let reason = reason(&execution, "1");
        assert!(
            reason.contains("run of its task cannot be read"),
            "{backend}: {reason}"
        );
        let shard = rig.store.shards().of_id(&id);
        eventually("nothing is left in the queue", async || {
            let what = store::Reserve {
                queue: Pool::Http.queue(),
                most: 0,
                lease_ms: 1,
                max_tries: 200,
            };
            rig.store
                .reserve(shard, what)
                .await
                .unwrap()
                .next_ms
                .is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn an_expression_that_asks_without_end_fails_its_stage() {
    let fake = Fake::new();
    for n in 0..60 {
        let url = format!("http://facts.test/{n}");
        let next = format!("http://facts.test/{}", n + 1);
        for _ in 0..9 {
            let answer = HttpResponse {
                body: next.clone().into_bytes(),
                ..ok(&json!(0))
            };
            fake.answer(&url, Ok(answer));
        }
    }
    let rig = Rig::over(memory(), fake, patience(2)).await;
    let asks = format!(
        "{}'http://facts.test/0'{}",
        "#fromUrl(".repeat(46),
        ")".repeat(46)
    );
    let mut asks = variables(&format!("${{{asks}}}"));
    asks["requisiteStageRefIds"] = json!(["0"]);
    let id = rig.start_stages(json!([webhook("0", &[]), asks])).await;
    let execution = rig.ends(&id, "TERMINAL").await;
    // What came before is not to blame.
    assert_eq!(stage(&execution, "0")["status"], "SUCCEEDED");
    let reason = reason(&execution, "1");
    assert!(
        reason.contains("keeps asking for further look-ups"),
        "{reason}"
    );
}

/// Answers at once, but for one host, which answers when it is let.
struct Slow {
    fake: Fake,
    asked: AtomicUsize,
    answers: AtomicBool,
    let_go: Notify,
}

#[async_trait]
impl Http for Slow {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if request.url.contains("slow.test") && !self.answers.load(Ordering::SeqCst) {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.let_go.notified().await;
        }
        self.fake.send(request).await
    }
}

#[tokio::test]
async fn slow_look_ups_hold_up_no_other_execution() {
    let fake = Fake::new();
    let slow = Arc::new(Slow {
        fake: fake.clone(),
        asked: AtomicUsize::new(0),
        answers: AtomicBool::new(false),
        let_go: Notify::new(),
    });
    let config = Config {
        // Three consumers share them, and each keeps one to begin with.
        turns: 4,
        ..patience(200)
    };
    let driver = Arc::new(fake.clone());
    let rig = Rig::with(memory(), fake, driver, slow.clone(), config).await;
    // Behind a wait, so that the turn of a mailbox asks.
    let mut asks = variables("${#fromUrl('http://slow.test/')}");
    asks["requisiteStageRefIds"] = json!(["0"]);
    let wait = make("wait", "0", &[], json!({"waitTime": 1}));
    let mut waits = Vec::new();
    for _ in 0..2 {
        waits.push(rig.start_stages(json!([wait, asks])).await);
    }
    eventually("both ask", async || slow.asked.load(Ordering::SeqCst) == 2).await;
    let id = rig
        .start_stages(json!([
            make("wait", "1", &[], json!({"waitTime": 1})),
            webhook("2", &["1"]),
        ]))
        .await;
    rig.ends(&id, "SUCCEEDED").await;
    for id in &waits {
        assert_eq!(rig.get(id).await["status"], "RUNNING");
    }
    slow.answers.store(true, Ordering::SeqCst);
    slow.let_go.notify_waiters();
    for id in &waits {
        rig.ends(id, "SUCCEEDED").await;
    }
}
