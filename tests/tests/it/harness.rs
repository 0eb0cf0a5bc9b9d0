//! The harness itself: what it counts is there, what it starts ends.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use servers::port;
use tests::http::Client;
use tests::image::Image;
use tests::load::Load;
use tests::program::{Program, installed, static_server};
use tests::redis::{self, Fsync, Redis};
use tests::registry::{Notifications, Registry};
use tests::sink::{Reply, Sink};
use tests::{census, eventually};

#[tokio::test]
async fn a_pushed_image_is_in_the_registry_and_its_notification_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start().await.unwrap();
    let notifications = Notifications {
        url: sink.url("/events"),
        authorization: Some("Bearer x".to_owned()),
    };
    let registry = Registry::start(folder.path(), Some(&notifications))
        .await
        .unwrap();
    let image = Image::version("1").write(folder.path()).await.unwrap();
    image.push(&registry.address(), "demo").await.unwrap();

    let tags = Client::port(registry.port)
        .get("/v2/demo/tags/list")
        .await
        .unwrap();
    assert_eq!(tags.json().unwrap()["tags"], json!(["1"]));
    assert_eq!(registry.requests("/v2/demo/tags/list"), 1);
    let pushed = eventually(
        "the push is notified",
        Duration::from_secs(10),
        async || {
            let events: Vec<_> = sink
                .deliveries("/events")
                .iter()
                .flat_map(|delivery| {
                    delivery.json().unwrap()["events"]
                        .as_array()
                        .unwrap()
                        .clone()
                })
                .filter(|event| event["action"] == "push" && event["target"]["tag"] == "1")
                .collect();
            events.first().cloned().ok_or(events.len())
        },
    )
    .await
    .unwrap();
    assert_eq!(pushed["target"]["digest"], json!(image.digest));
    assert_eq!(
        sink.deliveries("/events")[0].headers["authorization"],
        "Bearer x"
    );
}

#[tokio::test]
async fn redis_keeps_what_it_acknowledged_when_killed() {
    if !installed(redis::PROGRAM) {
        println!("skipped: redis-server is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(folder.path(), Fsync::Always).await.unwrap();
    redis.command("SET a 1").await.unwrap();
    redis.kill_and_restart().await.unwrap();
    assert_eq!(redis.command("GET a").await.unwrap(), "1");
    let calls = redis.calls().await.unwrap();
    assert!(calls.contains(&("get".to_owned(), 1)), "{calls:?}");
    assert!(redis.command("NONSENSE").await.is_err());
}

#[tokio::test]
async fn the_sink_counts_and_answers_as_told() {
    let sink = Sink::start().await.unwrap();
    let client = Client::port(sink.port);
    sink.reply(
        "/b",
        Reply {
            status: 503,
            body: json!({"why": "told"}),
            ..Reply::default()
        },
    );
    client
        .post("/a?q=1", &json!({"n": 1}))
        .await
        .unwrap()
        .expect(200)
        .unwrap();
    assert_eq!(
        client.get("/b").await.unwrap().expect(503).unwrap().text(),
        "{\"why\":\"told\"}"
    );
    sink.wait_for("/a", 1, Duration::from_secs(5))
        .await
        .unwrap();
    let first = &sink.deliveries("/a")[0];
    assert_eq!(
        (first.query.as_str(), first.json().unwrap()),
        ("q=1", json!({"n": 1}))
    );
    assert_eq!(sink.all().len(), 2);
    assert!(
        sink.wait_for("/a", 2, Duration::from_millis(50))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_load_generators_findings_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let port = port::free();
    let environment = [
        ("PORT".to_owned(), port.to_string()),
        ("VERSION".to_owned(), "v".to_owned()),
    ];
    let server = static_server().unwrap();
    let none: [&str; 0] = [];
    let program = Program::start(
        &server,
        none,
        &environment,
        &folder.path().join("server.log"),
    )
    .unwrap();
    let client = Client::port(port);
    eventually("the server answers", Duration::from_secs(5), async || {
        client.get("/health").await
    })
    .await
    .unwrap();
    let arguments = [
        "--slow-ms",
        "400",
        "--upload-ms",
        "400",
        "--duration",
        "2",
        "--mix",
        "get=10,new=5,post=5,slow=3,upload=3",
    ];
    let load = Load::start(folder.path(), port, "demo", 100, &arguments).unwrap();
    let begun = epoch_ms();
    eventually("two seconds", Duration::from_secs(5), async || {
        if epoch_ms() > begun + 2200 {
            Ok(())
        } else {
            Err(())
        }
    })
    .await
    .unwrap();
    let report = load.stop().await.unwrap();
    report.require_clean().unwrap();
    assert_eq!(
        report.requests.len() as u64,
        report.count("finished").unwrap()
    );
    let versions: BTreeSet<_> = report
        .requests
        .iter()
        .map(|request| &request.version)
        .collect();
    assert_eq!(versions, BTreeSet::from([&Some("v".to_owned())]));
    let kinds = report.kinds_not_across(&(begun + 300..begun + 1500).collect::<Vec<_>>());
    assert!(
        kinds.is_empty(),
        "no request of {kinds:?} in flight for over a second"
    );
    assert_eq!(report.kinds_not_across(&[begun - 60_000]).len(), 5);
    drop(program);
}

#[tokio::test]
async fn the_census_finds_what_runs_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("data"), folder.path().join("data2"));
    std::fs::create_dir_all(&inside).unwrap();
    let log = folder.path().join("log");
    let variable = |folder: &std::path::Path| {
        vec![
            ("FOLDER".to_owned(), folder.display().to_string()),
            ("PORT".to_owned(), "0".to_owned()),
        ]
    };
    let server = static_server().unwrap();
    let none: [&str; 0] = [];
    let ours = Program::start(&server, none, &variable(&inside), &log).unwrap();
    let _other = Program::start(&server, none, &variable(&outside), &log).unwrap();
    let pid = ours.pid().unwrap().as_raw_nonzero().get();
    eventually(
        "the process is found",
        Duration::from_secs(5),
        async || match census::of(&inside).as_slice() {
            [process] if process.pid == pid && process.role == census::Role::Served => Ok(()),
            found => Err(format!("{found:?}")),
        },
    )
    .await
    .unwrap();
    assert_eq!(census::kill_all(&inside), 1);
    assert_eq!(census::count(&outside, census::Role::Served), 1);
}

fn epoch_ms() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(now.as_millis()).unwrap()
}
