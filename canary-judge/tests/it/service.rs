//! The service over gRPC: runs on real stores and over restarts, configs, what is asked of metric stores.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::canary_judge::v1::{
    CancelRunRequest, ConfigKey, ConfigQuery, MetricSetPairsKey, MetricsQuery, QueryRequest,
    RunQuery, SaveConfigRequest, StartRunRequest,
};
use proto::common::v1::{Empty, Json};
use serde_json::{Value, json};
use servers::Redis;
use store::embedded::{Embedded, FileSettings};
use store::{Shards, Shared};
use tonic::Code;

use crate::world::{World, by, config, now_ms, planned, request};

const ACA: &str = "NetflixACAJudge-v1.0";
const SEQUENTIAL: &str = "SequentialJudge-v1.0";

/// A store of a test's own.
pub(crate) fn on_disk(folder: &tempfile::TempDir) -> Shared {
    let settings = FileSettings::new(folder.path().join("store"));
    Arc::new(Embedded::open(settings, Shards::default()).unwrap())
}

fn verdict(run: &Value) -> Vec<Value> {
    let intervals = run["intervals"].as_array().unwrap().iter();
    let of =
        |i: &Value| ["score", "digest", "judgementEndTimeMillis", "decision"].map(|k| i[k].clone());
    let mut all: Vec<Value> = intervals.flat_map(of).collect();
    all.push(run["status"].clone());
    all
}

