//! Stages that look at other executions: wait for them, start several, take their artifacts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orchestrator::services::fake::Fake;
use orchestrator_core::{ExecutionType, Status, command};
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::rig::{Rig, make, stage};

/// The only stage of the user's, served, once everything has ended.
async fn end(fake: &Fake, kind: &str, fields: Value) -> Value {
    let mut bench = Bench::new(fake.clone(), json!([make(kind, "1", &[], fields)]));
    bench.drive(|_, _| Act::Run).await;
    stage(&bench.execution().to_json(), "1").clone()
}

fn error(stage: &Value) -> &str {
    let errors = &stage["context"]["exception"]["details"]["errors"];
    errors[0].as_str().unwrap_or_default()
}

fn other(id: &str, status: &str) -> Value {
    json!({"id": id, "name": "child", "application": "app", "status": status, "stages": [
        {"id": "s", "name": "one", "refId": "1", "status": status, "outputs": {"made": id},
         "context": {"exception": {"details": {"errors": ["it broke"]}}}}]})
}

#[tokio::test]
async fn executions_are_waited_for_and_told_of() {
    let fake = Fake::new();
    for (id, status) in [
        ("a", "SUCCEEDED"),
        ("b", "SUCCEEDED"),
        ("f", "TERMINAL"),
        ("c", "CANCELED"),
        ("r", "RUNNING"),
    ] {
        fake.execution(other(id, status));
    }
    let failed = "At least one monitored pipeline failed, look for errors in failed pipelines";
    let canceled = "At least one monitored pipeline was cancelled";
    for (ids, behaviour, status, why) in [
        (json!(["a", "b"]), "WaitForAllToComplete", "SUCCEEDED", ""),
        (
            json!(["a", "f"]),
            "WaitForAllToComplete",
            "TERMINAL",
            failed,
        ),
        (json!(["f", "c"]), "FailFast", "TERMINAL", failed),
        (json!(["f", "r"]), "FailFast", "TERMINAL", failed),
        (json!(["a", "c"]), "FailFast", "CANCELED", canceled),
        (
            json!([]),
            "FailFast",
            "TERMINAL",
            "no pipeline execution ids to monitor",
        ),
    ] {
        let asked = json!({"executionIds": ids, "monitorBehavior": behaviour});
        let ended = end(&fake, "monitorPipeline", asked).await;
        assert_eq!(ended["status"], status, "{ids}");
        assert_eq!(error(&ended), why, "{ids}");
        let told = &ended["outputs"]["executionStatuses"];
        for id in ids.as_array().unwrap() {
            assert_eq!(told[id.as_str().unwrap()]["application"], "app");
        }
        if ids == json!(["a", "f"]) {
            assert_eq!(told["a"]["status"], "SUCCEEDED");
            let exception = &told["f"]["exception"];
            assert_eq!(
                exception["details"]["errors"],
                json!(["Exception in child pipeline stage (child: one): it broke"])
            );
            assert_eq!(exception["source"]["executionId"], "f");
        }
        // Of several nobody's outputs are its own.
        assert_eq!(ended["outputs"]["made"], Value::Null);
    }
    let one = end(&fake, "monitorPipeline", json!({"executionIds": ["a"]})).await;
    assert_eq!(one["outputs"]["made"], "a");
    // One that runs is waited for until the limit.
    let runs = end(
        &fake,
        "monitorPipeline",
        json!({"executionIds": ["f", "r"], "stageTimeoutMs": 60_000}),
    )
    .await;
    assert!(error(&runs).contains("timed out"), "{runs}");
}

fn several(more: Value) -> Value {
    let mut asked = json!({"yamlConfig": [{"bundle_web": {
        "last": {"child_pipeline": "Q", "arguments": {"n": 3}, "depends_on": ["one", "two"]},
        "one": {"child_pipeline": "Q", "arguments": {"n": 1}},
        "two": {"child_pipeline": "Q", "arguments": {"n": 2}, "depends_on": null},
    }}]});
    asked
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().cloned().unwrap());
    asked
}

fn with_pipeline() -> Fake {
    let fake = Fake::new();
    fake.pipeline(json!({"application": "app", "name": "Q", "id": "q", "stages": []}));
    fake
}

fn started(fake: &Fake) -> Vec<String> {
    let all = fake.started();
    all.iter()
        .map(|p| {
            format!(
                "{} {}",
                p["trigger"]["executionIdentifier"].as_str().unwrap(),
                p["trigger"]["parameters"]["n"]
            )
        })
        .collect()
}

