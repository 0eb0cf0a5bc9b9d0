//! Deployments that a service of the operator's watches: the order of stages, what the
//! service is told, and what its answers and its silence mean.

use orchestrator::services::fake::{Fake, ok, response};
use orchestrator_core::Status;
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::rig::make;
use crate::samples::{cluster, configured, one_group};

const HEALTH: &str = "http://monitor.test/deployment/evaluateHealth";
const STARTING: &str = "http://monitor.test/deployment/starting";
const COMPLETED: &str = "http://monitor.test/deployment/completed";

fn says(fake: &Fake, url: &str, directives: &[&str]) {
    for directive in directives {
        let step = json!({"nextStep": {"directive": directive}, "statusReason": "because"});
        fake.answer(url, Ok(ok(&step)));
    }
}

fn world() -> Fake {
    let fake = Fake::new();
    configured(&fake);
    one_group(&fake);
    fake
}

async fn deployed(fake: &Fake, more: Value) -> Bench {
    let mut one = cluster("monitored");
    let own = json!({"deploySteps": [50], "maxInitialAsgs": -1,
        "deploymentMonitor": {"id": "m", "parameters": {"p": 1}}});
    let all = one.as_object_mut().unwrap();
    all.extend(own.as_object().unwrap().clone());
    all.extend(more.as_object().unwrap().clone());
    let mut bench = Bench::new(
        fake.clone(),
        json!([make("createServerGroup", "1", &[], one)]),
    );
    bench.drive(|_, _| Act::Run).await;
    bench
}

/// Names of the stages that the deployment planned and ran, in their order.
fn ran(bench: &Bench) -> Vec<String> {
    let top = &bench
        .execution()
        .stages
        .iter()
        .find(|s| !s.is_synthetic())
        .unwrap()
        .id;
    let own = |s: &&orchestrator_core::Stage| {
        s.parent_stage_id.as_ref() == Some(top) && s.status != Status::NotStarted
    };
    let mut stages: Vec<_> = bench.execution().stages.iter().filter(own).collect();
    stages.sort_by_key(|s| {
        let number = s.ref_id.to_string();
        let number = number.rsplit('>').next().unwrap_or_default().to_owned();
        number.parse::<u32>().unwrap_or(0)
    });
    stages.iter().map(|s| s.name.clone()).collect()
}

fn bodies(fake: &Fake, url: &str) -> Vec<Value> {
    let sent = fake.requests().into_iter().filter(|r| r.url == url);
    sent.map(|r| serde_json::from_slice(&r.body).unwrap())
        .collect()
}

#[tokio::test]
async fn each_step_is_judged_before_the_next_one() {
    let fake = world();
    says(&fake, STARTING, &["CONTINUE"]);
    says(&fake, HEALTH, &["WAIT", "CONTINUE", "CONTINUE"]);
    let bench = deployed(&fake, json!({"maxRemainingAsgs": 2})).await;
    assert_eq!(
        bench.status(),
        Status::Succeeded,
        "{:#?}",
        bench.execution()
    );
    let health = "Evaluate health of deployed instances";
    assert_eq!(
        ran(&bench),
        [
            "Determine Deployed Server Group",
            "Pin app-main-v000",
            "Notify monitored deploy starting",
            "Grow app-main-v001 to 50% of Desired Size",
            "Disable 50% of Traffic on app-main-v000",
            health,
            "Grow app-main-v001 to 100% of Desired Size",
            "Disable 100% of Traffic on app-main-v000",
            health,
            "Unpin app-main-v000",
            "shrinkCluster",
            "Notify monitored deploy complete",
        ]
    );
    let asked = bodies(&fake, HEALTH);
    let progress: Vec<_> = asked.iter().map(|b| b["currentProgress"].clone()).collect();
    assert_eq!(progress, [50, 50, 100]);
    assert_eq!(asked[0]["newServerGroup"], "app-main-v001");
    assert_eq!(asked[0]["oldServerGroup"], "app-main-v000");
    assert_eq!(asked[0]["parameters"], json!({"p": 1}));
    let end = &bodies(&fake, COMPLETED)[0];
    assert_eq!(
        (&end["status"], &end["rollback"]),
        (&json!("success"), &json!("not_performed"))
    );
}

#[tokio::test]
async fn a_deployment_that_is_judged_bad_is_undone_and_the_service_is_told() {
    let fake = world();
    says(&fake, STARTING, &["CONTINUE"]);
    says(&fake, HEALTH, &["ABORT"]);
    let actions = json!({"failureActions": {"rollback": "Automatic", "destroyInstances": true},
        "rollback": {"onFailure": true, "destroyLatest": true}});
    let bench = deployed(&fake, actions).await;
    assert_eq!(bench.status(), Status::Terminal);
    let after: Vec<String> = ran(&bench).into_iter().skip(6).collect();
    assert_eq!(
        after,
        [
            "Rollback app-main",
            "Destroy app-main-v001 due to rollback",
            "Unpin app-main-v000",
            "Notify monitored deploy complete",
        ]
    );
    let end = &bodies(&fake, COMPLETED)[0];
    assert_eq!(
        (&end["status"], &end["rollback"]),
        (&json!("failure"), &json!("success"))
    );
    let mut stages = bench.execution().stages.iter();
    let judged = stages
        .find(|s| s.kind == "evaluateDeploymentHealth")
        .unwrap();
    let reasons = &judged.context["deploymentMonitorReasons"];
    assert_eq!(reasons["reason"], "because");
    assert!(
        reasons["summary"].as_str().unwrap().contains("unhealthy"),
        "{reasons}"
    );
}

