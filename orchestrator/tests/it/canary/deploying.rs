//! What is deployed for a comparison, and that it is taken away again whatever happens.

use orchestrator::services::CloudDriver;
use orchestrator::services::fake::{Fake, Plan};
use orchestrator_core::{Status, TaskRun, command};
use proto::status::{Failure, Kind};
use serde_json::json;

use super::{canary, deployments, driven, named, serving, settings, why, worse};
use crate::bench::{Act, Bench};
use crate::samples::group;

#[tokio::test]
async fn a_person_is_asked_where_the_judge_cannot_tell_and_the_stage_says_so() {
    let fake = Fake::new();
    serving(&fake);
    fake.canary_run(worse(50.0, json!({"decision": "INCONCLUSIVE"})));
    let pausing = json!({"onInconclusive": "pause", "deployments": deployments()});
    let short = json!({"canaryConfigId": "s", "canaryAnalysisIntervalMins": null});
    let mut bench = Bench::new(fake.clone(), json!([canary(pausing, settings(short))]));
    let until = bench.now + 600_000;
    while bench.step(Some(until), &mut |_, _| Act::Run).await != crate::bench::Moved::To {}
    assert_eq!(
        named(&bench, "Go on with the canary?").status,
        Status::Running
    );
    // Until somebody answers, the canary stays.
    assert!(
        fake.operations()
            .iter()
            .all(|o| o.kind != "destroyServerGroup")
    );
    bench.drive(|_, _| Act::Run).await;
    // Nobody did.
    assert_eq!(bench.status(), Status::Terminal);
    assert_eq!(
        named(&bench, "Cleanup Canary Clusters").status,
        Status::Succeeded
    );
}

#[tokio::test]
async fn a_config_that_cannot_be_found_deploys_nothing() {
    for (more, twice, told) in [
        (
            json!({"canaryConfigId": "nothing"}),
            false,
            "canary config nothing does not exist",
        ),
        (
            json!({"canaryConfigId": null, "canaryConfigName": "other"}),
            false,
            "Couldn't find a canary configId for configName other and application app",
        ),
        (
            json!({"canaryConfigId": "", "canaryConfigName": "c-config"}),
            true,
            "Found more than one canary configId for configName c-config and application app",
        ),
        (
            json!({"scopes": [{"scopeName": "x", "controlScope": "a", "experimentScope": "b"}]}),
            false,
            "asks for scope \"default\", which is not among them",
        ),
    ] {
        let fake = Fake::new();
        serving(&fake);
        if twice {
            fake.canary_config(
                json!({"id": "d", "name": "c-config", "applications": ["app", "b"]}),
            );
        }
        let stage = canary(json!({"deployments": deployments()}), settings(more));
        let bench = driven(&fake, stage).await;
        assert_eq!(bench.status(), Status::Terminal);
        let text = why(named(&bench, "Resolve Canary Config"));
        assert!(text.contains(told), "{told}: {text}");
        assert!(
            fake.operations()
                .iter()
                .all(|o| o.kind != "operations" && o.kind != "createServerGroups")
        );
        assert!(fake.canary_runs().is_empty());
    }
}

