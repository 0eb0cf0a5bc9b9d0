//! Reading through: an archived execution is listed, read, restarted and deleted like any other.

use std::sync::Arc;

use orchestrator::commit::fold;
use orchestrator::executions::Listing;
use orchestrator::services::fake::Fake;
use serde_json::{Value, json};

use super::{listed, moving, reader, staying};
use crate::commit::backends;
use crate::rig::{Rig, eventually, make, memory, pipeline, stage, webhook};

fn named(name: &str, config: &str, trigger: Value) -> Value {
    let large = "x".repeat(100_000);
    let stages = json!([
        webhook("1", &[]),
        make(
            "evaluateVariables",
            "2",
            &["1"],
            json!({"variables": [{"key": "large", "value": large}]})
        ),
    ]);
    let mut body = pipeline(name, stages);
    body["id"] = json!(config);
    body["trigger"] = trigger;
    body
}

#[tokio::test]
async fn an_archived_execution_is_read_listed_and_found_like_any_other() {
    for (backend, store, _server) in backends().await {
        let folder = tempfile::tempdir().unwrap();
        let config = moving(folder.path());
        let rig = Rig::over(store.clone(), Fake::new(), config.clone()).await;
        let docker =
            json!({"type": "docker", "repository": "shop/web", "tag": "1.2", "eventId": "e1"});
        let (first, second) = (
            named("one", "c1", docker),
            named("two", "c2", json!({"type": "manual"})),
        );
        let mut ids = Vec::new();
        let mut served = Vec::new();
        for body in [&first, &second, &first, &second] {
            let id = rig.start(body).await;
            served.push(rig.ends(&id, "SUCCEEDED").await);
            ids.push(id);
        }
        eventually("all are moved", async || staying(&store).await == 0).await;
        let ask = make("manualJudgment", "1", &[], json!({}));
        let running = rig.start(&pipeline("one", json!([ask]))).await;
        rig.stage_is(&running, "1", "RUNNING").await;

        let executions = reader(&store, &config);
        for (id, served) in ids.iter().zip(&served) {
            assert!(
                executions.load(id).await.unwrap().is_none(),
                "{backend}: {id} is moved"
            );
            assert_eq!(rig.get(id).await, *served, "{backend}");
            let folded = fold(&executions.log(id).await.unwrap()).unwrap().to_json();
            assert_eq!(folded, *served, "{backend}");
        }
        ids.push(running);
        let newest = |numbers: &[usize]| -> Vec<String> {
            numbers.iter().map(|number| ids[*number].clone()).collect()
        };
        let text = |value: &str| vec![value.to_owned()];
        let at = |number: usize| served[number]["buildTime"].as_i64();
        for (what, asked, expected) in [
            ("all", Listing::default(), newest(&[4, 3, 2, 1, 0])),
            (
                "of the application",
                Listing {
                    application: "APP".to_owned(),
                    ..Listing::default()
                },
                newest(&[4, 3, 2, 1, 0]),
            ),
            (
                "of another",
                Listing {
                    application: "other".to_owned(),
                    ..Listing::default()
                },
                newest(&[]),
            ),
            (
                "of a pipeline",
                Listing {
                    configs: text("c2"),
                    ..Listing::default()
                },
                newest(&[3, 1]),
            ),
            (
                "over",
                Listing {
                    statuses: text("SUCCEEDED"),
                    ..Listing::default()
                },
                newest(&[3, 2, 1, 0]),
            ),
            (
                "running",
                Listing {
                    statuses: text("RUNNING"),
                    ..Listing::default()
                },
                newest(&[4]),
            ),
            (
                "by name",
                Listing {
                    names: text("one"),
                    ..Listing::default()
                },
                newest(&[4, 2, 0]),
            ),
            (
                "by trigger",
                Listing {
                    triggers: text("docker"),
                    ..Listing::default()
                },
                newest(&[2, 0]),
            ),
            (
                "by event",
                Listing {
                    events: text("e1"),
                    ..Listing::default()
                },
                newest(&[2, 0]),
            ),
            (
                "by image",
                Listing {
                    images: text("shop/web:1.2"),
                    ..Listing::default()
                },
                newest(&[2, 0]),
            ),
            (
                "by image of any tag",
                Listing {
                    images: text("shop/web"),
                    ..Listing::default()
                },
                newest(&[2, 0]),
            ),
            (
                "by time",
                Listing {
                    from: at(1),
                    to: at(2),
                    ..Listing::default()
                },
                newest(&[2, 1]),
            ),
        ] {
            assert_eq!(
                listed(&executions, asked).await,
                expected,
                "{backend}: {what}"
            );
        }
        // Two of each: the limit goes on over pages of three.
        let two_of_each = Listing {
            per_pipeline: 2,
            application: "app".to_owned(),
            ..Listing::default()
        };
        let page = listed(&executions, two_of_each).await;
        assert_eq!(
            page,
            newest(&[4, 3, 2, 1, 0]),
            "{backend}: two of each pipeline"
        );
        let one_of_each = Listing {
            per_pipeline: 1,
            application: "app".to_owned(),
            ..Listing::default()
        };
        let page = listed(&executions, one_of_each).await;
        assert_eq!(page, newest(&[4, 3, 2]), "{backend}: one of each pipeline");
    }
}

