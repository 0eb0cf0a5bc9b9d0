//! The product on Redis as operators run it: executions end as they would anywhere, each effect is done once,
//! and the loss of a master that replicas follow is nothing that users notice.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tests::fixture::{pipeline, stage, webhook};
use tests::gate::outline;
use tests::operated::Operated;
use tests::program::installed;
use tests::redis::PROGRAM;
use tests::sink::Sink;
use tests::{Setup, Stack};

const EXECUTIONS: usize = 20;
const BRANCHES: usize = 5;
/// How long each waits in its middle: longer than a replica takes to become master.
const WAIT_SECONDS: u64 = 6;
const PATIENCE: Duration = Duration::from_secs(90);

async fn up(url: &str) -> (Stack, Sink) {
    let sink = Sink::start().await.unwrap();
    let arguments = ["--redis", url, "--egress-allow", &sink.address()];
    let stack = Stack::up(Setup {
        arguments: arguments.map(str::to_owned).to_vec(),
        ..Setup::default()
    })
    .await
    .unwrap();
    stack.gate.save_application("operated").await.unwrap();
    (stack, sink)
}

fn wide(sink: &Sink) -> Value {
    let call = |id: &str, after: &[&str]| webhook(id, id, after, &sink.url("/effect"));
    let wait = json!({"waitTime": WAIT_SECONDS});
    let mut stages = vec![
        call("first", &[]),
        stage("wait", "Wait", "wait", &["first"], wait),
    ];
    let branches: Vec<String> = (0..BRANCHES).map(|number| format!("b{number}")).collect();
    stages.extend(branches.iter().map(|branch| call(branch, &["wait"])));
    let all: Vec<&str> = branches.iter().map(String::as_str).collect();
    stages.push(call("join", &all));
    pipeline("operated", "Wide", &stages)
}

async fn begin(stack: &Stack, sink: &Sink, number: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..number {
        ids.push(stack.gate.start_ad_hoc(&wide(sink)).await.unwrap());
    }
    ids
}

/// All of them end well, and nothing that they did outside has two ids or none.
async fn end(stack: &Stack, sink: &Sink, ids: &[String]) {
    for id in ids {
        let ended = stack.gate.wait_for_execution(id, PATIENCE).await.unwrap();
        assert_eq!(ended["status"], "SUCCEEDED", "{}", outline(&ended));
    }
    let effects = sink.deliveries("/effect");
    let effects: BTreeSet<&str> = effects
        .iter()
        .map(|delivery| delivery.headers["idempotency-key"].as_str())
        .collect();
    assert_eq!(effects.len(), ids.len() * (BRANCHES + 2), "{effects:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_loses_a_master_while_executions_wait() {
    if !installed(PROGRAM) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut servers = Operated::cluster(folder.path()).await.unwrap();
    let (stack, sink) = up(&servers.url).await;
    let ids = begin(&stack, &sink, EXECUTIONS).await;
    sink.wait_for("/effect", EXECUTIONS, PATIENCE)
        .await
        .unwrap();
    // What no replica of a cluster has heard of would be lost with its master: nothing is written now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    servers.lose_a_master().await.unwrap();
    end(&stack, &sink, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sentinels_the_master_is_lost_in_the_middle_of_work() {
    if !installed(PROGRAM) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut servers = Operated::watched(folder.path()).await.unwrap();
    let (stack, sink) = up(&servers.url).await;
    let mut ids = begin(&stack, &sink, EXECUTIONS / 2).await;
    servers.lose_a_master().await.unwrap();
    ids.extend(begin(&stack, &sink, EXECUTIONS / 2).await);
    end(&stack, &sink, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_server_and_a_user_with_few_rights_are_enough() {
    if !installed(PROGRAM) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let servers = Operated::encrypted(folder.path()).await.unwrap();
    let (stack, sink) = up(&servers.url).await;
    let ids = begin(&stack, &sink, EXECUTIONS).await;
    end(&stack, &sink, &ids).await;
    let log = stack.log().unwrap();
    assert!(!log.contains("s3cret"), "the log tells the password");
}