#[tokio::test]
async fn baseline_and_canary_are_created_in_one_operation_judged_and_taken_away() {
    let fake = Fake::new();
    serving(&fake);
    fake.server_group(group("app-main-canary-v000", 1, 1, true));
    let stage = canary(json!({"deployments": deployments()}), settings(json!({})));
    let bench = driven(&fake, stage).await;
    assert_eq!(
        bench.status(),
        Status::Succeeded,
        "{:#?}",
        bench.execution()
    );
    let operations = fake.operations();
    let parts = operations[0].input["operations"].as_array().unwrap();
    let kinds: Vec<&String> = parts
        .iter()
        .flat_map(|p| p.as_object().unwrap().keys())
        .collect();
    assert_eq!(
        kinds,
        [
            "disableServerGroup",
            "destroyServerGroup",
            "createServerGroups"
        ]
    );
    let together = &parts[2]["createServerGroups"]["serverGroups"];
    for (n, (details, image)) in [("baseline", "registry/app:1"), ("canary", "registry/app:2")]
        .into_iter()
        .enumerate()
    {
        assert_eq!(together[n]["freeFormDetails"], details);
        assert_eq!(together[n]["imageId"], image);
        assert_eq!(together[n]["trafficShare"], 10.0);
    }
    let run = &fake.canary_runs()[0];
    let stage = named(&bench, "Run Canary #1");
    let monitor = stage.tasks.iter().find(|task| task.name == "monitorCanary");
    assert_eq!(
        run.waiter.as_ref().map(|waiter| waiter.task_id.as_str()),
        monitor.map(|task| task.id.as_str()),
        "who looks after the run is told of its end"
    );
    let scope = &run.request["scopes"]["default"];
    assert_eq!(scope["controlScope"]["scope"], "app-main-baseline-v000");
    assert_eq!(scope["experimentScope"]["scope"], "app-main-canary-v000");
    assert_eq!(
        scope["experimentScope"]["extendedScopeParams"],
        json!({"dataset": "regional", "type": "asg"})
    );
    assert!(remaining(&fake).await, "the canary is still there");
}

/// Whether the version that serves is all that is left.
async fn remaining(fake: &Fake) -> bool {
    is_there(fake, "app-main").await
        && !is_there(fake, "app-main-baseline").await
        && !is_there(fake, "app-main-canary").await
}

async fn is_there(fake: &Fake, cluster: &str) -> bool {
    use orchestrator::services::CloudDriver;
    let application = cluster.split('-').next().unwrap();
    let found = fake.cluster(application, "prod", cluster, "local").await;
    found.unwrap().is_some()
}

#[tokio::test]
async fn a_canary_of_an_application_of_its_own_is_taken_away_too() {
    let mut apart = deployments();
    for side in ["control", "experiment"] {
        apart["serverGroupPairs"][0][side]["application"] = json!("lab");
    }
    let clusters = ["lab-main-baseline", "lab-main-canary"];
    for cancelled in [false, true] {
        let fake = Fake::new();
        serving(&fake);
        if cancelled {
            fake.canary_run(json!({"status": "running", "complete": false}));
        }
        let stage = canary(json!({"deployments": apart}), settings(json!({})));
        let mut bench = Bench::new(fake.clone(), json!([stage]));
        let until = bench.now + 2_400_000;
        while bench.step(Some(until), &mut |_, _| Act::Run).await != crate::bench::Moved::To {}
        for cluster in clusters {
            assert!(is_there(&fake, cluster).await, "{cluster} was not deployed");
        }
        if cancelled {
            let effects = command::cancel(bench.execution(), "bob", None).unwrap();
            bench.command(effects);
        }
        bench.drive(|_, _| Act::Run).await;
        for cluster in clusters {
            assert!(!is_there(&fake, cluster).await, "{cluster} was left");
        }
        assert!(remaining(&fake).await);
    }
}

#[tokio::test]
async fn whatever_fails_the_canary_is_taken_away_and_the_old_version_stays() {
    let bad = |fake: &Fake| fake.canary_run(worse(0.0, json!({})));
    let broken = |fake: &Fake| {
        let lines = vec!["panic: no".to_owned()];
        fake.plan(
            "createServerGroups",
            Plan::Fail("instance i did not become healthy".into(), lines),
        );
    };
    for (what, told) in [
        (&bad as &dyn Fn(&Fake), "canary is worse than the baseline"),
        (&broken, "instance i did not become healthy"),
    ] {
        let fake = Fake::new();
        serving(&fake);
        what(&fake);
        let stage = canary(json!({"deployments": deployments()}), settings(json!({})));
        let bench = driven(&fake, stage).await;
        assert_eq!(bench.status(), Status::Terminal);
        let text = bench.execution().to_json().to_string();
        assert!(text.contains(told), "{told}");
        assert_eq!(
            named(&bench, "Cleanup Canary Clusters").status,
            Status::Succeeded
        );
        assert!(remaining(&fake).await);
    }
}

