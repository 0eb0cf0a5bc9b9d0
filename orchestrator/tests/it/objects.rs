//! Templates, projects and quarantines as the service keeps them.

use proto::common::v1::Json;
use proto::orchestrator::v1::{
    ApplicationHistoryRequest, ObjectKey, ObjectVersionsKey, SaveApplicationRequest,
    SaveObjectRequest,
};
use proto::status::{Failure, Kind};
use serde_json::{Value, json};

use crate::rig::{Rig, as_user, make, stage};

async fn save(rig: &Rig, kind: &str, object: Value, create: bool) -> Result<Value, Failure> {
    let request = SaveObjectRequest {
        kind: kind.to_owned(),
        object: Some(Json::of(&object)),
        user: String::new(),
        create,
    };
    let saved = rig.definitions.clone().save_object(as_user(request)).await;
    Ok(saved
        .map_err(Failure::from)?
        .into_inner()
        .value("object")
        .unwrap())
}

async fn versions(rig: &Rig, id: &str, version: u64) -> Vec<Value> {
    let key = ObjectVersionsKey {
        kind: "canaryConfig".to_owned(),
        id: id.to_owned(),
        version,
    };
    let told = rig.definitions.clone().object_versions(key).await;
    let told = told.unwrap().into_inner().value("versions").unwrap();
    told.as_array().unwrap().clone()
}

fn key(kind: &str, id: &str) -> ObjectKey {
    ObjectKey {
        kind: kind.to_owned(),
        id: id.to_owned(),
    }
}

async fn ids(rig: &Rig, kind: &str) -> Vec<String> {
    let list = rig.definitions.clone().list_objects(key(kind, "")).await;
    let items = list.unwrap().into_inner().items;
    let id = |json: &Json| json.value("o").unwrap()["id"].as_str().unwrap().to_owned();
    items.iter().map(id).collect()
}

