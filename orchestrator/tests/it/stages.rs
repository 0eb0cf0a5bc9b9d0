//! The battery over all stages: plans are deterministic, contexts survive JSON,
//! every task may run twice, fail, be cancelled and run again.

use std::collections::BTreeSet;

use orchestrator::services::fake::{Fake, Plan, ok};
use orchestrator::stage::{STAGES, find};
use orchestrator_core::{Stage, StageView, Status, command};
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::rig::make;
use crate::samples::{Sample, cluster, one_group, samples};

fn bench(sample: &Sample) -> Bench {
    let fake = Fake::new();
    (sample.world)(&fake);
    Bench::new(fake, json!([sample.stage]))
}

fn what(sample: &Sample) -> String {
    sample.stage.to_string()
}

/// Effects that the outside sees: operations by effect id, requests by effect id.
fn effects(fake: &Fake) -> BTreeSet<String> {
    let operations = fake
        .operations()
        .into_iter()
        .map(|o| format!("{} {}", o.kind, o.effect_id));
    operations
        .chain(fake.requests().into_iter().map(|r| r.effect_id))
        .chain(fake.builds_started())
        .collect()
}

#[test]
fn every_type_of_stage_is_tried() {
    let tried: BTreeSet<String> = samples()
        .iter()
        .map(|s| s.stage.get("alias").unwrap_or_else(|| &s.stage["type"]))
        .map(|kind| kind.as_str().unwrap().to_owned())
        .collect();
    let all: BTreeSet<String> = STAGES.iter().map(|s| s.kind().to_owned()).collect();
    assert_eq!(tried, all);
}

#[test]
fn plans_are_deterministic_and_contexts_survive_json() {
    for sample in samples() {
        let bench = bench(&sample);
        let execution = bench.execution();
        let stage = execution.stages.first().unwrap();
        let definition = find(stage.definition()).unwrap();
        let view = StageView { execution, stage };
        assert_eq!(
            definition.tasks(view),
            definition.tasks(view),
            "{}",
            what(&sample)
        );
        assert_eq!(definition.before(view), definition.before(view));
        assert_eq!(definition.after(view), definition.after(view));
        assert_eq!(definition.on_failure(view), definition.on_failure(view));
        let text = serde_json::to_string(stage).unwrap();
        let back: Stage = serde_json::from_str(&text).unwrap();
        assert_eq!(&back, stage);
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        let Value::Object(written) = &sample.stage else {
            unreachable!()
        };
        let faults = definition.validate(written, "stages[0]");
        assert!(faults.is_empty(), "{faults:?}");
    }
}

#[tokio::test]
async fn every_task_may_run_twice() {
    for sample in samples() {
        let mut once = bench(&sample);
        once.drive(|_, _| Act::Run).await;
        assert_eq!(
            once.status(),
            sample.ends,
            "{}: {:#?}",
            what(&sample),
            once.execution()
        );
        let mut twice = bench(&sample);
        twice.drive(|_, _| Act::Twice).await;
        assert_eq!(
            twice.status(),
            sample.ends,
            "{}: {:#?}",
            what(&sample),
            twice.execution()
        );
        assert_eq!(
            effects(&twice.fake),
            effects(&once.fake),
            "{}",
            what(&sample)
        );
        assert_eq!(twice.fake.operations().len(), once.fake.operations().len());
    }
}

#[tokio::test]
async fn every_task_that_fails_ends_its_stage_with_the_reason() {
    for sample in samples() {
        if sample.stage["type"] == "cleanupCanaryClusters" {
            // It goes on whatever becomes of one cluster; tried by itself.
            continue;
        }
        let mut whole = bench(&sample);
        whole.drive(|_, _| Act::Run).await;
        for nth in 0..whole.ran.len() {
            let mut bench = bench(&sample);
            bench
                .drive(|n, _| if n == nth { Act::Fail } else { Act::Run })
                .await;
            assert_eq!(
                bench.status(),
                Status::Terminal,
                "{nth} of {}",
                what(&sample)
            );
            let text = bench.execution().to_json().to_string();
            assert!(
                text.contains("told to fail"),
                "{nth} of {}: {text}",
                what(&sample)
            );
            let top = bench
                .execution()
                .stages
                .iter()
                .find(|s| !s.is_synthetic())
                .unwrap();
            assert_eq!(top.status, Status::Terminal);
        }
    }
}

