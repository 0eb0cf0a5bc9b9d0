//! What is asked of the judge, and what its answers lead to.

use orchestrator::services::fake::Fake;
use orchestrator_core::Status;
use serde_json::{Value, json};

use super::{canary, configured, driven, named, names, settings, why, worse};

#[tokio::test]
async fn a_real_time_analysis_waits_and_judges_interval_by_interval() {
    let fake = Fake::new();
    configured(&fake);
    let warm = json!({"beginCanaryAnalysisAfterMins": "5", "baselineAnalysisOffsetInMins": 10, "siteLocal": {"a": "b"}});
    let bench = driven(&fake, canary(json!({}), settings(warm))).await;
    assert_eq!(
        bench.status(),
        Status::Succeeded,
        "{:#?}",
        bench.execution()
    );
    assert_eq!(
        names(&bench),
        [
            "Resolve Canary Config",
            "Warmup Wait",
            "Interval Wait #1",
            "Run Canary #1",
            "Interval Wait #2",
            "Run Canary #2",
            "Run Canary Intervals",
            "kayentaCanary 1",
        ]
    );
    let runs = fake.canary_runs();
    let begun = named(&bench, "Run Canary Intervals").start_time.unwrap();
    let minute = |n: i64| {
        let at = jiff::Timestamp::from_millisecond(begun + n * 60_000).unwrap();
        json!(at.to_string())
    };
    for (run, end) in runs.iter().zip([35, 65]) {
        let scope = &run.request["scopes"]["default"];
        assert_eq!(scope["experimentScope"]["start"], minute(5));
        assert_eq!(scope["experimentScope"]["end"], minute(end));
        assert_eq!(scope["controlScope"]["start"], minute(-5));
        assert_eq!(scope["controlScope"]["end"], minute(end - 10));
        assert_eq!(scope["experimentScope"]["step"], 60);
        assert_eq!(scope["controlScope"]["location"], "local");
        assert_eq!(
            run.request["thresholds"],
            json!({"pass": 75, "marginal": 50})
        );
        assert_eq!(run.request["siteLocal"], json!({"a": "b"}));
        assert_eq!(
            (run.config_id.as_str(), run.metrics_account.as_str()),
            ("c", "m")
        );
        assert_eq!(
            (run.application.as_str(), run.execution_id.as_str()),
            ("app", "E")
        );
        assert_eq!(run.plan, None);
    }
    let top = named(&bench, "kayentaCanary 1");
    assert_eq!(top.context["canaryScores"], json!([100.0, 100.0]));
    assert_eq!(
        top.context["canaryScoreMessage"],
        "Final canary score 100.0 met or exceeded the pass score threshold."
    );
    let one = named(&bench, "Run Canary #1");
    assert_eq!(one.context["canaryPipelineStatus"], "SUCCEEDED");
    assert_eq!(one.context["canaryScore"], 100);
    assert_eq!(one.context["durationString"], "PT1H");
    assert_eq!(one.context["lastUpdatedIso"], "2026-01-01T01:00:00Z");
    assert_eq!(one.outputs["canaryPipelineExecutionId"], "run-1");
}