#[tokio::test]
async fn canary_configs_keep_their_versions_and_a_name_for_each_application() {
    let rig = Rig::up().await;
    let config = |id: &str, name: &str, applications: &[&str], text: &str| json!({"id": id, "name": name, "applications": applications, "description": text});
    let kind = "canaryConfig";
    for text in ["first", "second"] {
        let saved = config("c", "n", &["a", "b"], text);
        save(&rig, kind, saved, false).await.unwrap();
    }
    let refused = save(&rig, kind, config("d", "n", &["B"], ""), true).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        refused.fields[0].message,
        "Canary config with name 'n' already exists in the scope of applications [b]."
    );
    save(&rig, kind, config("d", "n", &["x"], ""), true)
        .await
        .unwrap();
    // A name that is given up is free.
    save(&rig, kind, config("c", "m", &["a"], "third"), false)
        .await
        .unwrap();
    save(&rig, kind, config("e", "n", &["b"], ""), true)
        .await
        .unwrap();
    let told = versions(&rig, "c", 0).await;
    let numbers: Vec<_> = told
        .iter()
        .map(|v| v["version"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(told[0]["lastModifiedBy"], "ann");
    assert!(told.iter().all(|version| version.get("object").is_none()));
    for (number, text) in [(1, "first"), (2, "second"), (3, "third")] {
        let told = versions(&rig, "c", number).await;
        assert_eq!((told.len(), &told[0]["version"]), (1, &json!(number)));
        assert_eq!(told[0]["object"]["description"], text);
    }
    assert!(versions(&rig, "c", 4).await.is_empty());
    rig.definitions
        .clone()
        .delete_object(key(kind, "c"))
        .await
        .unwrap();
    assert_eq!(ids(&rig, kind).await, ["d", "e"]);
}

#[tokio::test]
async fn a_canary_config_that_is_saved_unchanged_is_no_new_version() {
    let rig = Rig::up().await;
    let config = |at: i64, text: &str| {
        json!({"id": "c", "name": "n", "applications": ["a"], "description": text,
        "updatedTimestamp": at, "updatedTimestampIso": at.to_string()})
    };
    for (at, text) in [(1, "first"), (2, "second"), (3, "second"), (4, "second")] {
        save(&rig, "canaryConfig", config(at, text), false)
            .await
            .unwrap();
    }
    let told = versions(&rig, "c", 0).await;
    let told: Vec<_> = told
        .iter()
        .map(|v| (v["version"].clone(), v["updatedTimestamp"].clone()))
        .collect();
    assert_eq!(told, [(json!(2), json!(2)), (json!(1), json!(1))]);
}

#[tokio::test]
async fn objects_are_saved_found_listed_and_deleted() {
    let rig = Rig::up().await;
    let template = json!({"id": "t", "schema": "v2",
        "metadata": {"name": "T", "scopes": ["global"]}, "unknown": [1.0]});
    let saved = save(&rig, "pipelineTemplate", template.clone(), true)
        .await
        .unwrap();
    assert_eq!(saved["unknown"], json!([1.0]));
    assert_eq!(saved["lastModifiedBy"], "ann");
    let mut tagged = template.clone();
    tagged["tag"] = json!("stable");
    save(&rig, "pipelineTemplate", tagged, true).await.unwrap();
    save(
        &rig,
        "project",
        json!({"name": "Shop", "email": "e"}),
        false,
    )
    .await
    .unwrap();
    save(
        &rig,
        "project",
        json!({"name": "SHOP", "email": "f"}),
        false,
    )
    .await
    .unwrap();
    let kept = ids(&rig, "pipelineTemplate").await;
    assert_eq!(kept, ["t", "t", "t"], "latest, stable, and one digest");
    assert_eq!(ids(&rig, "project").await.len(), 1);
    let found = rig
        .definitions
        .clone()
        .get_object(key("project", "Shop"))
        .await;
    let found = found.unwrap().into_inner().value("o").unwrap();
    assert_eq!(found["email"], "f");
    for _ in 0..2 {
        let mut definitions = rig.definitions.clone();
        let deleted = definitions.delete_object(key("project", "shop")).await;
        deleted.unwrap();
    }
    assert!(ids(&rig, "project").await.is_empty());
    let gone = rig
        .definitions
        .clone()
        .get_object(key("project", "shop"))
        .await;
    assert_eq!(Failure::from(gone.unwrap_err()).kind, Kind::NotFound);
}

#[tokio::test]
async fn a_faulty_object_changes_nothing_and_names_its_field() {
    let rig = Rig::up().await;
    let whole = json!({"id": "t", "metadata": {"name": "T", "scopes": ["global"]}});
    save(&rig, "pipelineTemplate", whole.clone(), true)
        .await
        .unwrap();
    let with = |path: &str, value: Value| {
        let mut body = whole.clone();
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    let mut odd_tag = whole.clone();
    odd_tag["tag"] = json!("v 1");
    for (kind, body, fragment) in [
        (
            "pipelineTemplate",
            with("/id", json!("")),
            "id: it is empty",
        ),
        (
            "pipelineTemplate",
            with("/metadata/name", json!("")),
            "metadata.name",
        ),
        (
            "pipelineTemplate",
            with("/metadata/scopes", json!([])),
            "metadata.scopes",
        ),
        ("pipelineTemplate", odd_tag, "tag: \"v 1\" may hold"),
        ("pipelineTemplate", json!([]), "object: it is no object"),
        ("project", json!({}), "name: it is missing"),
        ("galaxy", json!({}), "kind: \"galaxy\" is unknown"),
    ] {
        let failure = save(&rig, kind, body, false).await.unwrap_err();
        assert!(failure.to_string().contains(fragment), "{failure}");
    }
    let again = save(&rig, "pipelineTemplate", whole, true).await;
    assert_eq!(again.unwrap_err().kind, Kind::Conflict);
    assert_eq!(ids(&rig, "pipelineTemplate").await, ["t", "t"]);
}

#[tokio::test]
async fn an_account_belongs_to_one_environment() {
    let rig = Rig::up().await;
    for (name, order, accounts) in [
        ("prod", 2, json!(["p1", "p2"])),
        ("staging", 1, json!(["s1"])),
    ] {
        let environment = json!({"name": name, "order": order, "accounts": accounts});
        save(&rig, "environment", environment, true).await.unwrap();
    }
    assert_eq!(ids(&rig, "environment").await, ["prod", "staging"]);
    let again = json!({"name": "PROD", "accounts": ["x"]});
    let twice = save(&rig, "environment", again, true).await.unwrap_err();
    assert_eq!(twice.kind, Kind::Conflict);
    let greedy = json!({"name": "dev", "accounts": ["p2"]});
    let refused = save(&rig, "environment", greedy.clone(), true)
        .await
        .unwrap_err();
    assert!(
        refused.kind == Kind::Invalid && refused.message.contains("environment prod"),
        "{refused:?}"
    );
    // What one gives up, another may have.
    let smaller = json!({"name": "prod", "order": 2, "accounts": ["p1"]});
    save(&rig, "environment", smaller, false).await.unwrap();
    save(&rig, "environment", greedy, true).await.unwrap();
    let gone = rig.definitions.clone();
    gone.clone()
        .delete_object(key("environment", "Staging"))
        .await
        .unwrap();
    let heir = json!({"name": "test", "accounts": ["s1"]});
    save(&rig, "environment", heir, true).await.unwrap();
}

#[tokio::test]
async fn a_template_is_found_by_tag_by_digest_and_as_the_latest() {
    let rig = Rig::up().await;
    let of = |name: &str, tag: &str| {
        json!({"id": "t1", "schema": "v2", "tag": tag,
               "metadata": {"name": name, "scopes": ["global"]}})
    };
    let kind = "pipelineTemplate";
    let first = save(&rig, kind, of("one", "v1"), true).await.unwrap();
    save(&rig, kind, of("two", "v2"), true).await.unwrap();
    let digest = first["digest"].as_str().unwrap();
    for (id, wanted) in [
        ("t1", "two"),
        ("t1:latest", "two"),
        ("t1:v1", "one"),
        (&format!("t1@sha256:{digest}"), "one"),
    ] {
        let found = rig.definitions.clone().get_object(key(kind, id)).await;
        let found = found.unwrap().into_inner().value("o").unwrap();
        assert_eq!(found["metadata"]["name"], wanted, "{id}");
    }
    let twice = save(&rig, kind, of("x", "v1"), true).await;
    assert_eq!(twice.unwrap_err().kind, Kind::Conflict);
    // The same again makes nothing new.
    let before = ids(&rig, kind).await.len();
    let again = save(&rig, kind, of("two", "v2"), false).await.unwrap();
    assert_eq!((again["tag"].as_str(), before), (Some("v2"), 5));
    assert_eq!(ids(&rig, kind).await.len(), before);
    let other = json!({"id": "t10", "metadata": {"name": "n", "scopes": ["a"]}});
    save(&rig, kind, other, true).await.unwrap();
    let mut definitions = rig.definitions.clone();
    definitions.delete_object(key(kind, "t1")).await.unwrap();
    assert_eq!(
        ids(&rig, kind).await,
        ["t10", "t10"],
        "all of one, none of another"
    );
}

#[tokio::test]
async fn a_project_keeps_its_id_and_is_one_by_its_name() {
    let rig = Rig::up().await;
    let project = json!({"name": "Shop", "email": "e@x"});
    let first = save(&rig, "project", project, false).await.unwrap();
    assert_eq!(first["config"]["applications"], json!([]));
    let renamed = json!({"id": first["id"], "name": "Store"});
    save(&rig, "project", renamed, false).await.unwrap();
    assert_eq!(ids(&rig, "project").await.len(), 1);
    for name in ["STORE", first["id"].as_str().unwrap()] {
        let found = rig
            .definitions
            .clone()
            .get_object(key("project", name))
            .await;
        let found = found.unwrap().into_inner().value("o").unwrap();
        assert_eq!(found["name"], "Store", "{name}");
    }
    // The old name is free, the new one is not.
    save(&rig, "project", json!({"name": "shop"}), false)
        .await
        .unwrap();
    let taken = json!({"id": "other", "name": "store"});
    let refused = save(&rig, "project", taken, false).await.unwrap_err();
    assert!(
        refused.kind == Kind::Invalid && refused.message.contains("already exists"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_deleted_application_leaves_its_projects() {
    let rig = Rig::up().await;
    for (name, applications) in [("both", json!(["a", "b"])), ("alone", json!(["A"]))] {
        let project = json!({"name": name, "config": {"applications": applications}});
        save(&rig, "project", project, false).await.unwrap();
    }
    let name = proto::orchestrator::v1::ApplicationName { name: "a".into() };
    let mut definitions = rig.definitions.clone();
    definitions.delete_application(name).await.unwrap();
    let both = definitions
        .get_object(key("project", "both"))
        .await
        .unwrap();
    let both = both.into_inner().value("o").unwrap();
    assert_eq!(both["config"]["applications"], json!(["b"]));
    let alone = definitions.get_object(key("project", "alone")).await;
    assert_eq!(Failure::from(alone.unwrap_err()).kind, Kind::NotFound);
}

#[tokio::test]
async fn former_versions_of_an_application_are_told_newest_first() {
    let rig = Rig::up().await;
    for description in ["one", "two"] {
        let application = json!({"name": "Shop", "email": "e", "description": description});
        let request = SaveApplicationRequest {
            application: Some(Json::of(&application)),
            user: "ann".into(),
        };
        let saved = rig.definitions.clone().save_application(request).await;
        saved.unwrap();
    }
    let history = async |name: &str| {
        let request = ApplicationHistoryRequest {
            name: name.into(),
            limit: 0,
        };
        let found = rig.definitions.clone().application_history(request).await;
        found.map(|list| list.into_inner().items)
    };
    let told = history("SHOP").await.unwrap();
    let told: Vec<Value> = told.iter().map(|json| json.value("v").unwrap()).collect();
    let told: Vec<_> = told.iter().map(|version| &version["description"]).collect();
    assert_eq!(told, ["two", "one"]);
    assert_eq!(
        history("none").await.unwrap_err().code(),
        tonic::Code::NotFound
    );
}

#[tokio::test]
async fn an_artifacts_pipelines_are_saved_and_told_as_created_updated_or_refused() {
    let rig = Rig::up().await;
    let old = json!({"application": "app", "name": "Old", "id": "old", "stages": []});
    rig.save(&old).await.unwrap();
    let waits = json!([{"type": "wait", "refId": "1", "requisiteStageRefIds": [], "waitTime": 1}]);
    let content = json!({
        "app": [{"name": "Old", "stages": waits}, {"name": "New", "stages": waits}],
        "shop": [{"name": "Odd", "stages": [{"type": "teleport"}]}],
    });
    let job = |content: &Value| {
        let artifact = crate::samples::embedded(content);
        make(
            "savePipelinesFromArtifact",
            "1",
            &[],
            json!({"pipelinesArtifact": artifact}),
        )
    };
    let id = rig.start_stages(json!([job(&content)])).await;
    let ended = rig.ends(&id, "TERMINAL").await;
    let context = &stage(&ended, "1")["context"];
    let names = |key: &str| {
        let list = context[key].as_array().unwrap();
        list.iter().map(|p| p["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names("pipelinesUpdated"), ["Old"]);
    assert_eq!(context["pipelinesUpdated"][0]["id"], "old");
    assert_eq!(names("pipelinesCreated"), ["New"]);
    assert_eq!(names("pipelinesFailedToSave"), ["Odd"]);
    let told = context["exception"]["details"]["errors"][0]
        .as_str()
        .unwrap();
    assert!(
        told.starts_with("1 of the pipelines cannot be saved: Odd of shop: "),
        "{told}"
    );

    // The same again without the odd one: both are there.
    let again = json!([{"application": "app", "name": "New", "stages": waits}]);
    let id = rig.start_stages(json!([job(&again)])).await;
    let ended = rig.ends(&id, "SUCCEEDED").await;
    let now = &stage(&ended, "1")["outputs"];
    assert_eq!(
        now["pipelinesUpdated"][0]["id"],
        context["pipelinesCreated"][0]["id"]
    );
    assert_eq!(now["pipelinesCreated"], json!([]));

    for (artifact, expected) in [
        (
            json!({"type": "gcs/object", "reference": "gs://x"}),
            "embedded/base64",
        ),
        (
            json!({"type": "embedded/base64", "reference": "%"}),
            "it is no base64",
        ),
        (
            crate::samples::embedded(&json!("text")),
            "it holds no list of pipelines",
        ),
    ] {
        let fields = json!({"pipelinesArtifact": artifact});
        let id = rig
            .start_stages(json!([make("savePipelinesFromArtifact", "1", &[], fields)]))
            .await;
        let ended = rig.ends(&id, "TERMINAL").await;
        assert!(ended.to_string().contains(expected), "{expected}");
    }
}