#[tokio::test]
async fn a_cancelled_canary_is_taken_away_at_every_moment_and_its_run_ends() {
    let stage = || canary(json!({"deployments": deployments()}), settings(json!({})));
    let whole = {
        let fake = Fake::new();
        serving(&fake);
        driven(&fake, stage()).await.ran
    };
    let monitored = whole.iter().position(|kind| kind == "monitorCanary");
    let monitored = monitored.unwrap();
    for (nth, act) in
        (0..whole.len()).flat_map(|nth| [(nth, Act::Cancel), (nth, Act::CancelLosing)])
    {
        let fake = Fake::new();
        serving(&fake);
        // Until its run is looked at it does not end; later it must, so that what follows is reached.
        let endless = nth <= monitored;
        if endless {
            fake.canary_run(json!({"status": "running", "complete": false}));
        }
        let mut bench = Bench::new(fake.clone(), json!([stage()]));
        bench
            .drive(|n, _| if n == nth { act } else { Act::Run })
            .await;
        let what = format!("{act:?} at {nth}, {}", whole[nth]);
        // What hears of it when all that is left has been done has succeeded.
        let both_wait = whole.len() - 2;
        let too_late = act == Act::Cancel && nth >= both_wait;
        let ends = if too_late {
            Status::Succeeded
        } else {
            Status::Canceled
        };
        assert_eq!(bench.status(), ends, "{what}: {:#?}", bench.execution());
        assert_eq!(bench.ran[nth], whole[nth], "{what}");
        assert!(remaining(&fake).await, "{what}: {:#?}", bench.execution());
        let runs = if endless { fake.canary_runs().len() } else { 0 };
        let canceled = fake.canceled();
        let canceled = canceled.iter().filter(|c| c.starts_with("canary"));
        assert_eq!(canceled.count(), runs, "{what}");
    }
}

#[tokio::test]
async fn what_the_balancer_will_have_forgotten_is_refused_before_anything_is_deployed() {
    let told = "canaryConfig.lifetimeDuration: of PT1H the last judgement would ask for metric \"errors\" of PT1H ago";
    for (kind, more, refused) in [
        ("local", json!({}), Some(told)),
        ("prometheus", json!({}), None),
        ("local", json!({"lookbackMins": "30"}), None),
        (
            "local",
            json!({"lookbackMins": "60"}),
            Some("canaryConfig.lookbackMins: of PT1H"),
        ),
        (
            "local",
            json!({"lifetimeDuration": "PT59M", "canaryAnalysisIntervalMins": null, "beginCanaryAnalysisAfterMins": 9}),
            None,
        ),
        (
            "local",
            json!({"lifetimeDuration": "PT30M", "baselineAnalysisOffsetInMins": 30}),
            Some("or a smaller baselineAnalysisOffsetInMins"),
        ),
    ] {
        let fake = Fake::new();
        serving(&fake);
        fake.canary_config(json!({
            "id": "l", "name": "l-config", "applications": ["app"], "judge": {"name": "NetflixACAJudge-v1.0"},
            "metrics": [{"name": "errors", "query": {"type": kind}, "scopeName": "default"}],
        }));
        let mut own = settings(more);
        own["canaryConfigId"] = json!("l");
        let stage = canary(json!({"deployments": deployments()}), own.clone());
        let bench = driven(&fake, stage).await;
        let Some(refused) = refused else {
            assert_eq!(bench.status(), Status::Succeeded, "{kind} {own}");
            continue;
        };
        let text = why(named(&bench, "Resolve Canary Config"));
        assert!(text.contains(refused), "{refused}: {text}");
        assert!(text.contains("remembers PT1H"), "{text}");
        assert_eq!(fake.operations(), [], "{own}");
    }
}