#[tokio::test]
async fn a_stage_is_cancelled_and_restarted_from_every_task() {
    for sample in samples() {
        let mut whole = bench(&sample);
        whole.drive(|_, _| Act::Run).await;
        let mut cancelled = 0;
        for nth in 0..whole.ran.len() {
            let mut bench = bench(&sample);
            bench
                .drive(|n, _| if n == nth { Act::Cancel } else { Act::Run })
                .await;
            let ended = bench.status();
            // What was under way may have been all that was left.
            assert!(
                ended == Status::Canceled || ended == sample.ends,
                "{nth} of {}: {:#?}",
                what(&sample),
                bench.execution()
            );
            cancelled += usize::from(ended == Status::Canceled);
            let top = bench
                .execution()
                .stages
                .iter()
                .find(|s| !s.is_synthetic())
                .unwrap();
            let restart =
                command::restart_stage(bench.execution(), &top.id.clone(), "bob").unwrap();
            let before = effects(&bench.fake);
            bench.command(restart);
            bench.drive(|_, _| Act::Run).await;
            assert!(
                [sample.again, sample.ends].contains(&bench.status()),
                "{nth} of {}: {:#?}",
                what(&sample),
                bench.execution()
            );
            // A new attempt has effects of its own.
            let after = effects(&bench.fake);
            assert!(after.is_superset(&before));
        }
        let several = whole.ran.len() > 2;
        assert!(
            !several || cancelled > 0,
            "never cancelled: {}",
            what(&sample)
        );
    }
}

#[tokio::test]
async fn faults_of_peers_are_ridden_out() {
    for seed in 0..30 {
        for sample in samples() {
            let kind = sample.stage["type"].as_str().unwrap_or_default();
            if ["jenkins", "script", "getProperties"].contains(&kind) {
                // Five errors in a row end them; tried by itself.
                continue;
            }
            if kind.contains("Deploy") && sample.stage.get("deploymentMonitor").is_some() {
                // So do three tries more; tried by itself.
                continue;
            }
            if ["webhook", "hook"].contains(&kind) {
                // A lost answer to a POST fails the stage: it may have been acted on.
                continue;
            }
            let mut bench = bench(&sample);
            bench.fake = bench.fake.clone().with_faults(seed, 4);
            bench.drive(|_, _| Act::Run).await;
            assert_eq!(
                bench.status(),
                sample.ends,
                "{seed}: {}: {:#?}",
                what(&sample),
                bench.execution()
            );
            let ids: Vec<String> = bench
                .fake
                .operations()
                .into_iter()
                .map(|o| o.effect_id)
                .collect();
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        }
    }
}

#[tokio::test]
async fn a_failed_operation_tells_its_last_lines_root_cause_first() {
    let fake = Fake::new();
    one_group(&fake);
    let lines = vec!["demo-server 2 listens on 8080".to_owned(), "bye".to_owned()];
    fake.plan(
        "replaceInPlace",
        Plan::Fail("instance i did not become healthy".into(), lines),
    );
    let stages = json!([make(
        "deploy",
        "1",
        &[],
        json!({"clusters": [cluster("inplacedrain")]})
    )]);
    let mut bench = Bench::new(fake, stages);
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Terminal);
    let json = bench.execution().to_json();
    let stages = json["stages"].as_array().unwrap();
    let failed = stages
        .iter()
        .find(|s| s["type"] == "replaceInPlace")
        .unwrap();
    let errors = &failed["context"]["exception"]["details"]["errors"];
    assert_eq!(errors[0], "instance i did not become healthy");
    assert_eq!(errors[1], "demo-server 2 listens on 8080");
    let task = &failed["context"]["kato.tasks"][0];
    assert_eq!(task["status"]["failed"], true);
    assert_eq!(task["exception"]["type"], "EXCEPTION");
    // The operation undid itself, so the restoration finds nothing to do.
    let restored = stages
        .iter()
        .find(|s| s["type"] == "restoreServerGroup")
        .unwrap();
    assert_eq!(
        (&restored["name"], &restored["status"]),
        (&json!("Restore app-main-v000"), &json!("SUCCEEDED"))
    );
    assert_eq!(bench.fake.operations().len(), 1);
}

