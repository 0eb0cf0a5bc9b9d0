//! Many branches of one execution that end at the same time, on several orchestrators.

use std::collections::BTreeMap;

use orchestrator::Config;
use orchestrator::services::fake::Fake;
use serde_json::{Value, json};

use crate::rig::{Rig, memory, pipeline, webhook};

/// A stage, so many after it, and one that joins them.
fn wide(width: usize) -> Value {
    let branches: Vec<String> = (0..width).map(|n| format!("b{n}")).collect();
    let mut stages = vec![webhook("root", &[])];
    stages.extend(branches.iter().map(|branch| webhook(branch, &["root"])));
    let all: Vec<&str> = branches.iter().map(String::as_str).collect();
    stages.push(webhook("join", &all));
    pipeline("wide", json!(stages))
}

async fn run(orchestrators: usize, width: usize) -> (u64, u64) {
    let (store, fake) = (memory(), Fake::new());
    let mut rigs = Vec::new();
    for _ in 0..orchestrators {
        rigs.push(Rig::over(store.clone(), fake.clone(), Config::default()).await);
    }
    let id = rigs[0].start(&wide(width)).await;
    rigs[0].ends(&id, "SUCCEEDED").await;
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for request in fake.requests() {
        *sent.entry(request.effect_id).or_default() += 1;
    }
    assert_eq!(sent.len(), width + 2, "{sent:?}");
    let sum = |name: &str| rigs.iter().map(|rig| rig.metric(name)).sum::<u64>();
    (
        sum("engine_commit_conflicts_total"),
        sum("engine_commits_total"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_branches_on_three_orchestrators_do_not_refuse_one_another() {
    let (conflicts, commits) = run(3, 300).await;
    println!("{conflicts} conflicts, {commits} commits");
    assert!(10 * conflicts <= commits, "{conflicts} of {commits}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_that_end_together_are_few_commits() {
    let (conflicts, commits) = run(1, 50).await;
    println!("{conflicts} conflicts, {commits} commits");
    assert!(conflicts <= 3, "{conflicts}");
}