#[tokio::test]
async fn pipelines_of_a_list_run_level_by_level() {
    let fake = with_pipeline();
    let ended = end(&fake, "runMultiplePipelines", several(json!({}))).await;
    assert_eq!(ended["status"], "SUCCEEDED", "{ended}");
    assert_eq!(started(&fake), ["one 1", "two 2", "last 3"]);
    let list = ended["outputs"]["executionsList"].as_array().unwrap();
    let told: Vec<_> = list
        .iter()
        .map(|one| format!("{} {}", one["executionIdentifier"], one["status"]))
        .collect();
    assert_eq!(
        told,
        [
            r#""one" "SUCCEEDED""#,
            r#""two" "SUCCEEDED""#,
            r#""last" "SUCCEEDED""#
        ]
    );
    for gone in ["orderOfExecutions", "runMultiplePipelinesOutputs"] {
        assert_eq!(ended["context"][gone], Value::Null, "{gone}");
    }
    let trigger = &fake.started()[0]["trigger"];
    assert_eq!(trigger["parentPipelineId"], "E");
    assert!(trigger["parentExecution"].get("stages").is_none());
}

#[tokio::test]
async fn a_level_that_fails_holds_the_next_unless_that_is_ignored() {
    let fake = with_pipeline();
    fake.children_are("TERMINAL");
    let ended = end(&fake, "runMultiplePipelines", several(json!({}))).await;
    assert_eq!(ended["status"], "TERMINAL");
    assert!(error(&ended).starts_with("At least one monitored pipeline failed"));
    assert_eq!(started(&fake).len(), 2);
    assert_eq!(
        ended["outputs"]["executionsList"].as_array().unwrap().len(),
        2
    );
    let fake = with_pipeline();
    fake.children_are("CANCELED");
    let ended = end(
        &fake,
        "runMultiplePipelines",
        several(json!({"ignoreUncompleted": true})),
    )
    .await;
    assert_eq!(ended["status"], "CANCELED");
    assert_eq!(started(&fake).len(), 3);
}

#[tokio::test]
async fn a_list_with_an_unknown_pipeline_starts_nothing() {
    let fake = with_pipeline();
    let mut asked = several(json!({}));
    asked["yamlConfig"][0]["bundle_web"]["two"]["child_pipeline"] = json!("Z");
    let ended = end(&fake, "runMultiplePipelines", asked).await;
    assert_eq!(ended["status"], "TERMINAL");
    assert_eq!(error(&ended), "two: application app has no pipeline \"Z\"");
    assert!(started(&fake).is_empty());
}

#[tokio::test]
async fn who_cancels_or_restarts_the_stage_means_its_children() {
    let fake = with_pipeline();
    fake.children_are("RUNNING");
    let several = make("runMultiplePipelines", "1", &[], several(json!({})));
    let mut bench = Bench::new(fake.clone(), json!([several]));
    let mut looked = 0;
    bench
        .drive(|_, run| {
            looked += usize::from(run.task_type == "monitorMultiplePipelinesTask");
            let cancels = looked == 2 && run.task_type == "monitorMultiplePipelinesTask";
            if cancels { Act::Cancel } else { Act::Run }
        })
        .await;
    assert_eq!(bench.status(), Status::Canceled);
    assert_eq!(fake.canceled().len(), 2);
    fake.children_are("SUCCEEDED");
    let id = bench.execution().stages[0].id.clone();
    let effects = command::restart_stage(bench.execution(), &id, "ann").unwrap();
    bench.command(effects);
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Succeeded);
    assert_eq!(
        started(&fake),
        ["one 1", "two 2", "one 1", "two 2", "last 3"]
    );
}