#[tokio::test]
async fn a_failure_after_the_old_group_was_destroyed_deploys_its_image_again() {
    let fake = Fake::new();
    one_group(&fake);
    let stages = json!([make("createServerGroup", "1", &[], cluster("none"))]);
    let mut bench = Bench::new(fake.clone(), stages);
    bench
        .drive(|_, run| {
            if run.task_type == "waitForUpInstances" {
                fake.forget("app-main-v000");
                fake.forget("app-main-v001");
                return Act::Fail;
            }
            Act::Run
        })
        .await;
    assert_eq!(bench.status(), Status::Terminal);
    let operations = bench.fake.operations();
    let last = operations.last().unwrap();
    assert_eq!(last.kind, "createServerGroup");
    assert_eq!(last.input["imageId"], "registry/app:1");
    assert_eq!(
        last.input["capacity"],
        json!({"min": 3, "max": 3, "desired": 3})
    );
}

#[tokio::test]
async fn deployments_say_what_they_deployed() {
    let fake = Fake::new();
    one_group(&fake);
    let stages = json!([make(
        "deploy",
        "1",
        &[],
        json!({"clusters": [cluster("inplacedrain")]})
    )]);
    let mut bench = Bench::new(fake, stages);
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Succeeded);
    let mut stages = bench.execution().stages.iter();
    let made = stages.find(|s| s.kind == "replaceInPlace").unwrap();
    assert_eq!(
        made.context["deploy.server.groups"],
        json!({"local": ["app-main-v001"]})
    );
    let operation = &bench.fake.operations()[0];
    assert_eq!(operation.kind, "replaceInPlace");
    assert_eq!(
        operation.input["source"]["serverGroupName"],
        "app-main-v000"
    );
    assert_eq!(operation.input["imageId"], "registry/app:2");
    assert!(operation.waiter.is_some());
    for ours in ["strategy", "rollback", "sourceServerGroup", "kato.tasks"] {
        assert!(operation.input.get(ours).is_none(), "{ours}");
    }
}

#[tokio::test]
async fn a_cancelled_deployment_asks_its_operation_to_turn_back() {
    let fake = Fake::new();
    fake.plan("createServerGroup", Plan::Wait);
    let stages = json!([make(
        "deploy",
        "1",
        &[],
        json!({"clusters": [cluster("none")]})
    )]);
    let mut bench = Bench::new(fake, stages);
    let mut seen = 0;
    bench
        .drive(|_, run| {
            seen += usize::from(run.task_type == "monitorOperation");
            if seen == 3 { Act::Cancel } else { Act::Run }
        })
        .await;
    assert_eq!(bench.status(), Status::Canceled);
    assert_eq!(bench.fake.canceled(), ["op-1"]);
}

#[tokio::test]
async fn webhooks_are_repeated_only_when_that_is_safe() {
    use orchestrator::services::HttpError;
    use orchestrator::services::fake::response;
    let error = |unsent| HttpError {
        message: "no answer".into(),
        transient: true,
        unsent,
    };
    for (method, answers, ends, sent) in [
        (
            "POST",
            vec![Ok(response(500, &json!({}))), Ok(ok(&json!({})))],
            Status::Succeeded,
            2,
        ),
        (
            "POST",
            vec![Ok(response(404, &json!({"why": "x"})))],
            Status::Terminal,
            1,
        ),
        (
            "POST",
            vec![Ok(response(504, &json!({})))],
            Status::Terminal,
            1,
        ),
        (
            "POST",
            vec![Err(error(true)), Ok(ok(&json!({})))],
            Status::Succeeded,
            2,
        ),
        ("POST", vec![Err(error(false))], Status::Terminal, 1),
        (
            "GET",
            vec![Err(error(false)), Ok(ok(&json!({})))],
            Status::Succeeded,
            2,
        ),
    ] {
        let fake = Fake::new();
        for answer in answers {
            fake.answer("http://hook.test/x", answer);
        }
        let fields = json!({"url": "http://hook.test/x", "method": method});
        let mut bench = Bench::new(fake, json!([make("webhook", "1", &[], fields)]));
        bench.drive(|_, _| Act::Run).await;
        assert_eq!(bench.status(), ends, "{:#?}", bench.execution());
        let requests = bench.fake.requests();
        assert_eq!(requests.len(), sent);
        let ids: BTreeSet<_> = requests.iter().map(|r| &r.effect_id).collect();
        assert_eq!(ids.len(), 1, "a repeat has the same effect id");
    }
}

