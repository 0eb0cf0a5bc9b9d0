//! How small the archive is beside what it holds.

use orchestrator::archive::{content::Content, row};
use orchestrator::services::fake::Fake;
use orchestrator_core::Execution;
use serde_json::{Value, json};
use store::archive::{Row, write};

use super::{listed, moving, reader, staying};
use crate::rig::{Rig, eventually, make, memory, pipeline, webhook};

/// Executions that Orca recorded, as they were served: 29 lines of different pipelines.
#[test]
fn golden_executions_are_small_in_the_archive() {
    let golden = include_str!("../../../core/tests/fixtures/orca-executions.jsonl");
    let mut served = 0;
    let mut entries: Vec<(Row, bytes::Bytes)> = Vec::new();
    for line in golden.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for execution in line["executions"].as_array().unwrap() {
            let text = execution.to_string();
            served += text.len();
            let content = Content {
                id: format!("golden-{}", entries.len()),
                version: 1,
                parts: [("h".to_owned(), text.into())].into(),
                log: Default::default(),
            };
            let row = row::of_header(execution.as_object().unwrap());
            entries.push((row, content.encode().unwrap()));
        }
    }
    let (object, _) = write(&entries).unwrap();
    let percent = object.len() * 100 / served;
    println!(
        "golden executions: {} of {served} bytes, {percent} %",
        object.len()
    );
    assert!(percent <= 15, "{percent} %");
}

/// Executions of our own, served with their logs.
#[tokio::test]
async fn executions_with_their_logs_are_small_in_the_archive() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let mut config = moving(folder.path());
    // All in one segment, as when many ended within the time a segment waits.
    config.archive.within = "2s".parse().unwrap();
    let rig = Rig::over(store.clone(), Fake::new(), config.clone()).await;
    let stages = json!([
        webhook("1", &[]),
        webhook("2", &["1"]),
        make("wait", "3", &["1"], json!({"waitTime": 0})),
        webhook("4", &["2", "3"]),
    ]);
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(
            rig.start(&pipeline(&format!("p{}", number % 4), stages.clone()))
                .await,
        );
    }
    for id in &ids {
        rig.ends(id, "SUCCEEDED").await;
    }
    let executions = reader(&store, &config);
    eventually("all are moved", async || staying(&store).await == 0).await;
    let mut served = 0;
    for id in listed(&executions, orchestrator::executions::Listing::default()).await {
        let execution: Execution = executions.get(&id, None).await.unwrap();
        served += execution.to_json().to_string().len();
        let log = executions.log(&id).await.unwrap();
        served += log
            .iter()
            .map(|entry| entry.to_string().len())
            .sum::<usize>();
    }
    let objects = config.archive.open().unwrap();
    let mut kept = 0;
    let names = objects.list("executions").await.unwrap();
    for name in &names {
        kept += usize::try_from(objects.size(name).await.unwrap().unwrap()).unwrap();
    }
    let percent = kept * 100 / served;
    println!(
        "40 executions with logs: {kept} of {served} bytes in {} segments, {percent} %",
        names.len()
    );
    assert!(percent <= 15, "{percent} %");
}