#[tokio::test]
async fn a_retrospective_analysis_judges_back_to_back() {
    let fake = Fake::new();
    configured(&fake);
    let past = json!({"beginCanaryAnalysisAfterMins": 0, "lookbackMins": "15", "lifetimeDuration": null,
        "scopes": [{"controlScope": "a", "experimentScope": "b", "startTimeIso": "2026-01-01T00:00:00+00:00",
            "endTimeIso": "2026-01-01T01:00:30Z", "step": "10", "extendedScopeParams": {"k": "v"}}]});
    let bench = driven(
        &fake,
        canary(json!({"analysisType": "retrospective"}), settings(past)),
    )
    .await;
    assert_eq!(
        bench.status(),
        Status::Succeeded,
        "{:#?}",
        bench.execution()
    );
    let runs = fake.canary_runs();
    let windows: Vec<_> = runs
        .iter()
        .map(|run| {
            let scope = &run.request["scopes"]["default"]["experimentScope"];
            assert_eq!(
                (&scope["step"], &scope["extendedScopeParams"]),
                (&json!(10), &json!({"k": "v"}))
            );
            (
                scope["start"].as_str().unwrap().to_owned(),
                scope["end"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let expected = [
        (
            "2026-01-01T00:15:00Z".to_owned(),
            "2026-01-01T00:30:00Z".to_owned(),
        ),
        (
            "2026-01-01T00:45:00Z".to_owned(),
            "2026-01-01T01:00:00Z".to_owned(),
        ),
    ];
    assert_eq!(windows, expected);
    assert!(!names(&bench).iter().any(|name| name.contains("Wait")));
}

#[tokio::test]
async fn the_score_and_the_thresholds_decide_as_in_orca() {
    let message = "canaryScoreMessage";
    for (thresholds, score, ends, run, top) in [
        (
            json!({"pass": 75, "marginal": 50}),
            50.9,
            Status::Terminal,
            "Canary score is not above the marginal score threshold.",
            "",
        ),
        (
            json!({"pass": 75, "marginal": 50}),
            51.0,
            Status::Terminal,
            "",
            "Final canary score 51.0 is below the pass score threshold.",
        ),
        (
            json!({"pass": "75", "marginal": null}),
            75.9,
            Status::Succeeded,
            "No marginal score threshold was specified.",
            "Final canary score 75.0 met or exceeded the pass score threshold.",
        ),
        (
            json!({"marginal": "50.7"}),
            51.0,
            Status::Succeeded,
            "",
            "No pass score threshold was specified.",
        ),
        (
            json!({}),
            0.0,
            Status::Succeeded,
            "No score thresholds were specified.",
            "No score thresholds were specified.",
        ),
        (
            json!({"pass": "${70 + 5}", "marginal": "${'5' + '0'}"}),
            80.0,
            Status::Succeeded,
            "",
            "Final canary score 80.0 met or exceeded the pass score threshold.",
        ),
    ] {
        let fake = Fake::new();
        configured(&fake);
        fake.canary_run(worse(score, json!({})));
        let once = json!({"scoreThresholds": thresholds, "canaryAnalysisIntervalMins": null});
        let bench = driven(&fake, canary(json!({}), settings(once))).await;
        assert_eq!(
            bench.status(),
            ends,
            "{thresholds}: {:#?}",
            bench.execution()
        );
        for (name, told) in [("Run Canary #1", run), ("kayentaCanary 1", top)] {
            let stage = named(&bench, name);
            assert_eq!(
                stage
                    .context
                    .get(message)
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
                told
            );
        }
        let one = named(&bench, "Run Canary #1");
        assert_eq!(one.context["warnings"].as_array().map(Vec::len), Some(1));
        if ends == Status::Terminal {
            let failed = if run.is_empty() {
                named(&bench, "kayentaCanary 1")
            } else {
                one
            };
            let text = json!(failed.context["exception"]).to_string();
            assert!(
                text.contains("errors: 0.021 against the baseline's 0.0017, +1135.0 %"),
                "{text}"
            );
            assert!(
                text.contains("http://127.0.0.1:8084/v2/canaries/canary/run-1"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_bad_interval_ends_the_analysis_at_once_and_may_be_ignored() {
    for (more, ends) in [
        (json!({}), Status::Terminal),
        (json!({"continuePipeline": true}), Status::FailedContinue),
    ] {
        let fake = Fake::new();
        configured(&fake);
        fake.canary_run(worse(10.0, json!({})));
        let bench = driven(&fake, canary(more, settings(json!({})))).await;
        assert_eq!(
            named(&bench, "kayentaCanary 1").status,
            ends,
            "{:#?}",
            bench.execution()
        );
        assert_eq!(fake.canary_runs().len(), 1);
    }
}

#[tokio::test]
async fn a_run_that_halts_says_why() {
    for (run, told) in [
        (
            json!({"status": "canceled", "complete": true}),
            "Canary execution was canceled.",
        ),
        (
            json!({"status": "terminal", "complete": true, "exception": {"details": {"errors": ["store answered 500"]}}}),
            "store answered 500",
        ),
        (
            json!({"status": "stopped", "complete": true}),
            "ended as stopped",
        ),
        (
            json!({"status": "succeeded", "complete": true}),
            "ended without a score",
        ),
    ] {
        let fake = Fake::new();
        configured(&fake);
        fake.canary_run(run);
        let bench = driven(&fake, canary(json!({}), settings(json!({})))).await;
        assert_eq!(bench.status(), Status::Terminal);
        let text = why(named(&bench, "Run Canary #1"));
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[tokio::test]
async fn a_judge_that_decides_gets_one_run_and_its_decision_counts_at_once() {
    let decided = |decision: &str| {
        worse(
            0.0,
            json!({"decision": decision, "complete": false, "status": "running",
            "decisionReason": "e-value 120 after 14 steps"}),
        )
    };
    for (decision, on, ends, told) in [
        (
            "FAIL",
            "fail",
            Status::Terminal,
            "canary is worse than the baseline: errors: 0.021",
        ),
        (
            "INCONCLUSIVE",
            "fail",
            Status::Terminal,
            "The canary judge could not decide: e-value 120 after 14 steps; \
            judge longer",
        ),
        ("PASS", "fail", Status::Succeeded, ""),
    ] {
        let fake = Fake::new();
        configured(&fake);
        let mut run = decided(decision);
        if decision == "PASS" {
            run["result"]["judgeResult"]["score"]["score"] = json!(100);
        }
        fake.canary_run(run);
        let seconds = json!({"canaryConfigId": "s", "lifetimeDuration": "PT45S", "beginCanaryAnalysisAfterSeconds": 5,
            "canaryAnalysisIntervalMins": null});
        let bench = driven(
            &fake,
            canary(json!({"onInconclusive": on}), settings(seconds)),
        )
        .await;
        assert_eq!(bench.status(), ends, "{decision}: {:#?}", bench.execution());
        let runs = fake.canary_runs();
        let plan = runs[0].plan.unwrap();
        assert_eq!(
            (plan.lifetime_ms, plan.begin_after_ms, plan.interval_ms),
            (45_000, 5_000, 45_000)
        );
        assert_eq!(
            Some(plan.start_ms),
            named(&bench, "Run Canary Intervals").start_time
        );
        assert!(!names(&bench).iter().any(|name| name.contains("Wait")));
        let one = named(&bench, "Run Canary #1");
        assert_eq!(one.context["canaryDecision"], decision);
        assert!(why(one).contains(told), "{}", why(one));
    }
}

#[tokio::test]
async fn a_score_that_fails_for_want_of_data_says_so() {
    let lacks = "Canary Failed: 50% or more metrics returned NODATA";
    let missing = json!({"name": "errors", "classification": "NodataFailMetric", "critical": false,
        "classificationReason": "Missing data for errors"});
    let other = json!({"name": "cpu", "classification": "Nodata", "classificationReason": "Missing data for cpu"});
    let score = "canary score 0 is not above the marginal threshold 50";
    for (results, reason, told) in [
        (json!([other]), lacks, format!("{score}: {lacks}")),
        (
            json!([missing, other]),
            "",
            format!("{score}: errors: Missing data for errors"),
        ),
        (json!([missing, other]), lacks, lacks.to_owned()),
        (json!([other]), "", score.to_owned()),
    ] {
        let fake = Fake::new();
        configured(&fake);
        let mut run = orchestrator::services::fake::judged(0.0);
        run["result"]["judgeResult"]["results"] = results;
        run["result"]["judgeResult"]["score"]["classificationReason"] = json!(reason);
        fake.canary_run(run);
        let bench = driven(&fake, canary(json!({}), settings(json!({})))).await;
        assert_eq!(bench.status(), Status::Terminal);
        let one = named(&bench, "Run Canary #1");
        let lines = json!(one.context["exception"]["details"]).to_string();
        assert!(lines.contains(&told), "{told}: {lines}");
        assert_eq!(
            one.context["canaryScoreMessage"],
            "Canary score is not above the marginal score threshold."
        );
    }
}

#[tokio::test]
async fn a_config_is_found_by_its_name() {
    let fake = Fake::new();
    configured(&fake);
    let named_so = json!({"canaryConfigId": null, "canaryConfigName": "c-config"});
    let bench = driven(&fake, canary(json!({}), settings(named_so))).await;
    assert_eq!(bench.status(), Status::Succeeded);
    assert!(fake.canary_runs().iter().all(|run| run.config_id == "c"));
}

#[tokio::test]
async fn what_a_stage_lacks_is_told_before_anything_is_done() {
    for (more, canary_config, told) in [
        (
            json!({}),
            json!({"scopes": []}),
            "must contain at least one scope",
        ),
        (
            json!({}),
            json!({"lifetimeDuration": null}),
            "either `endTime` or `lifetimeDuration`",
        ),
        (
            json!({}),
            json!({"lifetimeDuration": "soon"}),
            "canaryConfig.lifetimeDuration: \"soon\" is no duration",
        ),
        (
            json!({}),
            json!({"canaryAnalysisIntervalMins": "x"}),
            "canaryConfig.canaryAnalysisIntervalMins: \"x\" is no",
        ),
        (
            json!({}),
            json!({"scoreThresholds": {"pass": 120}}),
            "canaryConfig.scoreThresholds.pass: 120 is no score",
        ),
        (
            json!({}),
            json!({"canaryConfigId": null}),
            "name the canary config",
        ),
        (
            json!({"onInconclusive": "hope"}),
            json!({}),
            "onInconclusive \"hope\" is unknown; use fail or pause",
        ),
        (
            json!({"deployments": {}}),
            json!({}),
            "deployments.baseline is missing",
        ),
    ] {
        let fake = Fake::new();
        configured(&fake);
        let bench = driven(&fake, canary(more, settings(canary_config))).await;
        assert_eq!(bench.status(), Status::Terminal);
        let text = why(named(&bench, "kayentaCanary 1"));
        assert!(text.contains(told), "{told}: {text}");
        assert!(fake.canary_runs().is_empty());
    }
}

#[tokio::test]
async fn as_many_judgements_as_steps_are_for_a_judge_that_decides_after_each() {
    let often = json!({"lifetimeDuration": "PT1H", "canaryAnalysisIntervalSeconds": 5,
        "canaryAnalysisIntervalMins": null});
    for (config, ends) in [("s", Status::Succeeded), ("c", Status::Terminal)] {
        let fake = Fake::new();
        super::serving(&fake);
        let mut often = settings(often.clone());
        often["canaryConfigId"] = json!(config);
        let stage = canary(json!({"deployments": super::deployments()}), often);
        let bench = driven(&fake, stage).await;
        assert_eq!(bench.status(), ends, "{config}: {:#?}", bench.execution());
        if ends == Status::Terminal {
            let text = why(named(&bench, "Resolve Canary Config"));
            let told = "it makes 720 judgements, more than the 500 allowed";
            assert!(text.contains(told), "{text}");
            assert_eq!(fake.operations(), []);
        }
    }
}

#[tokio::test]
async fn a_lifetime_under_a_minute_is_judged_once() {
    let fake = Fake::new();
    configured(&fake);
    let short = json!({"lifetimeDuration": "PT30S", "canaryAnalysisIntervalMins": "5"});
    let bench = driven(&fake, canary(json!({}), settings(short))).await;
    assert_eq!(bench.status(), Status::Succeeded);
    assert_eq!(named(&bench, "Interval Wait #1").context["waitTime"], 30);
    assert_eq!(fake.canary_runs().len(), 1);
}

#[tokio::test]
async fn an_expression_finds_a_canary_config_by_its_name() {
    let fake = Fake::new();
    configured(&fake);
    let by_function = json!({"canaryConfigId": "${#canaryConfigNameToId('c-config', 'app')}"});
    let config = settings(by_function);
    let rig = crate::rig::Rig::over(crate::rig::memory(), fake.clone(), crate::rig::quick()).await;
    let stages = json!([canary(json!({}), {
        let mut short = config;
        short["lifetimeDuration"] = json!("PT1S");
        short
    })]);
    let id = rig.start_stages(stages).await;
    rig.ends(&id, "SUCCEEDED").await;
    assert_eq!(fake.canary_runs()[0].config_id, "c");
}

#[tokio::test]
async fn who_is_told_of_a_failed_canary_learns_which_metric_by_how_much_and_where() {
    for (config, more) in [
        (json!({}), json!({})),
        (
            json!({"canaryConfigId": "s"}),
            json!({"decision": "FAIL", "decisionReason": "e-value 120"}),
        ),
    ] {
        let fake = Fake::new();
        configured(&fake);
        fake.canary_run(worse(0.0, more));
        let bench = driven(&fake, canary(json!({}), settings(config))).await;
        let cause = orchestrator::notification::cause::of_execution(bench.execution()).unwrap();
        let lines = cause.lines().join("\n");
        let told = "errors: 0.021 against the baseline's 0.0017, +1135.0 %";
        assert!(lines.lines().next().unwrap().contains(told), "{lines}");
        let link = "see http://127.0.0.1:8084/v2/canaries/canary/run-1";
        assert!(lines.contains(link), "{lines}");
    }
}

#[tokio::test]
async fn what_the_judge_says_is_no_expression() {
    let fake = Fake::new();
    configured(&fake);
    let said = "pod ${1 + 1} was silent";
    let mut run = worse(
        50.0,
        json!({"decision": "INCONCLUSIVE", "decisionReason": said}),
    );
    run["warnings"] = json!([said]);
    run["result"]["judgeResult"]["results"][0]["name"] = json!("${1 + 1} errors");
    fake.canary_run(run);
    let pausing = json!({"onInconclusive": "pause"});
    let bench = driven(
        &fake,
        canary(pausing, settings(json!({"canaryConfigId": "s"}))),
    )
    .await;
    let asked = named(&bench, "Go on with the canary?");
    let told = "The canary judge could not decide: pod $ {1 + 1} was silent";
    assert_eq!(asked.context["instructions"], told);
    for name in ["Run Canary #1", "kayentaCanary 1"] {
        let stage = named(&bench, name);
        assert_eq!(stage.context["canaryScoreMessage"], told);
        let text = json!(stage.context["canaryFindings"]).to_string();
        assert!(text.contains("$ {1 + 1} errors"), "{text}");
    }
}