#[tokio::test]
async fn the_clean_up_waits_as_long_as_it_was_told_to() {
    for (delay, seconds) in [
        ("P0D", json!(0)),
        ("PT0.5S", json!(0.5)),
        ("PT1M", json!(60)),
    ] {
        let fake = Fake::new();
        serving(&fake);
        let mut delayed = deployments();
        delayed["delayBeforeCleanup"] = json!(delay);
        let bench = driven(
            &fake,
            canary(json!({"deployments": delayed}), settings(json!({}))),
        )
        .await;
        assert_eq!(bench.status(), Status::Succeeded, "{delay}");
        let wait = named(&bench, "Wait before cleanup");
        assert_eq!(wait.context["waitTime"], seconds, "{delay}");
    }
}

#[tokio::test]
async fn a_creation_that_is_under_way_is_waited_for_before_it_is_taken_away() {
    let fake = Fake::new();
    serving(&fake);
    fake.plan("createServerGroups", Plan::Wait);
    let stage = canary(json!({"deployments": deployments()}), settings(json!({})));
    let mut bench = Bench::new(fake.clone(), json!([stage]));
    let until = bench.now + 20_000;
    while bench.step(Some(until), &mut |_, _| Act::Run).await != crate::bench::Moved::To {}
    let effects = command::cancel(bench.execution(), "bob", None).unwrap();
    bench.command(effects);
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Canceled);
    assert_eq!(fake.canceled(), ["op-1"]);
    assert!(remaining(&fake).await);
}

#[tokio::test]
async fn what_a_cancelled_canary_takes_away_is_named_with_its_age() {
    let fake = Fake::new();
    serving(&fake);
    fake.canary_run(json!({"status": "running", "complete": false}));
    let stage = canary(json!({"deployments": deployments()}), settings(json!({})));
    let mut bench = Bench::new(fake.clone(), json!([stage]));
    let until = bench.now + 40 * 60_000;
    while bench.step(Some(until), &mut |_, _| Act::Run).await != crate::bench::Moved::To {}
    let mut made = Vec::new();
    for name in ["app-main-baseline-v000", "app-main-canary-v000"] {
        let group = CloudDriver::server_group(&fake, "prod", "local", name)
            .await
            .unwrap();
        made.push((name, group.unwrap()["createdTime"].clone()));
    }
    let effects = command::cancel(bench.execution(), "bob", None).unwrap();
    bench.command(effects);
    bench.drive(|_, _| Act::Run).await;
    let operations = fake.operations();
    let ends = operations.iter().filter(|o| o.kind == "destroyServerGroup");
    let named: Vec<_> = ends
        .map(|o| {
            (
                o.input["serverGroupName"].as_str().unwrap(),
                o.input["createdTime"].clone(),
            )
        })
        .collect();
    assert_eq!(named, made);
}

