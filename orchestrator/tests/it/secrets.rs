//! Secrets of triggers are written and never read.

use proto::orchestrator::v1::{ListPipelinesRequest, PipelineHistoryRequest, PipelineKey};
use proto::status::Kind;
use serde_json::{Value, json};

use crate::rig::{Rig, make};

const MASK: &str = "********";

fn pipeline() -> Value {
    let push = json!({"type": "git", "enabled": true, "source": "github", "project": "team",
        "slug": "shop", "secret": "the first"});
    json!({"application": "app", "name": "Push", "stages": [], "triggers": [push]})
}

fn secret(pipeline: &Value) -> &Value {
    &pipeline["triggers"][0]["secret"]
}

/// The pipelines as their readers get them, or who checks signatures.
async fn listed(rig: &Rig, with_secrets: bool) -> Vec<Value> {
    let request = ListPipelinesRequest {
        trigger_type: "git".into(),
        with_secrets,
        ..ListPipelinesRequest::default()
    };
    let list = rig.definitions.clone().list_pipelines(request).await;
    let items = list.unwrap().into_inner().items;
    items
        .iter()
        .map(|json| json.value("item").unwrap())
        .collect()
}

async fn stored(rig: &Rig) -> Value {
    listed(rig, true).await.remove(0)
}

#[tokio::test]
async fn whoever_reads_a_pipeline_does_not_see_the_secret_and_whoever_saves_it_keeps_it() {
    let rig = Rig::up().await;
    let saved = rig.save(&pipeline()).await.unwrap();
    assert_eq!(secret(&saved), MASK);
    assert_eq!(secret(&listed(&rig, false).await[0]), MASK);
    assert_eq!(secret(&stored(&rig).await), "the first");
    let id = saved["id"].as_str().unwrap().to_owned();
    for with_secrets in [false, true] {
        let key = PipelineKey {
            id: id.clone(),
            with_secrets,
            ..PipelineKey::default()
        };
        let found = rig.definitions.clone().get_pipeline(key).await.unwrap();
        let found = found.into_inner().value("pipeline").unwrap();
        assert_eq!(secret(&found) == MASK, !with_secrets);
    }

    // What was read is saved again with another change.
    let mut changed = saved.clone();
    changed["description"] = json!("changed");
    rig.save(&changed).await.unwrap();
    assert_eq!(stored(&rig).await["description"], "changed");
    assert_eq!(secret(&stored(&rig).await), "the first");

    changed["triggers"][0]["secret"] = json!("the second");
    rig.save(&changed).await.unwrap();
    assert_eq!(secret(&stored(&rig).await), "the second");

    let request = PipelineHistoryRequest { id, limit: 0 };
    let history = rig.definitions.clone().pipeline_history(request).await;
    let history = history.unwrap().into_inner().items;
    assert_eq!(history.len(), 3);
    for version in history {
        let text = version.value("version").unwrap().to_string();
        assert!(
            !text.contains("the first") && !text.contains("the second"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_mask_without_a_stored_secret_is_refused() {
    let rig = Rig::up().await;
    let mut copy = pipeline();
    copy["triggers"][0]["secret"] = json!(MASK);
    let refused = rig.save(&copy).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Invalid);
    assert_eq!(refused.fields[0].path, "triggers[0].secret");
    assert!(listed(&rig, true).await.is_empty());
}

#[tokio::test]
async fn a_stage_that_saved_a_pipeline_goes_on_without_its_secrets() {
    let rig = Rig::up().await;
    let stage = make("savePipeline", "1", &[], json!({"pipeline": pipeline()}));
    let id = rig.start_stages(json!([stage])).await;
    let ended = rig.ends(&id, "SUCCEEDED").await;
    assert_eq!(secret(&stored(&rig).await), "the first");
    assert!(!ended.to_string().contains("the first"), "{ended}");
}

#[tokio::test]
async fn a_trigger_has_the_time_since_it_can_fire_which_only_the_trigger_service_sees() {
    let rig = Rig::up().await;
    let saved = rig.save(&pipeline()).await.unwrap();
    let trigger = |pipeline: &Value| pipeline["triggers"][0].clone();
    assert!(trigger(&saved).get("since").is_none());
    let first = trigger(&stored(&rig).await);
    assert!(first["since"].as_i64().unwrap() > 0);

    // A tool writes the pipeline anew, without the ids it does not know: it is the same trigger.
    let mut again = pipeline();
    (again["id"], again["description"]) = (saved["id"].clone(), json!("changed"));
    rig.save(&again).await.unwrap();
    let second = trigger(&stored(&rig).await);
    assert_eq!(
        (&first["id"], &first["since"]),
        (&second["id"], &second["since"])
    );

    // One that is enabled again begins anew, whatever a save says.
    again["triggers"][0]["enabled"] = json!(false);
    again["triggers"][0]["id"] = first["id"].clone();
    rig.save(&again).await.unwrap();
    again["triggers"][0]["enabled"] = json!(true);
    again["triggers"][0]["since"] = json!(1);
    rig.save(&again).await.unwrap();
    let third = trigger(&stored(&rig).await);
    assert!(third["since"].as_i64() > first["since"].as_i64(), "{third}");
}
