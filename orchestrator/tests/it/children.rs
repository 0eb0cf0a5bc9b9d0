//! Executions that start others: what goes down, what comes back, what is kept.

use orchestrator::services::fake::{Fake, response};
use proto::common::v1::{Json, PageRequest};
use proto::message::{EXECUTION_REQUESTS, ExecutionRequested};
use proto::orchestrator::v1::{GetExecutionRequest, ListExecutionsRequest, StartRequest};
use serde_json::{Value, json};
use servers::Redis;
use store::{Address, Batch, Mode, Outgoing};

use crate::rig::{Rig, as_user, eventually, make, on, pipeline, quick, stage, webhook};

fn definition(id: &str, stages: Value, more: Value) -> Value {
    let mut definition = pipeline(id, stages);
    definition["id"] = json!(id);
    let fields = definition.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    definition
}

fn runs(id: &str) -> Value {
    make(
        "pipeline",
        "1",
        &[],
        json!({"application": "app", "pipeline": id}),
    )
}

fn no_wait() -> Value {
    make("wait", "1", &[], json!({"waitTime": 0}))
}

fn variable(name: &str, value: &str) -> Value {
    let variables = json!([{"key": name, "value": value}]);
    make(
        "evaluateVariables",
        "1",
        &[],
        json!({"variables": variables}),
    )
}

/// A pipeline whose trigger brings an image.
fn started_with(stages: Value, version: &str) -> Value {
    let mut body = pipeline("parent", stages);
    body["id"] = json!("cfg-parent");
    body["trigger"] = json!({"type": "manual", "artifacts": [image(version)]});
    body
}

fn image(version: &str) -> Value {
    json!({"type": "docker/image", "name": "app", "version": version, "reference": format!("app:{version}")})
}

async fn child_of(rig: &Rig, parent: &Value) -> Value {
    let id = stage(parent, "1")["context"]["executionId"].as_str();
    rig.get(id.unwrap()).await
}

#[tokio::test]
async fn a_child_receives_what_the_stage_sees_and_binds_what_it_expects() {
    let rig = Rig::up().await;
    let expected = json!([
        {"id": "came", "matchArtifact": {"name": "app"}},
        {"id": "other", "matchArtifact": {"name": "chart"}},
        {"id": "spare", "matchArtifact": {"name": "config"}, "useDefaultArtifact": true,
         "defaultArtifact": {"name": "config", "reference": "config:1"}},
    ]);
    rig.save(&definition(
        "cfg-child",
        json!([no_wait()]),
        json!({"expectedArtifacts": expected}),
    ))
    .await
    .unwrap();
    let id = rig
        .start(&started_with(json!([runs("cfg-child")]), "2"))
        .await;
    let parent = rig.ends(&id, "SUCCEEDED").await;
    let child = child_of(&rig, &parent).await;
    let trigger = &child["trigger"];
    assert_eq!(trigger["expectedArtifactIds"], json!(["came"]));
    let bound = trigger["resolvedExpectedArtifacts"].as_array().unwrap();
    let ids: Vec<&Value> = bound.iter().map(|e| &e["id"]).collect();
    assert_eq!(ids, ["came", "spare"], "{trigger:#}");
    assert_eq!(bound[0]["boundArtifact"]["reference"], "app:2");
    assert_eq!(
        trigger["expectedArtifacts"],
        trigger["resolvedExpectedArtifacts"]
    );
    assert_eq!(trigger["receivedArtifacts"][0]["name"], "app");
    assert_eq!(child["rootId"], json!(id));
    assert_eq!(stage(&parent, "1")["context"]["status"], "SUCCEEDED");
}

#[tokio::test]
async fn a_child_that_lacks_an_artifact_is_kept_as_failed_and_its_parent_says_why() {
    let rig = Rig::up().await;
    let more = json!({
        "expectedArtifacts": [{"id": "e", "displayName": "the release",
            "matchArtifact": {"name": "app", "version": "rel-.*"}}],
        "triggers": [{"id": "t", "type": "pipeline", "enabled": true, "pipeline": "cfg-parent",
            "application": "app", "status": ["successful"], "expectedArtifactIds": ["e"]}],
    });
    rig.save(&definition("cfg-child", json!([no_wait()]), more))
        .await
        .unwrap();
    let id = rig
        .start(&started_with(json!([runs("cfg-child")]), "dev-7"))
        .await;
    let parent = rig.ends(&id, "TERMINAL").await;
    let child = child_of(&rig, &parent).await;
    assert_eq!(child["status"], "TERMINAL");
    assert_eq!(
        (&child["canceled"], &child["canceledBy"]),
        (&json!(true), &json!("system"))
    );
    let why = child["cancellationReason"].as_str().unwrap();
    assert!(
        why.starts_with("Failed on startup: Unmatched expected artifact the release"),
        "{why}"
    );
    assert!(
        why.contains("its version is \"dev-7\", not \"rel-.*\""),
        "{why}"
    );
    let errors = &stage(&parent, "1")["context"]["exception"]["details"]["errors"];
    assert!(
        errors[0].as_str().unwrap().contains("the release"),
        "{errors}"
    );
}

