//! The control plane is killed again and again during a canary run, between every two of its judgements at least once:
//! it judges the same windows on the same data and comes to the same end as the run that nobody disturbed.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::gate::outline;
use tests::series::Series;
use tests::world::APPLICATION;
use tests::{Backend, Setup, Stack, eventually};

use super::CANARY;
use crate::first_pipeline::backends;

/// At least as many, and between as many pairs of judgements.
const KILLS: usize = 30;
const STEPS: u64 = 70;
const SOON: Duration = Duration::from_secs(30);

/// A value that looks like noise and is always the same, from 0 to 1.
fn noise(query: &str, at: i64) -> f64 {
    let mut hash = at.unsigned_abs() ^ 0x9e37_79b9_7f4a_7c15;
    for byte in query.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 29;
    f64::from(u32::try_from(hash % 1_000).unwrap_or_default()) / 1_000.0
}

/// A latency that is bad on the canary in two of three steps.
fn latency(query: &str, at: i64) -> f64 {
    let bad = query.contains("canary") && at % 3 != 0;
    100.0 + 4.0 * noise(query, at) + if bad { 30.0 } else { 0.0 }
}

fn config() -> Value {
    json!({
        "name": "latency", "applications": [APPLICATION],
        "judge": {"name": "SequentialJudge-v1.0", "judgeConfigurations": {"earlyPass": false, "alpha": 0.001}},
        "metrics": [{"name": "latency", "groups": ["Latency"], "scopeName": "default",
            "query": {"type": "prometheus",
                "customInlineTemplate": "PromQL:latency{server_group=\"${scope}\"}"},
            "analysisConfigurations": {"canary": {"direction": "increase"}}}],
        "classifier": {"groupWeights": {"Latency": 100}},
    })
}

async fn up(series: &Series, backend: Backend) -> (Stack, String) {
    let address = format!("127.0.0.1:{}", series.port);
    let account = json!([{"name": "series", "type": "prometheus",
        "base-url": format!("http://{address}")}]);
    let stack = Stack::up(Setup {
        backend,
        arguments: vec!["--egress-allow".to_owned(), address],
        environment: vec![(
            "GENNAKER_CANARY_JUDGE__ACCOUNTS".to_owned(),
            account.to_string(),
        )],
        ..Setup::default()
    });
    let stack = stack.await.unwrap();
    stack.gate.save_application(APPLICATION).await.unwrap();
    let answer = stack.gate.http().post("/v2/canaryConfig", &config()).await;
    let answer = answer.unwrap().expect(200).unwrap().json().unwrap();
    let id = answer["canaryConfigId"].as_str().unwrap().to_owned();
    (stack, id)
}

/// Starts a canary whose windows begin at `from` (Unix seconds).
async fn start(stack: &Stack, config: &str, from: u64) -> String {
    let start = Timestamp::from_second(i64::try_from(from).unwrap()).unwrap();
    let canary = json!({
        "analysisType": "realTime",
        "canaryConfig": {
            "canaryConfigId": config, "metricsAccountName": "series",
            "scopes": [{"scopeName": "default", "step": 1, "controlScope": "baseline",
                "experimentScope": "canary", "controlLocation": "local",
                "experimentLocation": "local", "startTimeIso": start.to_string()}],
            "scoreThresholds": {"pass": 95, "marginal": 75},
            "lifetimeDuration": format!("PT{STEPS}S"),
            "canaryAnalysisIntervalSeconds": 1,
        },
    });
    let stages = [stage("kayentaCanary", "Canary", "1", &[], canary)];
    let canary = pipeline(APPLICATION, "Canary", &stages);
    stack.gate.start_ad_hoc(&canary).await.unwrap()
}

/// The run of an execution, as far as it is.
async fn run(stack: &Stack, execution: &str) -> Option<Value> {
    let execution = stack.gate.execution(execution).await.ok()?;
    let stages = execution["stages"].as_array()?;
    let run = stages.iter().find(|stage| stage["type"] == "runCanary")?;
    let id = run["context"]["canaryPipelineExecutionId"].as_str()?;
    let path = format!("/v2/canaries/canary/{id}");
    stack.gate.http().get(&path).await.ok()?.json().ok()
}

fn judged(run: &Value) -> usize {
    run["intervals"].as_array().map_or(0, Vec::len)
}

/// What must not depend on when it was judged, of each judgement.
fn essence(run: &Value) -> Vec<Value> {
    let of = |interval: &Value| {
        let keys = [
            "number",
            "judgementStartTimeMillis",
            "judgementEndTimeMillis",
            "score",
            "classification",
            "decision",
            "digest",
        ];
        json!(keys.map(|key| interval[key].clone()))
    };
    run["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .map(of)
        .collect()
}

#[tokio::test]
async fn a_run_that_is_killed_between_all_its_steps_comes_to_the_verdict_of_the_undisturbed_one() {
    let series = Series::start(latency).await.unwrap();
    let backend = *backends().last().unwrap();
    let (mut disturbed, config) = up(&series, backend).await;
    let (calm, same_config) = up(&series, Backend::Embedded).await;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let id = start(&disturbed, &config, now).await;
    let calm_id = start(&calm, &same_config, now).await;

    let mut between = BTreeSet::new();
    let mut kills = 0_usize;
    loop {
        let moment = Duration::from_millis(kills as u64 * 37 % 100 * 5);
        tokio::time::sleep(moment).await;
        let before = run(&disturbed, &id).await;
        if before.as_ref().is_some_and(|run| run["complete"] == true) {
            break;
        }
        let before = before.map_or(0, |run| judged(&run));
        between.insert(before);
        disturbed.kill_and_restart().await.unwrap();
        kills += 1;
        // The next kill comes when one more was judged, so that each pair of steps has its kill.
        eventually("one more step is judged", SOON, async || {
            match run(&disturbed, &id).await {
                Some(run) if judged(&run) > before || run["complete"] == true => Ok(()),
                other => Err(other.map(|run| judged(&run))),
            }
        })
        .await
        .unwrap();
    }
    for (stack, id) in [(&disturbed, &id), (&calm, &calm_id)] {
        let execution = stack.gate.wait_for_execution(id, CANARY).await.unwrap();
        assert_eq!(execution["status"], "TERMINAL", "{}", outline(&execution));
    }
    let (disturbed_run, calm_run) = (
        run(&disturbed, &id).await.unwrap(),
        run(&calm, &calm_id).await.unwrap(),
    );
    println!(
        "{backend:?}: {kills} kills, after {between:?} judgements; {} and {} judgements, {} and {}",
        judged(&disturbed_run),
        judged(&calm_run),
        disturbed_run["decision"],
        calm_run["decision"]
    );
    assert!(kills >= KILLS && between.len() >= KILLS, "{between:?}");
    assert_eq!(calm_run["decision"], "FAIL", "{calm_run}");
    assert_eq!(disturbed_run["decision"], calm_run["decision"]);
    assert_eq!(essence(&disturbed_run), essence(&calm_run));
}