#[tokio::test]
async fn texts_become_artifacts_each_with_those_before_it() {
    let entry =
        |name: &str, contents: &str| json!({"name": name, "contents": contents, "id": "${never}"});
    let fields = json!({
        "artifactContents": [entry("a", "x${1 + 1}"), entry("b", "${a}y"), entry("c", "${nothing.there}"), entry("d", "")],
        "expectedArtifacts": [{"id": "e", "matchArtifact": {"name": "b", "type": "embedded/base64"}}],
    });
    let body = json!({"application": "app", "name": "p", "spelEvaluator": "v4",
        "stages": [make("evaluateArtifacts", "1", &[], fields)]});
    let mut bench = Bench::of(Fake::new(), ExecutionType::Pipeline, &body);
    bench.drive(|_, _| Act::Run).await;
    let served = bench.execution().to_json();
    let stage = stage(&served, "1");
    assert_eq!(stage["status"], "SUCCEEDED", "{stage}");
    let names: Vec<_> = stage["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].clone())
        .collect();
    assert_eq!(names, ["evaluateArtifacts", "bindArtifacts"]);
    let contents: Vec<_> = stage["context"]["artifactContents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["contents"].clone())
        .collect();
    assert_eq!(contents, ["x2", "x2y", "${nothing.there}", ""]);
    // What is no text of an artifact is left alone.
    assert_eq!(stage["context"]["artifactContents"][0]["id"], "${never}");
    assert!(
        stage["context"]["expressionEvaluationSummary"]
            .to_string()
            .contains("nothing")
    );
    let bound = &stage["outputs"]["resolvedExpectedArtifacts"][0]["boundArtifact"];
    assert_eq!(bound["reference"], STANDARD.encode("x2y"));
    assert_eq!(bound["artifactAccount"], "embedded-artifact");
}

fn found(options: Value, expected: Value) -> Value {
    json!({"application": "app", "pipeline": "q", "executionOptions": options, "expectedArtifacts": expected})
}

#[tokio::test]
async fn artifacts_of_the_last_execution_in_a_wanted_status_are_bound() {
    let fake = Fake::new();
    for (id, status, start) in [
        ("old", "SUCCEEDED", 1),
        ("new", "SUCCEEDED", 2),
        ("bad", "TERMINAL", 3),
        ("now", "RUNNING", 4),
    ] {
        fake.execution(json!({"id": id, "pipelineConfigId": "q", "application": "app", "status": status,
            "startTime": start, "trigger": {"artifacts": [{"name": "a", "version": "trigger"}]},
            "stages": [{"id": "s", "refId": "9", "outputs": {"artifacts": [{"name": "a", "version": id}]}}]}));
    }
    let expected = json!([{"id": "e", "matchArtifact": {"name": "a"}}]);
    for (options, version) in [
        (json!({"succeeded": true}), "new"),
        (json!({"succeeded": true, "terminal": "true"}), "bad"),
        (
            json!({"succeeded": true, "terminal": true, "running": true}),
            "now",
        ),
    ] {
        let ended = end(
            &fake,
            "findArtifactFromExecution",
            found(options, expected.clone()),
        )
        .await;
        assert_eq!(ended["status"], "SUCCEEDED", "{ended}");
        for place in ["context", "outputs"] {
            assert_eq!(ended[place]["artifacts"][0]["version"], version);
            assert_eq!(
                ended[place]["resolvedExpectedArtifacts"][0]["boundArtifact"]["version"],
                version
            );
        }
    }
    let none = end(
        &fake,
        "findArtifactFromExecution",
        found(json!({}), expected.clone()),
    )
    .await;
    assert!(error(&none).starts_with("executionOptions asks for no execution"));
    let other = json!([{"id": "e", "matchArtifact": {"name": "b"}}]);
    let unmatched = end(
        &fake,
        "findArtifactFromExecution",
        found(json!({"succeeded": true}), other),
    )
    .await;
    assert_eq!(unmatched["status"], "TERMINAL");
    assert!(
        error(&unmatched).contains("could not be resolved"),
        "{unmatched}"
    );
    // Without any execution a default stands in.
    let mut default = found(
        json!({"succeeded": true}),
        json!([{"id": "e", "matchArtifact": {"name": "b"},
        "useDefaultArtifact": true, "defaultArtifact": {"name": "d"}}]),
    );
    default["pipeline"] = json!("none");
    let ended = end(&fake, "findArtifactFromExecution", default).await;
    assert_eq!(ended["outputs"]["artifacts"][0]["name"], "d");
}

#[tokio::test]
async fn a_stage_does_not_find_what_it_made_itself_before() {
    let fake = Fake::new();
    fake.execution(json!({"id": "x", "pipelineConfigId": "q", "application": "app", "status": "SUCCEEDED",
        "startTime": 1, "stages": [
            {"id": "s", "refId": "0", "outputs": {"artifacts": [{"name": "a", "version": "other"}]}},
            {"id": "t", "refId": "1", "outputs": {"artifacts": [{"name": "a", "version": "own"}]}}]}));
    let fields = found(
        json!({"succeeded": true}),
        json!([{"id": "e", "matchArtifact": {"name": "a"}}]),
    );
    for (config, version) in [("q", "other"), ("z", "own")] {
        let body = json!({"application": "app", "name": "p", "id": config,
            "stages": [make("findArtifactFromExecution", "1", &[], fields.clone())]});
        let mut bench = Bench::of(fake.clone(), ExecutionType::Pipeline, &body);
        bench.drive(|_, _| Act::Run).await;
        let served = bench.execution().to_json();
        let bound = &stage(&served, "1")["outputs"]["artifacts"][0]["version"];
        assert_eq!(bound, version, "{served}");
    }
}

#[tokio::test]
async fn the_engine_tells_the_execution_that_started_last() {
    let rig = Rig::up().await;
    let expected = json!([{"id": "e", "matchArtifact": {"name": "a"}}]);
    for version in ["1", "2"] {
        let body = json!({"application": "app", "name": "made", "id": "q",
            "stages": [make("wait", "1", &[], json!({"waitTime": 0}))],
            "trigger": {"artifacts": [{"name": "a", "version": version}]}});
        let id = rig.start(&body).await;
        rig.ends(&id, "SUCCEEDED").await;
    }
    for (application, ends) in [("App", "SUCCEEDED"), ("other", "TERMINAL")] {
        let mut fields = found(json!({"succeeded": true}), expected.clone());
        fields["application"] = json!(application);
        let id = rig
            .start_stages(json!([make("findArtifactFromExecution", "1", &[], fields)]))
            .await;
        let ended = rig.ends(&id, ends).await;
        let bound = &stage(&ended, "1")["outputs"]["artifacts"][0]["version"];
        assert_eq!(
            *bound,
            if ends == "SUCCEEDED" {
                json!("2")
            } else {
                Value::Null
            }
        );
    }
}