#[tokio::test]
async fn an_artifact_that_did_not_come_is_the_last_executions_and_a_near_miss_is_told() {
    let rig = Rig::up().await;
    let with = |trigger: Value| {
        let mut body = started_with(json!([no_wait()]), "1");
        body["expectedArtifacts"] = json!([{"id": "e", "usePriorArtifact": true,
            "matchArtifact": {"name": "app", "version": "[0-9]"}}]);
        body["trigger"] = trigger;
        body
    };
    let refused = rig.try_start(&with(json!({})), "").await.unwrap_err();
    assert!(refused.message.contains("no artifact came"), "{refused}");
    let first = rig.start(&with(json!({"artifacts": [image("1")]}))).await;
    rig.ends(&first, "SUCCEEDED").await;
    let second = rig.start(&with(json!({"artifacts": [image("dev")]}))).await;
    let second = rig.ends(&second, "SUCCEEDED").await;
    let bound = &second["trigger"]["resolvedExpectedArtifacts"][0]["boundArtifact"];
    assert_eq!(bound["version"], "1");
    let notice = second["systemNotifications"][0]["message"]
        .as_str()
        .unwrap();
    assert!(notice.contains("its version is \"dev\""), "{notice}");
    let listed = rig.get(second["id"].as_str().unwrap()).await;
    assert_eq!(listed["trigger"]["artifacts"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_stage_has_to_make_what_it_promises() {
    let rig = Rig::up().await;
    let promising = |version: &str| {
        let expected = json!([{"id": "e", "matchArtifact": {"name": "app", "version": version}}]);
        let hook =
            json!({"url": "http://hook.test/x", "method": "POST", "expectedArtifacts": expected});
        started_with(json!([make("webhook", "1", &[], hook)]), "2")
    };
    let kept = rig.start(&promising("2")).await;
    let kept = rig.ends(&kept, "SUCCEEDED").await;
    for place in ["context", "outputs"] {
        let own = &stage(&kept, "1")[place];
        assert_eq!(own["artifacts"][0]["reference"], "app:2");
        assert_eq!(own["resolvedExpectedArtifacts"][0]["id"], "e");
    }
    let broken = rig.start(&promising("3")).await;
    let broken = rig.ends(&broken, "TERMINAL").await;
    let text = stage(&broken, "1")["context"]["exception"].to_string();
    assert!(text.contains("not \\\"3\\\""), "{text}");
}

#[tokio::test]
async fn the_parent_is_a_reference_that_is_read_when_somebody_asks() {
    let rig = Rig::up().await;
    let asks = "${trigger.parentExecution.stages[0].name} of ${trigger.parentExecution.name}";
    for (id, evaluator) in [
        ("early", json!({})),
        ("late", json!({"spelEvaluator": "v4"})),
    ] {
        let child = definition(id, json!([variable("who", asks)]), evaluator);
        rig.save(&child).await.unwrap();
    }
    for id in ["early", "late"] {
        let middle = format!("middle-{id}");
        rig.save(&definition(&middle, json!([runs(id)]), json!({})))
            .await
            .unwrap();
        let top = rig.start(&pipeline("top", json!([runs(&middle)]))).await;
        let top = rig.ends(&top, "SUCCEEDED").await;
        let middle = child_of(&rig, &top).await;
        let child = child_of(&rig, &middle).await;
        let who = &stage(&child, "1")["outputs"]["who"];
        assert_eq!(
            *who,
            json!(format!("pipeline 1 of middle-{id}")),
            "{child:#}"
        );
        let parent = &child["trigger"]["parentExecution"];
        assert_eq!(parent["id"], middle["id"]);
        assert_eq!(stage(parent, "1")["status"], "SUCCEEDED");
        let above = &parent["trigger"]["parentExecution"];
        assert_eq!(
            (&above["name"], &above["stages"]),
            (&json!("top"), &json!([]))
        );
        assert_eq!(child["rootId"], top["id"]);
    }
}

#[tokio::test]
async fn a_stage_of_a_child_that_is_run_again_is_waited_for_again() {
    let rig = Rig::up().await;
    let hook = json!({"url": "http://hook.test/flaky", "failFastStatusCodes": [404]});
    let child = definition(
        "cfg-child",
        json!([make("webhook", "1", &[], hook)]),
        json!({}),
    );
    rig.save(&child).await.unwrap();
    rig.fake
        .answer("http://hook.test/flaky", Ok(response(404, &json!({}))));
    let id = rig
        .start(&pipeline("top", json!([runs("cfg-child")])))
        .await;
    let parent = rig.ends(&id, "TERMINAL").await;
    let child = child_of(&rig, &parent).await;
    let child_id = child["id"].as_str().unwrap();
    rig.restart(child_id, stage(&child, "1")).await.unwrap();
    rig.ends(child_id, "SUCCEEDED").await;
    let parent = rig.ends(&id, "SUCCEEDED").await;
    let own = &stage(&parent, "1")["context"];
    assert_eq!(own["executionId"], json!(child_id));
    assert_eq!(own["_skipPipelineRestart"], Value::Null);
    assert_eq!(own["restartDetails"]["restartedBy"], "ann");
    let tasks = stage(&parent, "1")["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 1, "{tasks:#?}");
    assert!(rig.fake.requests().len() == 2);
}

#[tokio::test]
async fn a_start_by_hand_that_names_a_parent_has_what_that_one_made() {
    let rig = Rig::up().await;
    let parent = rig.start(&started_with(json!([no_wait()]), "2")).await;
    rig.ends(&parent, "SUCCEEDED").await;
    let mut body = pipeline("next", json!([no_wait()]));
    body["trigger"] = json!({"type": "manual", "parentPipelineId": parent});
    let id = rig.start(&body).await;
    let trigger = rig.ends(&id, "SUCCEEDED").await["trigger"].clone();
    assert_eq!(trigger["artifacts"][0]["reference"], "app:2");
    assert_eq!(trigger["parentPipelineName"], "parent");
    assert_eq!(trigger["parentStatus"], "SUCCEEDED");
    assert_eq!(trigger["isPipeline"], true);
    assert_eq!(trigger["parentExecution"]["id"], json!(parent));
    body["trigger"] = json!({"parentPipelineId": "01ARZ3NDEKTSV4RRFFQ69G5FAV"});
    rig.start(&body).await;
}

#[tokio::test]
async fn what_a_dry_run_starts_is_a_dry_run() {
    let rig = Rig::up().await;
    let hook = json!([make(
        "webhook",
        "1",
        &[],
        json!({"url": "http://hook.test/x"})
    )]);
    rig.save(&definition("cfg-child", hook, json!({})))
        .await
        .unwrap();
    let mut body = pipeline("top", json!([runs("cfg-child")]));
    body["trigger"] = json!({"dryRun": true});
    let id = rig.start(&body).await;
    rig.ends(&id, "SUCCEEDED").await;
    assert!(rig.fake.requests().is_empty());
}

#[tokio::test]
async fn a_limit_for_each_pipeline_holds_for_all_pages_together() {
    let rig = Rig::up().await;
    let mut started = Vec::new();
    for _ in 0..3 {
        for id in ["a", "b"] {
            started.push(
                rig.start(&definition(id, json!([no_wait()]), json!({})))
                    .await,
            );
        }
    }
    for id in &started {
        rig.ends(id, "SUCCEEDED").await;
    }
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let request = ListExecutionsRequest {
            application: "app".to_owned(),
            per_pipeline: 2,
            page: Some(PageRequest { size: 1, cursor }),
            ..ListExecutionsRequest::default()
        };
        let page = rig
            .executions
            .clone()
            .list(request)
            .await
            .unwrap()
            .into_inner();
        for execution in &page.executions {
            found.push(execution.value("execution").unwrap()["id"].clone());
        }
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    started.reverse();
    started.truncate(4);
    assert_eq!(found, started);
}

#[tokio::test]
async fn a_correlation_id_is_one_executions_until_it_ends() {
    let rig = Rig::up().await;
    let mut body = pipeline("p", json!([make("manualJudgment", "1", &[], json!({}))]));
    body["trigger"] = json!({"correlationId": "once"});
    let first = rig.start(&body).await;
    assert_eq!(rig.start(&body).await, first);
    let ask = rig.stage_is(&first, "1", "RUNNING").await;
    rig.update_stage(&first, &ask, json!({"judgmentStatus": "stop"}))
        .await
        .unwrap();
    rig.ends(&first, "TERMINAL").await;
    let second = rig.start(&body).await;
    assert_ne!(second, first);
    rig.cancel(&second).await.unwrap();
    rig.ends(&second, "CANCELED").await;
    // One that is begun again shares it with nobody, and keeps nobody out.
    rig.restart(&first, &ask).await.unwrap();
    let third = rig.start(&body).await;
    assert!(third != first && third != second);
}

#[tokio::test]
async fn a_plan_is_the_pipeline_with_all_that_is_known_and_starts_nothing() {
    let rig = Rig::up().await;
    let mut body = started_with(json!([variable("x", "${parameters.p}")]), "2");
    body["parameterConfig"] = json!([{"name": "p", "default": "d"}]);
    body["expectedArtifacts"] = json!([{"id": "e", "matchArtifact": {"name": "app"}}]);
    body["trigger"]["expectedArtifactIds"] = json!(["e"]);
    let plan = async |body: &Value| {
        let request = StartRequest {
            kind: 1,
            body: Some(Json::of(body)),
            event_id: String::new(),
        };
        let reply = rig.executions.clone().plan(as_user(request)).await;
        reply.map(|reply| reply.into_inner().value("plan").unwrap())
    };
    let planned = plan(&body).await.unwrap();
    assert_eq!(planned["stages"][0]["variables"][0]["value"], "d");
    let bound = &planned["trigger"]["resolvedExpectedArtifacts"][0]["boundArtifact"];
    assert_eq!(bound["reference"], "app:2");
    body["trigger"]["artifacts"] = json!([]);
    let refused = plan(&body).await.unwrap_err();
    assert!(refused.message().contains("no artifact came"), "{refused}");
    let mut executions = rig.executions.clone();
    let listed = executions.list(ListExecutionsRequest::default()).await;
    assert!(listed.unwrap().into_inner().executions.is_empty());
}

/// Has a pipeline started by an event, as its trigger does; answers the execution when it has ended.
async fn triggered(rig: &Rig, pipeline: &str, event: &str, recorded_at_ms: i64) -> Value {
    let asked = ExecutionRequested {
        application: "app".into(),
        pipeline_config_id: pipeline.into(),
        trigger_id: "t".into(),
        event_id: event.into(),
        recorded_at_ms,
        trigger: json!({"type": "webhook", "user": "bob"}),
    };
    let shards = rig.store.shards();
    let shard = shards.of_application("app");
    let batch = Batch::new(shard, event).message(Outgoing {
        to: Address::new(EXECUTION_REQUESTS, event, "app"),
        fingerprint: event.into(),
        mode: Mode::Ensure,
        delay_ms: 0,
        body: serde_json::to_vec(&asked).unwrap().into(),
    });
    rig.store.commit(batch).await.unwrap().unwrap();
    let id = shards.mint_id(recorded_at_ms, &format!("{pipeline}/t/{event}"), shard);
    eventually("started", async || {
        let id = id.clone();
        let request = GetExecutionRequest { kind: 0, id };
        rig.executions.clone().get(request).await.is_ok()
    })
    .await;
    rig.ends(&id, "SUCCEEDED").await
}

/// A pipeline that calls, then one that calls.
async fn save_both(rig: &Rig) {
    let child = definition("cfg-child", json!([webhook("1", &[])]), json!({}));
    rig.save(&child).await.unwrap();
    let mut runs = runs("cfg-child");
    runs["requisiteStageRefIds"] = json!(["1"]);
    runs["refId"] = json!("2");
    let stages = json!([webhook("1", &[]), runs]);
    let triggers = json!([{"id": "t", "type": "webhook", "enabled": true, "source": "s"}]);
    let parent = definition("cfg-parent", stages, json!({"triggers": triggers}));
    rig.save(&parent).await.unwrap();
}

/// A store may lose its last commits: what was begun in them is begun again.
#[tokio::test]
async fn an_execution_that_is_begun_again_for_the_same_reason_asks_for_the_same_effects() {
    let done_outside = async || {
        let rig = Rig::up().await;
        save_both(&rig).await;
        triggered(&rig, "cfg-parent", "event", 1_700_000_000_000).await;
        let requests = rig.fake.requests().into_iter();
        let done: Vec<_> = requests.map(|r| (r.url, r.effect_id)).collect();
        done
    };
    let first = done_outside().await;
    assert_eq!(first.len(), 2);
    assert_ne!(first[0].1, first[1].1);
    assert_eq!(done_outside().await, first);
}

#[tokio::test]
async fn an_execution_that_may_have_begun_before_its_store_lost_commits_says_so() {
    let Some(server) = Redis::start("always") else {
        return;
    };
    let store = on(&server).await;
    let shard = store.shards().of_application("app");
    let (meta, lost) = (
        format!("gn:{{{}}}:meta", shard.tag()),
        1_700_000_000_000_i64,
    );
    server.ask(&["HSET", &meta, "epoch", "1", "lost", &lost.to_string()]);
    let rig = Rig::over(store, Fake::new(), quick()).await;
    save_both(&rig).await;
    for (event, recorded, told) in [("before", lost - 1, 1), ("after", lost + 1, 0)] {
        let execution = triggered(&rig, "cfg-parent", event, recorded).await;
        let all = execution["systemNotifications"].as_array();
        let of_store = |notice: &&Value| notice["group"] == "store";
        let count = all.into_iter().flatten().filter(of_store).count();
        assert_eq!(count, told, "{event}");
    }
}