#[tokio::test]
async fn an_archived_execution_is_restarted_where_it_was() {
    for (backend, store, _server) in backends().await {
        let folder = tempfile::tempdir().unwrap();
        let config = moving(folder.path());
        let rig = Rig::over(store.clone(), Fake::new(), config.clone()).await;
        let id = rig.start(&named("one", "c1", json!({}))).await;
        let before = rig.ends(&id, "SUCCEEDED").await;
        eventually("it is moved", async || staying(&store).await == 0).await;
        let executions = reader(&store, &config);
        let log = executions.log(&id).await.unwrap();

        // What comes too late leaves it where it is.
        rig.cancel(&id).await.unwrap();
        assert!(executions.load(&id).await.unwrap().is_none(), "{backend}");

        rig.restart(&id, stage(&before, "2")).await.unwrap();
        let after = rig.ends(&id, "SUCCEEDED").await;
        let restarted = stage(&after, "2")["startTime"].as_i64();
        assert!(
            restarted > stage(&before, "2")["startTime"].as_i64(),
            "{backend}"
        );
        eventually("it is moved again", async || staying(&store).await == 0).await;
        assert_eq!(rig.get(&id).await, after, "{backend}");
        let longer = executions.log(&id).await.unwrap();
        assert!(
            longer.len() > log.len() && longer[..log.len()] == log,
            "{backend}: the log goes on"
        );
        assert_eq!(fold(&longer).unwrap().to_json(), after, "{backend}");
        assert_eq!(
            listed(&executions, Listing::default()).await,
            std::slice::from_ref(&id),
            "{backend}"
        );
    }
}

#[tokio::test]
async fn an_archived_execution_is_deleted_and_its_object_goes_with_the_last() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let config = moving(folder.path());
    let rig = Rig::over(store.clone(), Fake::new(), config.clone()).await;
    let id = rig.start(&named("one", "c1", json!({}))).await;
    rig.ends(&id, "SUCCEEDED").await;
    eventually("it is moved", async || staying(&store).await == 0).await;
    let objects = config.archive.open().unwrap();
    assert_eq!(objects.list("executions").await.unwrap().len(), 1);
    let delete = async || rig.executions.clone().delete(Rig::action(&id)).await;
    delete().await.unwrap();
    assert_eq!(delete().await.unwrap_err().code(), tonic::Code::NotFound);
    let executions = reader(&store, &config);
    assert!(executions.get(&id, None).await.is_err());
    assert_eq!(
        listed(&executions, Listing::default()).await,
        Vec::<String>::new()
    );
    eventually("the object is gone", async || {
        objects.list("executions").await.unwrap().is_empty()
    })
    .await;
}

#[tokio::test]
async fn what_the_archive_lost_is_named() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let config = moving(folder.path());
    let rig = Rig::over(store.clone(), Fake::new(), config.clone()).await;
    let id = rig.start(&named("one", "c1", json!({}))).await;
    rig.ends(&id, "SUCCEEDED").await;
    eventually("it is moved", async || staying(&store).await == 0).await;
    let objects = Arc::clone(&config.archive.open().unwrap());
    let name = objects.list("executions").await.unwrap().remove(0);
    objects.delete(&name).await.unwrap();
    let error = reader(&store, &config)
        .get(&id, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&name) && error.contains("put the object back"),
        "{error}"
    );
}
