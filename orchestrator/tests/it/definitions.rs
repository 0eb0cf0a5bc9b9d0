//! Applications, pipelines and what tasks author: kept as written, merged, refused, listed, deleted.

use proto::common::v1::{Empty, Json};
use proto::orchestrator::v1::{
    ApplicationName, ListPipelinesRequest, PipelineHistoryRequest, PipelineKey,
    SaveApplicationRequest, SavePipelineRequest,
};
use proto::status::{Failure, Kind};
use serde_json::{Value, json};

use crate::rig::{Rig, make, pipeline};

#[tokio::test]
async fn definitions_are_kept_as_written_with_their_history() {
    let rig = Rig::up().await;
    let text = r#"{"number":1.50,"large":1180591620717411303424,"kept":[null,true]}"#;
    let mut definition = pipeline(
        "Mine",
        json!([make("wait", "1", &[], json!({"waitTime": 0}))]),
    );
    definition["own"] = serde_json::from_str(text).unwrap();
    definition["triggers"] = json!([{"type": "docker", "enabled": true}]);
    let saved = rig.save(&definition).await.unwrap();
    assert!(saved["id"].is_string());
    assert_eq!(saved["updateTs"], saved["lastModified"].to_string());
    assert_eq!(
        (&saved["schema"], &saved["lastModifiedBy"]),
        (&json!("1"), &json!("ann"))
    );
    assert!(saved["triggers"][0]["id"].is_string());
    assert_eq!(saved["own"].to_string(), text);
    // Saving the same again changes nothing.
    assert_eq!(rig.save(&saved).await.unwrap(), saved);

    let mut changed = saved.clone();
    changed["description"] = json!("changed");
    changed["name"] = json!(" Ours ");
    let again = rig.save(&changed).await.unwrap();
    assert_eq!(
        (&again["id"], &again["name"]),
        (&saved["id"], &json!("Ours"))
    );
    let key = |id: &str, name: &str| PipelineKey {
        id: id.to_owned(),
        application: "app".into(),
        name: name.into(),
        ..PipelineKey::default()
    };
    let get = async |key: PipelineKey| {
        rig.definitions
            .clone()
            .get_pipeline(key)
            .await
            .map(tonic::Response::into_inner)
    };
    assert!(get(key("", "Mine")).await.is_err(), "the old name is free");
    assert_eq!(
        get(key("", "Ours")).await.unwrap().value("p").unwrap(),
        again
    );
    let id = saved["id"].as_str().unwrap();
    let anywhere = PipelineKey {
        id: id.to_owned(),
        ..PipelineKey::default()
    };
    assert_eq!(get(anywhere).await.unwrap().value("p").unwrap(), again);

    let request = PipelineHistoryRequest {
        id: id.to_owned(),
        limit: 0,
    };
    let history = rig
        .definitions
        .clone()
        .pipeline_history(request)
        .await
        .unwrap()
        .into_inner();
    let versions: Vec<Value> = history
        .items
        .iter()
        .map(|v| v.value("v").unwrap())
        .collect();
    assert_eq!(versions, [again.clone(), saved.clone()]);

    // Edited from an old version.
    let mut stale = saved.clone();
    stale["description"] = json!("late");
    let request = SavePipelineRequest {
        pipeline: Some(Json::of(&stale)),
        user: "ann".into(),
        stale_check: true,
    };
    let refused = rig
        .definitions
        .clone()
        .save_pipeline(request)
        .await
        .map_err(Failure::from);
    assert!(refused.unwrap_err().message.contains("stale"));

    // A second of the same name, whatever its case.
    let double = rig.save(&pipeline("ours", json!([]))).await.unwrap_err();
    assert_eq!(
        (double.kind, double.fields[0].path.as_str()),
        (Kind::Invalid, "name")
    );
    assert!(double.message.contains("already exists"), "{double}");

    let list = async |application: &str, trigger: &str| {
        let request = ListPipelinesRequest {
            application: application.into(),
            trigger_type: trigger.into(),
            with_secrets: false,
        };
        rig.definitions
            .clone()
            .list_pipelines(request)
            .await
            .unwrap()
            .into_inner()
            .items
            .len()
    };
    assert_eq!(
        [
            list("app", "").await,
            list("", "").await,
            list("", "docker").await
        ],
        [1, 1, 1]
    );
    assert_eq!([list("", "git").await, list("other", "").await], [0, 0]);
    // As Spinnaker keeps some: a flag that is a text.
    let mut spelled = again.clone();
    spelled["triggers"][0]["enabled"] = json!("true");
    let spelled = rig.save(&spelled).await.unwrap();
    assert_eq!(list("", "docker").await, 1);
    let mut off = spelled.clone();
    off["disabled"] = json!(true);
    rig.save(&off).await.unwrap();
    assert_eq!(list("", "docker").await, 0);

    rig.definitions
        .clone()
        .delete_pipeline(key("", "Ours"))
        .await
        .unwrap();
    assert!(
        rig.definitions
            .clone()
            .delete_pipeline(key("", "Ours"))
            .await
            .is_err()
    );
    assert_eq!([list("app", "").await, list("", "").await], [0, 0]);
    rig.save(&pipeline("ours", json!([]))).await.unwrap();
}