/// How a stage ends whose build ended so, with its error.
async fn built(result: &str, fields: Value) -> (Status, String) {
    let fake = Fake::new();
    fake.builds_are(result);
    let mut stage = make("jenkins", "1", &[], fields);
    stage["master"] = json!("ci");
    stage["job"] = json!("shop/main");
    let mut bench = Bench::new(fake, json!([stage]));
    bench.drive(|_, _| Act::Run).await;
    let stage = bench.execution().stages.first().unwrap().clone();
    let error = stage.context.get("exception");
    (
        stage.status,
        error.map(ToString::to_string).unwrap_or_default(),
    )
}

#[tokio::test]
async fn a_jenkins_stage_ends_as_its_build_did() {
    assert_eq!(built("SUCCESS", json!({})).await.0, Status::Succeeded);
    let (status, error) = built("FAILURE", json!({})).await;
    assert_eq!(status, Status::Terminal);
    assert!(
        error.contains("Job failed (see Jenkins http://ci/1/)"),
        "{error}"
    );
    assert_eq!(built("UNSTABLE", json!({})).await.0, Status::Terminal);
    let tolerant = json!({"markUnstableAsSuccessful": true});
    assert_eq!(built("UNSTABLE", tolerant).await.0, Status::Succeeded);
    assert_eq!(built("ABORTED", json!({})).await.0, Status::Canceled);
    let (status, error) = built("SUCCESS", json!({"propertyFile": "missing"})).await;
    assert_eq!(status, Status::Terminal);
    assert!(
        error.contains("Expected properties file missing"),
        "{error}"
    );
}

fn job(fields: Value) -> Value {
    let mut all = json!({"account": "prod", "region": "local", "imageId": "registry/smoke:1"});
    let more = fields.as_object().cloned().unwrap();
    all.as_object_mut().unwrap().extend(more);
    json!([make("runJob", "1", &[], all)])
}

#[tokio::test]
async fn a_job_leaves_its_status_and_its_properties_to_the_stages_after_it() {
    let fields = json!({"jobRuntimeLimit": "PT5M", "propertyFile": "job", "command": "check"});
    let mut bench = Bench::new(Fake::new(), job(fields));
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Succeeded);
    let input = bench.fake.operations()[0].input.clone();
    assert_eq!(
        (&input["timeLimitSeconds"], &input["command"]),
        (&json!(300), &json!("check"))
    );
    let stage = bench.execution().stages.first().unwrap().clone();
    for seen in [&stage.context, &stage.outputs] {
        assert_eq!(seen["build"], "7");
        assert_eq!(seen["propertyFileContents"], json!({"build": "7"}));
        assert_eq!(seen["jobStatus"]["logs"], "done");
        assert_eq!(seen["completionDetails"]["exitCode"], 0);
        assert_eq!(seen["deploy.jobs"], json!({"local": ["job"]}));
    }
    let names: Vec<_> = stage.tasks.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["runJob", "waitOnJobCompletion"]);

    // Properties that nobody asked for are not taken over.
    let mut bench = Bench::new(Fake::new(), job(json!({})));
    bench.drive(|_, _| Act::Run).await;
    let stage = bench.execution().stages.first().unwrap().clone();
    assert!(!stage.outputs.contains_key("build"));
    assert!(!stage.outputs.contains_key("propertyFileContents"));
}

