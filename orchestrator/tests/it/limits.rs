//! Limits of concurrency that are newer than what runs.

use serde_json::{Value, json};

use crate::rig::{Rig, make, pipeline};

#[tokio::test]
async fn what_began_without_a_limit_counts_once_there_is_one() {
    let rig = Rig::up().await;
    let mut body = pipeline("p", json!([make("manualJudgment", "1", &[], json!({}))]));
    body["id"] = json!("cfg");
    body["keepWaitingPipelines"] = json!(true);
    let approve = async |id: &str| {
        let ask = rig.stage_is(id, "1", "RUNNING").await;
        let answer = json!({"judgmentStatus": "continue"});
        rig.update_stage(id, &ask, answer).await.unwrap();
        rig.ends(id, "SUCCEEDED").await;
    };
    let free = rig.start(&body).await;
    rig.stage_is(&free, "1", "RUNNING").await;
    body["limitConcurrent"] = json!(true);
    let second = rig.start(&body).await;
    let third = rig.start(&body).await;
    let status = async |id: &str| -> Value { rig.get(id).await["status"].clone() };
    assert_eq!(status(&second).await, "NOT_STARTED");
    approve(&free).await;
    approve(&second).await;
    approve(&third).await;
    // Nothing is left behind that would keep the next one out.
    let last = rig.start(&body).await;
    approve(&last).await;
}
