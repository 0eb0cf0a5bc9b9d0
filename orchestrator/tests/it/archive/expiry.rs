//! Retention: what was kept long enough ends, but some of each pipeline stay.

use std::time::Duration;

use orchestrator::Config;
use orchestrator::executions::Listing;
use orchestrator::services::fake::Fake;
use runtime::config::Span;
use serde_json::json;

use super::{listed, look, moving, reader};
use crate::rig::{Rig, eventually, make, memory, pipeline, quick};

/// Runs three executions of a pipeline and two of none, and waits until the two newest of the
/// pipeline are all that is left.
async fn ends_but_for_two(config: Config) {
    let config = Config {
        retention: Span(Duration::from_secs(1)),
        keep_per_pipeline: 2,
        ..config
    };
    let store = memory();
    let rig = Rig::over(store.clone(), Fake::new(), config.clone()).await;
    let executions = reader(&store, &config);
    let stages = json!([make("wait", "1", &[], json!({"waitTime": 0}))]);
    let mut ids = Vec::new();
    for kept in [true, false, true, true, false] {
        let mut body = pipeline("p", stages.clone());
        if kept {
            body["id"] = json!("config");
        }
        let id = rig.start(&body).await;
        rig.ends(&id, "SUCCEEDED").await;
        ids.push(id);
    }
    let left = [ids[3].clone(), ids[2].clone()];
    eventually("two are left", async || {
        listed(&executions, Listing::default()).await == left
    })
    .await;
    // Another look ends none of them.
    look(&store).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(listed(&executions, Listing::default()).await, left);
    // A newer one takes the place of the oldest.
    let mut body = pipeline("p", stages);
    body["id"] = json!("config");
    let id = rig.start(&body).await;
    rig.ends(&id, "SUCCEEDED").await;
    let left = [id, ids[3].clone()];
    eventually("the newest two are left", async || {
        listed(&executions, Listing::default()).await == left
    })
    .await;
}

#[tokio::test]
async fn archived_executions_end_but_for_the_newest_of_each_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    ends_but_for_two(moving(folder.path())).await;
}

#[tokio::test]
async fn without_an_archive_they_end_in_the_store() {
    ends_but_for_two(quick()).await;
}

#[test]
fn retention_is_on_by_default() {
    let config = Config::default();
    assert_eq!(config.retention.0, Duration::from_secs(90 * 24 * 3600));
    assert_eq!(config.keep_per_pipeline, 20);
    assert!(config.archive.enabled);
}