#[tokio::test]
async fn a_malformed_pipeline_changes_nothing_and_every_fault_has_its_path() {
    let rig = Rig::up().await;
    let good = rig.save(&pipeline("P", json!([]))).await.unwrap();
    let mut large = good.clone();
    large["description"] = json!("x".repeat(600_000));
    for (body, path) in [
        (
            json!({"application": "app", "id": good["id"], "name": "P", "stages": [make("wait", "1", &["2"], json!({})), make("wait", "2", &["1"], json!({}))]}),
            "stages[0].requisiteStageRefIds",
        ),
        (
            json!({"application": "app", "id": good["id"], "name": "P", "stages": [make("deploy", "1", &[], json!({"clusters": [{"account": "nowhere", "region": "r"}]}))]}),
            "stages[0].clusters[0].account",
        ),
        (
            json!({"application": "app", "id": good["id"], "name": "P", "stages": [make("webhook", "1", &[], json!({}))]}),
            "stages[0].url",
        ),
        (
            json!({"application": "app", "id": good["id"], "stages": []}),
            "name",
        ),
        (large, "pipeline"),
        (json!([]), "pipeline"),
    ] {
        let failure = rig.save(&body).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Invalid);
        assert!(
            failure.fields.iter().any(|f| f.path == path),
            "{path}: {failure:?}"
        );
        let key = PipelineKey {
            id: good["id"].as_str().unwrap().into(),
            ..PipelineKey::default()
        };
        let stored = rig
            .definitions
            .clone()
            .get_pipeline(key)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(stored.value("p").unwrap(), good);
    }
}

#[tokio::test]
async fn applications_are_merged_listed_and_deleted_with_their_pipelines() {
    let rig = Rig::up().await;
    let save = async |application: Value| {
        let request = SaveApplicationRequest {
            application: Some(Json::of(&application)),
            user: "ann".into(),
        };
        let reply = rig.definitions.clone().save_application(request).await;
        reply
            .map(|r| r.into_inner().value("a").unwrap())
            .map_err(Failure::from)
    };
    let refused = save(json!({"name": "shop"})).await.unwrap_err();
    assert_eq!(refused.fields[0].path, "email");
    assert!(
        save(json!({"name": "no/slash", "email": "e"}))
            .await
            .is_err()
    );
    let made =
        save(json!({"name": "Shop", "email": "e", "cloudProviders": ["local", "k8s"], "own": 1}))
            .await;
    let made = made.unwrap();
    assert_eq!(
        (&made["name"], &made["cloudProviders"]),
        (&json!("shop"), &json!("local,k8s"))
    );
    let merged = save(json!({"name": "SHOP", "description": "d"}))
        .await
        .unwrap();
    assert_eq!((&merged["email"], &merged["own"]), (&json!("e"), &json!(1)));
    let mut body = pipeline("P", json!([]));
    body["application"] = json!("shop");
    rig.save(&body).await.unwrap();
    let name = |name: &str| ApplicationName { name: name.into() };
    let got = rig
        .definitions
        .clone()
        .get_application(name("sHoP"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(got.value("a").unwrap(), merged);
    rig.definitions
        .clone()
        .delete_application(name("Shop"))
        .await
        .unwrap();
    assert!(
        rig.definitions
            .clone()
            .get_application(name("shop"))
            .await
            .is_err()
    );
    let all = ListPipelinesRequest::default();
    let left = rig
        .definitions
        .clone()
        .list_pipelines(all)
        .await
        .unwrap()
        .into_inner();
    assert!(left.items.is_empty());
    let types = rig
        .definitions
        .clone()
        .list_stage_types(Empty {})
        .await
        .unwrap()
        .into_inner();
    assert!(
        types
            .items
            .iter()
            .all(|t| t.value("t").unwrap()["label"].is_string())
    );
}

#[tokio::test]
async fn tasks_save_and_delete_what_users_author() {
    let rig = Rig::up().await;
    let job = |job: Value| json!({"application": "shop", "description": "a task", "job": [job]});
    let application = json!({"name": "shop", "email": "e"});
    let id = rig
        .start(&job(
            json!({"type": "createApplication", "application": application}),
        ))
        .await;
    let done = rig.ends(&id, "SUCCEEDED").await;
    assert_eq!(
        (&done["type"], &done["description"]),
        (&json!("ORCHESTRATION"), &json!("a task"))
    );
    assert_eq!(done["stages"][0]["context"]["newState"]["name"], "shop");

    let definition = json!({"application": "shop", "name": "P", "stages": [make("wait", "1", &[], json!({"waitTime": 0}))]});
    let encoded = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(definition.to_string())
    };
    let id = rig
        .start(&job(json!({"type": "savePipeline", "pipeline": encoded})))
        .await;
    let done = rig.ends(&id, "SUCCEEDED").await;
    assert_eq!(done["stages"][0]["context"]["pipeline.name"], "P");
    let faulty = json!({"application": "shop", "name": "Q", "stages": [{"type": "teleport"}]});
    let id = rig
        .start(&job(json!({"type": "savePipeline", "pipeline": faulty})))
        .await;
    let failed = rig.ends(&id, "TERMINAL").await;
    let errors = failed["stages"][0]["context"]["exception"]["details"]["errors"].to_string();
    assert!(errors.contains("stages[0].type"), "{errors}");

    let id = rig
        .start(&job(
            json!({"type": "deletePipeline", "pipeline": definition}),
        ))
        .await;
    rig.ends(&id, "SUCCEEDED").await;
    let id = rig
        .start(&job(
            json!({"type": "deleteApplication", "application": {"name": "shop"}}),
        ))
        .await;
    rig.ends(&id, "SUCCEEDED").await;
    let name = ApplicationName {
        name: "shop".into(),
    };
    assert!(rig.definitions.clone().get_application(name).await.is_err());
}