#[tokio::test]
async fn the_rest_is_not_judged_once_the_service_says_complete() {
    let fake = world();
    says(&fake, STARTING, &["CONTINUE"]);
    says(&fake, HEALTH, &["COMPLETE", "CONTINUE"]);
    let bench = deployed(&fake, json!({"deploySteps": [25, 50]})).await;
    assert_eq!(bench.status(), Status::Succeeded);
    let progress: Vec<_> = bodies(&fake, HEALTH)
        .iter()
        .map(|b| b["currentProgress"].clone())
        .collect();
    // The last step is judged all the same.
    assert_eq!(progress, [25, 100]);
}

async fn asked(fake: &Fake, kind: &str, monitor: Value) -> (Bench, Status, String) {
    let fields = json!({"account": "prod", "region": "local", "newServerGroup": "app-main-v001",
        "currentProgress": 10, "deploymentMonitor": monitor});
    let mut bench = Bench::new(fake.clone(), json!([make(kind, "1", &[], fields)]));
    bench.drive(|_, _| Act::Run).await;
    let stage = bench.execution().stages[0].clone();
    let summary = stage.context["deploymentMonitorReasons"]["summary"].as_str();
    let summary = summary.unwrap_or_default().to_owned();
    (bench, stage.status, summary)
}

#[tokio::test]
async fn a_service_that_does_not_judge_fails_the_deployment_if_it_is_to() {
    for (kind, monitor, ends, word) in [
        (
            "evaluateDeploymentHealth",
            json!({"id": "m"}),
            Status::Terminal,
            "configured to failOnError",
        ),
        (
            "evaluateDeploymentHealth",
            json!({"id": "m", "failOnErrorOverride": false}),
            Status::FailedContinue,
            "configured to not failOnError",
        ),
        (
            "notifyDeployCompleted",
            json!({"id": "m"}),
            Status::FailedContinue,
            "unnecessary rollback",
        ),
    ] {
        let fake = world();
        for _ in 0..9 {
            for url in [HEALTH, COMPLETED] {
                fake.answer(url, Ok(response(500, &json!({}))));
            }
        }
        let (_, status, summary) = asked(&fake, kind, monitor).await;
        assert_eq!(status, ends, "{kind}: {summary}");
        assert!(
            summary.contains("monitor Watch") && summary.contains(word),
            "{summary}"
        );
        // Three more tries.
        assert_eq!(fake.requests().len(), 4);
    }
    let fake = world();
    fake.answer(HEALTH, Ok(response(500, &json!({}))));
    says(&fake, HEALTH, &["CONTINUE"]);
    let (_, status, _) = asked(&fake, "evaluateDeploymentHealth", json!({"id": "m"})).await;
    assert_eq!(status, Status::Succeeded);
    // What is no directive is no judgment.
    let fake = world();
    says(&fake, HEALTH, &["MAYBE"]);
    let (_, status, summary) = asked(&fake, "evaluateDeploymentHealth", json!({"id": "m"})).await;
    assert_eq!(status, Status::Terminal);
    assert!(summary.contains("unknown"), "{summary}");
}

#[tokio::test]
async fn a_service_that_takes_too_long_is_given_up() {
    let fake = world();
    says(&fake, HEALTH, &["WAIT"; 20]);
    let monitor = json!({"id": "m", "maxAnalysisMinutesOverride": 5});
    let (_, status, summary) = asked(&fake, "evaluateDeploymentHealth", monitor).await;
    assert_eq!(status, Status::Terminal);
    assert!(summary.contains("allotted time"), "{summary}");
    let looks = fake.requests().len();
    assert!((5..=6).contains(&looks), "{looks}");
}

#[tokio::test]
async fn a_service_that_is_not_configured_is_told_of_before_a_group_is_made() {
    let fake = world();
    let bench = deployed(&fake, json!({"deploymentMonitor": {"id": "nobody"}})).await;
    assert_eq!(bench.status(), Status::Terminal);
    assert!(fake.operations().is_empty() && fake.requests().is_empty());
    let told = bench.execution().to_json()["stages"].to_string();
    assert!(told.contains("\\\"nobody\\\" is not configured"), "{told}");
}

#[tokio::test]
async fn without_a_service_the_steps_are_taken_unjudged() {
    let fake = world();
    let bench = deployed(&fake, json!({"deploymentMonitor": null})).await;
    assert_eq!(
        bench.status(),
        Status::Succeeded,
        "{:#?}",
        bench.execution()
    );
    assert!(fake.requests().is_empty());
    assert!(
        ran(&bench)
            .iter()
            .any(|name| name.starts_with("Grow app-main-v001 to 50%"))
    );
}