#[tokio::test]
async fn a_job_that_prints_no_properties_fails_the_stage_that_wants_them() {
    let fake = Fake::new();
    fake.plan(
        "runJob",
        Plan::Succeed(json!({"jobStatus": {"logs": "done"}})),
    );
    let mut bench = Bench::new(fake, job(json!({"propertyFile": "smoke"})));
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Terminal);
    let stage = bench.execution().stages.first().unwrap().clone();
    let error = stage.context["exception"].to_string();
    assert!(error.contains("Expected properties file smoke"), "{error}");
    assert_eq!(stage.context["jobStatus"]["logs"], "done");
}

#[tokio::test]
async fn a_failed_job_says_exit_code_and_last_line_first_and_its_log_after() {
    let fake = Fake::new();
    let lines = vec!["one".to_owned(), "no answer".to_owned()];
    fake.plan("runJob", Plan::Fail("exit code 3: no answer".into(), lines));
    let mut bench = Bench::new(fake, job(json!({"propertyFile": "smoke"})));
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Terminal);
    let stage = bench.execution().stages.first().unwrap().clone();
    let errors = &stage.context["exception"]["details"]["errors"];
    assert_eq!(
        *errors,
        json!(["exit code 3: no answer", "one", "no answer"])
    );
}

#[tokio::test]
async fn a_cancelled_stage_ends_its_job() {
    let fake = Fake::new();
    fake.plan("runJob", Plan::Wait);
    let mut bench = Bench::new(fake, job(json!({})));
    let mut seen = 0;
    bench
        .drive(|_, run| {
            seen += usize::from(run.task_type == "waitOnJobCompletion");
            if seen == 3 { Act::Cancel } else { Act::Run }
        })
        .await;
    assert_eq!(bench.status(), Status::Canceled);
    assert_eq!(bench.fake.canceled(), ["op-1"]);
}

#[tokio::test]
async fn the_newest_image_whose_labels_have_the_tags_is_found() {
    let find = |tags: Value| {
        let fields = json!({"packageName": "app", "cloudProvider": "local", "tags": tags});
        json!([make("findImageFromTags", "1", &[], fields)])
    };
    for (tags, found) in [
        (json!({}), "1.10"),
        (json!({"stack": "test"}), "1.9"),
        (json!({"stack": "test", "team": "a"}), "1.9-rc1"),
        (json!({"stack": "prod"}), ""),
    ] {
        let fake = Fake::new();
        for (tag, labels) in [
            ("1.9-rc1", json!({"stack": "test", "team": "a"})),
            ("1.9", json!({"stack": "test"})),
            ("1.10", json!({})),
        ] {
            fake.image(
                json!({"repository": "team/app", "tag": tag, "labels": labels,
                "artifact": {"name": "r/team/app", "reference": format!("r/team/app:{tag}")}}),
            );
        }
        let mut bench = Bench::new(fake, find(tags.clone()));
        bench.drive(|_, _| Act::Run).await;
        let stage = bench.execution().stages.first().unwrap().clone();
        if found.is_empty() {
            let says =
                "Could not find tagged image for package: app and tags: {\"stack\":\"prod\"}";
            assert_eq!(stage.status, Status::Terminal);
            assert!(
                json!(stage.context)
                    .pointer("/exception/details/errors/0")
                    .unwrap()
                    == says
            );
            continue;
        }
        let details = &stage.outputs["deploymentDetails"][0];
        assert_eq!(details["imageId"], format!("r/team/app:{found}"), "{tags}");
    }
}

#[tokio::test]
async fn steps_that_cannot_be_are_refused_before_a_group_is_made() {
    for (strategy, field, steps) in [
        ("canary", "trafficPercentages", json!([50, 10])),
        ("rollingredblack", "targetPercentages", json!([150])),
    ] {
        let mut fields = json!({"account": "prod", "region": "local", "application": "app",
            "imageId": "r/app:1", "cloudProvider": "local", "strategy": strategy});
        fields[field] = steps;
        let stages = json!([make("createServerGroup", "1", &[], fields)]);
        let mut bench = Bench::new(Fake::new(), stages);
        bench.drive(|_, _| Act::Run).await;
        assert_eq!(bench.status(), Status::Terminal);
        assert!(
            bench.fake.operations().is_empty(),
            "{strategy}: something was made"
        );
        let told = json!(bench.execution().stages.first().unwrap().context).to_string();
        assert!(told.contains(field), "{told}");
    }
}