#[tokio::test]
async fn a_cancelled_canary_leaves_what_the_next_one_deployed() {
    let under_way = |fake: &Fake| fake.plan("createServerGroups", Plan::Wait);
    let never_accepted = |fake: &Fake| {
        for _ in 0..100 {
            let away = Failure::new(Kind::Unavailable, "cloud-driver cannot be reached");
            fake.plan("createServerGroups", Plan::Refuse(away));
        }
    };
    for (what, plan, number, minutes) in [
        ("under way", &under_way as &dyn Fn(&Fake), "v001", 1),
        ("not accepted", &never_accepted, "v001", 1),
        ("made and judged", &|_: &Fake| {}, "v001", 40),
        ("made, and its names come back", &|_: &Fake| {}, "v000", 40),
    ] {
        let fake = Fake::new();
        serving(&fake);
        fake.canary_run(json!({"status": "running", "complete": false}));
        plan(&fake);
        let stage = canary(json!({"deployments": deployments()}), settings(json!({})));
        let mut bench = Bench::new(fake.clone(), json!([stage]));
        let until = bench.now + minutes * 60_000;
        while bench.step(Some(until), &mut |_, _| Act::Run).await != crate::bench::Moved::To {}
        let effects = command::cancel(bench.execution(), "bob", None).unwrap();
        bench.command(effects);
        let clusters = ["app-main-baseline", "app-main-canary"];
        for name in clusters.map(|cluster| format!("{cluster}-{number}")) {
            fake.forget(&name);
            fake.server_group(group(&name, 1_000_000, 1, false));
        }
        bench.drive(|_, _| Act::Run).await;
        assert_eq!(bench.status(), Status::Canceled, "{what}");
        for cluster in clusters {
            let found = fake.cluster("app", "prod", cluster, "local").await.unwrap();
            let groups = found.unwrap_or_default()["serverGroups"].clone();
            let names: Vec<_> = groups.as_array().into_iter().flatten().collect();
            assert_eq!(names.len(), 1, "{what}: {names:#?}");
            assert_eq!(names[0]["name"], format!("{cluster}-{number}"), "{what}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_is_away_while_a_canary_is_cancelled_is_asked_again() {
    for seed in 0..20 {
        let fake = Fake::new();
        serving(&fake);
        fake.canary_run(json!({"status": "running", "complete": false}));
        let stage = canary(json!({"deployments": deployments()}), settings(json!({})));
        let mut bench = Bench::new(fake.clone(), json!([stage]));
        let until = bench.now + 2_400_000;
        while bench.step(Some(until), &mut |_, _| Act::Run).await != crate::bench::Moved::To {}
        bench.fake = bench.fake.clone().with_faults(seed, 2);
        let effects = command::cancel(bench.execution(), "bob", None).unwrap();
        bench.command(effects);
        bench.drive(|_, _| Act::Run).await;
        bench.fake = bench.fake.clone().with_faults(seed, u64::MAX);
        assert!(remaining(&fake).await, "{seed}: {:#?}", bench.execution());
        assert_eq!(fake.canceled(), ["canary run-1"], "{seed}");
    }
}

#[tokio::test]
async fn a_canary_that_deployed_nothing_takes_nothing_away() {
    let there = |fake: &Fake| {
        serving(fake);
        fake.server_group(group("app-main-canary-v000", 1, 1, true));
    };
    // The config of one is missing, what serves of the other.
    let mut lost = deployments();
    lost["baseline"]["cluster"] = json!("app-mian");
    for (deployments, config) in [(deployments(), "nothing"), (lost, "c")] {
        let fake = Fake::new();
        there(&fake);
        let stage = canary(
            json!({"deployments": deployments}),
            settings(json!({"canaryConfigId": config})),
        );
        let bench = driven(&fake, stage).await;
        assert_eq!(bench.status(), Status::Terminal);
        assert!(!super::names(&bench).contains(&"Cleanup Canary Clusters"));
        assert_eq!(fake.operations(), []);
    }
    // One is cancelled before it deploys.
    for before in ["resolveCanaryConfig", "findImageFromCluster"] {
        let fake = Fake::new();
        there(&fake);
        let stage = canary(json!({"deployments": deployments()}), settings(json!({})));
        let mut bench = Bench::new(fake.clone(), json!([stage]));
        let act = |run: &TaskRun| run.task_type == before;
        bench
            .drive(|_, run| if act(run) { Act::Cancel } else { Act::Run })
            .await;
        assert_eq!(bench.status(), Status::Canceled, "{:?}", bench.ran);
        assert_eq!(fake.operations(), [], "{before}");
    }
}

#[tokio::test]
async fn a_restarted_canary_deploys_and_judges_anew() {
    let fake = Fake::new();
    serving(&fake);
    fake.canary_run(worse(0.0, json!({})));
    let stage = canary(json!({"deployments": deployments()}), settings(json!({})));
    let mut bench = driven(&fake, stage).await;
    assert_eq!(bench.status(), Status::Terminal);
    let top = named(&bench, "kayentaCanary 1").id.clone();
    let restart = command::restart_stage(bench.execution(), &top, "bob").unwrap();
    bench.command(restart);
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(
        bench.status(),
        Status::Succeeded,
        "{:#?}",
        bench.execution()
    );
    assert_eq!(fake.canary_runs().len(), 3);
    assert!(
        !named(&bench, "kayentaCanary 1")
            .context
            .contains_key("canaryFindings")
    );
    assert!(remaining(&fake).await);
}