/// Several runs of both judges, the service replaced again and again meanwhile.
async fn survives(store: Shared) {
    let mut world = World::on(store);
    let begun = now_ms() - 20 * 60_000;
    world
        .script
        .bad_from
        .store(begun + 130_000, Ordering::SeqCst);
    let asked = |judge: &str| {
        let mut asked = planned(judge, 6, 20);
        asked.plan.as_mut().unwrap().start_ms = begun;
        asked
    };
    let mut expected = Vec::new();
    for judge in [ACA, SEQUENTIAL] {
        let id = world.start(asked(judge)).await.unwrap();
        expected.push(verdict(&world.ended(&id).await));
    }
    for pause in [0, 1, 3, 7, 15, 30, 60, 100] {
        let mut ids = Vec::new();
        for judge in [ACA, SEQUENTIAL] {
            ids.push(world.start(asked(judge)).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
        world = world.replaced().await;
        for (id, expected) in ids.iter().zip(&expected) {
            assert_eq!(
                &verdict(&world.ended(id).await),
                expected,
                "after {pause} ms"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_survive_their_process_on_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    survives(on_disk(&folder)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_survive_their_process_on_redis() {
    let Some(redis) = Redis::start("everysec") else {
        return;
    };
    let store = store::redis::connect(&redis.url(), Shards::default()).await;
    survives(store.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_metric_store_holds_up_no_other_run() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(on_disk(&folder));
    let minute = Duration::from_secs(60);
    world
        .script
        .slow
        .lock()
        .unwrap()
        .insert("snail".to_owned(), minute);
    for _ in 0..20 {
        let slow = StartRunRequest {
            request: Some(Json::of(&request(10, "snail"))),
            ..planned(ACA, 1, 5)
        };
        world.start(slow).await.unwrap();
    }
    let begun = tokio::time::Instant::now();
    for _ in 0..5 {
        let id = world.start(planned(ACA, 2, 5)).await.unwrap();
        world.ended(&id).await;
    }
    assert!(begun.elapsed() < minute / 4, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_run_is_told_listed_and_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(on_disk(&folder));
    let id = world.start(planned(ACA, 60, 0)).await.unwrap();
    let done = world.start(planned(ACA, 1, 5)).await.unwrap();
    let told = world.ended(&done).await;
    let mut client = world.client.clone();
    let list = told["metricSetPairListId"].as_str().unwrap();
    for key in [list, done.as_str()] {
        let key = MetricSetPairsKey {
            id: key.to_owned(),
            pair_id: String::new(),
        };
        let pairs = client.get_metric_set_pairs(key).await.unwrap().into_inner();
        assert_eq!(pairs.value("pairs").unwrap()[0]["name"], "m");
    }
    let key = MetricSetPairsKey {
        id: done.clone(),
        pair_id: "none".to_owned(),
    };
    assert_eq!(
        client.get_metric_set_pairs(key).await.unwrap_err().code(),
        Code::NotFound
    );
    let cancel = CancelRunRequest {
        id: id.clone(),
        reason: "enough".to_owned(),
    };
    client.cancel_run(cancel).await.unwrap();
    let told = world.run(&id).await;
    assert_eq!(told["status"], "canceled");
    assert_eq!(told["exception"]["details"]["errors"][0], "enough");
    let query = RunQuery {
        application: "SHOP".to_owned(),
        limit: 10,
        page: 1,
        statuses: vec!["CANCELED".to_owned()],
    };
    let runs = client
        .list_runs(query)
        .await
        .unwrap()
        .into_inner()
        .value("runs")
        .unwrap();
    assert_eq!(runs.as_array().unwrap().len(), 1);
    assert_eq!(runs[0]["pipelineId"], id);
}

async fn save(world: &World, id: &str, document: &Value) -> Result<String, String> {
    let asked = SaveConfigRequest {
        document: Some(Json::of(document)),
        id: id.to_owned(),
    };
    let saved = world.client.clone().save_config(by("ann", asked)).await;
    saved
        .map(|key| key.into_inner().id)
        .map_err(|status| status.message().to_owned())
}

async fn read(world: &World, id: &str, version: u64) -> Value {
    let id = id.to_owned();
    let told = world
        .client
        .clone()
        .get_config(ConfigKey { id, version })
        .await;
    told.unwrap().into_inner().value("config").unwrap()
}

#[tokio::test]
async fn a_config_is_kept_as_it_came_with_its_versions() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(on_disk(&folder));
    let mut document = config(ACA);
    document["unknown"] = serde_json::from_str("{\"b\": 1.50, \"a\": [null]}").unwrap();
    let id = save(&world, "", &document).await.unwrap();
    let first = read(&world, &id, 0).await;
    assert_eq!(first["unknown"].to_string(), "{\"b\":1.50,\"a\":[null]}");
    assert_eq!(
        (&first["id"], &first["createdTimestamp"]),
        (&json!(id), &first["updatedTimestamp"])
    );
    assert!(
        first["updatedTimestampIso"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    assert!(first.get("lastModifiedBy").is_none());
    document["description"] = json!("second");
    assert_eq!(save(&world, &id, &document).await.unwrap(), id);
    assert_eq!(read(&world, &id, 0).await["description"], "second");
    assert_eq!(
        read(&world, &id, 0).await["createdTimestamp"],
        first["createdTimestamp"]
    );
    assert_eq!(read(&world, &id, 1).await, first);
    let mut client = world.client.clone();
    let key = ConfigKey {
        id: id.clone(),
        version: 0,
    };
    let versions = client
        .list_config_versions(key.clone())
        .await
        .unwrap()
        .into_inner();
    let versions = versions.value("versions").unwrap();
    assert_eq!(
        (&versions[0]["version"], &versions[1]["user"]),
        (&json!(2), &json!("ann"))
    );
    for (applications, expected) in [(vec!["Shop"], 1), (vec!["other"], 0), (vec![], 1)] {
        let applications = applications.into_iter().map(str::to_owned).collect();
        let found = client
            .list_configs(ConfigQuery { applications })
            .await
            .unwrap()
            .into_inner();
        let found = found.value("configs").unwrap();
        assert_eq!(found.as_array().unwrap().len(), expected);
        if expected == 1 {
            let keys: Vec<_> = found[0].as_object().unwrap().keys().collect();
            assert_eq!(
                keys,
                [
                    "id",
                    "name",
                    "updatedTimestamp",
                    "updatedTimestampIso",
                    "applications"
                ]
            );
        }
    }
    client.delete_config(key.clone()).await.unwrap();
    assert_eq!(
        client.delete_config(key.clone()).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        client.get_config(key).await.unwrap_err().code(),
        Code::NotFound
    );
    drop(world.keeper.clone());
}

#[tokio::test]
async fn a_config_that_may_not_be_saved_is_refused_in_the_originals_words() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(on_disk(&folder));
    let id = save(&world, "", &config(ACA)).await.unwrap();
    let with = |key: &str, value: Value| {
        let mut document = config(ACA);
        document[key] = value;
        document
    };
    let metric = config(ACA)["metrics"][0].clone();
    for (replaces, document, expected) in [
        (
            "",
            with("name", json!("")),
            "Canary config must specify a name.",
        ),
        (
            "",
            with("name", json!("a b")),
            "Canary config cannot be named 'a b'.",
        ),
        (
            "",
            with("applications", json!([])),
            "must specify at least one application",
        ),
        (
            "",
            with("metrics", json!([metric, metric])),
            "two metrics named 'm'",
        ),
        (
            "",
            with("judge", json!({"name": "HAL"})),
            "Unable to resolve canary judge 'HAL'.",
        ),
        ("", with("id", json!(id)), "already exists."),
        ("", with("id", json!("a/b")), "no slash"),
        (
            "none",
            with("name", json!("d")),
            "Canary config 'none' does not exist.",
        ),
        (
            "",
            config(ACA),
            "Canary config with name 'c' already exists in the scope of applications [shop].",
        ),
        (&id, with("id", json!("other")), "the path names"),
        (
            "",
            with("metrics", json!(7)),
            "canaryConfig.metrics is 7: give a list",
        ),
    ] {
        let message = save(&world, replaces, &document).await.unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn a_start_that_is_repeated_finds_its_run_though_the_config_has_gone_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(on_disk(&folder));
    let id = save(&world, "", &config(ACA)).await.unwrap();
    let run = StartRunRequest {
        effect_id: "stage:1".to_owned(),
        config: None,
        config_id: id.clone(),
        ..planned(ACA, 60, 0)
    };
    let begun = world.start(run.clone()).await.unwrap();
    let gone = ConfigKey { id, version: 0 };
    world.client.clone().delete_config(gone).await.unwrap();
    assert_eq!(world.start(run.clone()).await.unwrap(), begun);
    let other = StartRunRequest {
        effect_id: "stage:2".to_owned(),
        ..run
    };
    assert!(world.start(other).await.is_err());
}

#[tokio::test]
async fn a_saved_config_is_run_by_its_id_as_it_was_then() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(on_disk(&folder));
    let id = save(&world, "", &config(ACA)).await.unwrap();
    let run = StartRunRequest {
        application: String::new(),
        config: None,
        config_id: id.clone(),
        ..planned(ACA, 1, 5)
    };
    let run_id = world.start(run.clone()).await.unwrap();
    world
        .client
        .clone()
        .delete_config(ConfigKey {
            id: id.clone(),
            version: 0,
        })
        .await
        .unwrap();
    let told = world.ended(&run_id).await;
    assert_eq!(
        (&told["application"], &told["canaryConfigId"]),
        (&json!("shop"), &json!(id))
    );
    assert_eq!(told["status"], "succeeded");
    assert_eq!(world.start(run).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn judges_accounts_metrics_and_queries_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(on_disk(&folder));
    let mut client = world.client.clone();
    let judges = client
        .list_judges(Empty {})
        .await
        .unwrap()
        .into_inner()
        .value("judges")
        .unwrap();
    assert_eq!(judges[0], json!({"name": ACA, "visible": true}));
    assert!(judges.to_string().contains(SEQUENTIAL));
    let accounts = client.list_accounts(Empty {}).await.unwrap().into_inner();
    assert_eq!(accounts.value("accounts").unwrap()[0]["name"], "script");
    let metrics = MetricsQuery {
        account: String::new(),
        filter: "err".to_owned(),
    };
    let metrics = client.list_metrics(metrics).await.unwrap().into_inner();
    assert_eq!(
        metrics.value("metrics").unwrap(),
        json!([{"name": "errors"}])
    );
    let scope = json!({"scope": "old", "location": "", "start": "2026-01-01T00:00:00Z",
                       "end": "2026-01-01T00:05:00Z", "step": 60});
    let query = |plan| QueryRequest {
        query: Some(Json::of(&json!({"type": "script"}))),
        scope: Some(Json::of(&scope)),
        plan,
        ..QueryRequest::default()
    };
    let planned = client
        .query(query(true))
        .await
        .unwrap()
        .into_inner()
        .value("q")
        .unwrap();
    assert_eq!(planned, json!({"query": "query of old"}));
    let asked = client
        .query(query(false))
        .await
        .unwrap()
        .into_inner()
        .value("q")
        .unwrap();
    assert_eq!(
        asked["metricSets"][0]["values"].as_array().unwrap().len(),
        5
    );
}
