//! Builds of a Jenkins start pipelines, once each and never for history.

use demo::jenkins::Jenkins;
use proto::common::v1::{Empty, Json};
use proto::trigger::v1::build_service_client::BuildServiceClient;
use proto::trigger::v1::{BuildKey, StartBuildRequest, StopBuildRequest, TestRequest};
use runtime::auth::AuthContext;
use serde_json::{Value, json};

use crate::world::{State, World, memory, pipeline, slow};

fn config(jenkins: &Jenkins) -> trigger::Config {
    let text = format!(
        "{{jenkins: [{{name: ci, address: \"{}\", csrf: true}}], jenkins-poll-interval: 20ms}}",
        jenkins.address()
    );
    let mut config: trigger::Config = serde_yaml_ng::from_str(&text).unwrap();
    config.poll_interval = slow().poll_interval;
    config.burst_limit = 0;
    config
}

fn waits(job: &str) -> Value {
    json!({"type": "jenkins", "id": "j", "enabled": true, "master": "ci", "job": job,
        "propertyFile": "out.properties", "payloadConstraints": {"stable": "yes"}})
}

fn world(store: store::Shared, jenkins: &Jenkins, job: &str) -> World {
    let state = State {
        pipelines: vec![pipeline("p", "shop", &[waits(job)])],
        ..State::default()
    };
    World::start(store, config(jenkins), state)
}

/// Waits until the cursor has seen a master as a whole.
async fn learnt(world: &World) {
    let begun = std::time::Instant::now();
    loop {
        let shard = world.store.shards().of_name("ci");
        let key = store::DocumentKey::new("jenkins", "ci");
        let found = world.store.load(shard, &key).await.unwrap();
        if found.is_some_and(|d| d.parts.contains_key("complete")) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 30, "the master is not learnt");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

const GOOD: &[(&str, &str)] = &[
    ("out.properties", "stable=yes\nimage=h/a:1\n"),
    ("a.txt", ""),
];

#[tokio::test]
async fn builds_that_succeed_start_and_history_does_not() {
    let jenkins = Jenkins::start().await.unwrap();
    let job = "team/job/shop";
    jenkins.job(job, &[]);
    for _ in 0..5 {
        jenkins.build(job, "SUCCESS", GOOD);
    }
    let running = jenkins.begin(job);
    let store = memory();
    let world = world(store.clone(), &jenkins, job);
    learnt(&world).await;
    let failed = jenkins.build(job, "FAILURE", GOOD);
    let unstable = jenkins.build(job, "SUCCESS", &[("out.properties", "stable=no\n")]);
    let good = jenkins.build(job, "SUCCESS", GOOD);
    jenkins.end(job, running, "SUCCESS", GOOD);
    let mut numbers: Vec<u64> = world
        .starts(2)
        .await
        .iter()
        .map(|s| {
            assert_eq!(s.trigger["propertyFileContents"]["image"], "h/a:1");
            assert_eq!(s.trigger["buildInfo"]["name"], job);
            assert_eq!(s.trigger["artifacts"].as_array().unwrap().len(), 2);
            s.trigger["buildNumber"].as_u64().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [running, good]);
    let decisions = world.decided("p", 4).await;
    let refused = |number: u64| {
        let of = |d: &&Value| d["event"]["number"] == number && d["outcome"] == "rejected";
        decisions.iter().find(of).unwrap()["field"].clone()
    };
    assert_eq!(refused(failed), "result");
    assert_eq!(refused(unstable), "payloadConstraints.stable");

    // A lost cursor learns and fires nothing.
    drop(world);
    let shard = store.shards().of_name("ci");
    let key = store::DocumentKey::new("jenkins", "ci");
    let version = store.load(shard, &key).await.unwrap().unwrap().version;
    let lost = store::Batch::new(shard, "lost")
        .document(&key, version)
        .delete();
    store.commit(lost).await.unwrap().unwrap();
    let world = self::world(memory(), &jenkins, job);
    learnt(&world).await;
    let next = jenkins.build(job, "SUCCESS", GOOD);
    assert_eq!(world.starts(1).await[0].trigger["buildNumber"], next);
}

#[tokio::test]
async fn five_hundred_builds_with_three_replicas_that_come_and_go_are_one_start_each() {
    let jenkins = Jenkins::start().await.unwrap();
    jenkins.job("shop", &[]);
    let store = memory();
    let mut replicas: Vec<World> = (0..3)
        .map(|_| world(store.clone(), &jenkins, "shop"))
        .collect();
    learnt(&replicas[0]).await;
    let mut started = 0;
    for n in 0..500 {
        jenkins.build("shop", "SUCCESS", GOOD);
        if n % 50 == 25 {
            // One falls silent and another comes.
            replicas.remove(n / 50 % 2);
            replicas.push(world(store.clone(), &jenkins, "shop"));
            started += replicas[0].starts_so_far().await.len();
        }
    }
    let mut events: Vec<String> = Vec::new();
    let begun = std::time::Instant::now();
    while started + events.len() < 500 && begun.elapsed().as_secs() < 120 {
        let found = replicas[0].starts_so_far().await;
        events.extend(found.into_iter().map(|s| s.event_id));
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    events.extend(
        replicas[0]
            .starts_so_far()
            .await
            .into_iter()
            .map(|s| s.event_id),
    );
    assert_eq!(started + events.len(), 500);
    let all = events.len();
    events.sort();
    events.dedup();
    assert_eq!(events.len(), all);
}

#[tokio::test]
async fn more_builds_than_jenkins_lists_at_once_are_all_told() {
    let jenkins = Jenkins::start().await.unwrap();
    jenkins.job("shop", &[]);
    for _ in 0..130 {
        jenkins.build("shop", "SUCCESS", GOOD);
    }
    let store = memory();
    let world = world(store.clone(), &jenkins, "shop");
    learnt(&world).await;
    drop(world);
    for _ in 0..130 {
        jenkins.build("shop", "SUCCESS", GOOD);
    }
    let world = self::world(store, &jenkins, "shop");
    let mut numbers: Vec<u64> = world
        .starts(130)
        .await
        .iter()
        .map(|s| s.trigger["buildNumber"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (131..=260).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_job_that_comes_back_starts_nothing_for_its_past() {
    let jenkins = Jenkins::start().await.unwrap();
    jenkins.job("other", &[]);
    let world = world(memory(), &jenkins, "shop");
    learnt(&world).await;
    jenkins.restore("shop", 5, 86_400_000);
    let polls = jenkins.polls();
    while jenkins.polls() < polls + 3 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let next = jenkins.build("shop", "SUCCESS", GOOD);
    let starts = world.starts(1).await;
    assert_eq!(starts[0].trigger["buildNumber"], next);
    assert_eq!(world.decided("p", 1).await.len(), 1);
}

#[tokio::test]
async fn a_build_that_ended_before_a_trigger_was_there_is_history_to_it() {
    let jenkins = Jenkins::start().await.unwrap();
    let job = "shop";
    jenkins.job(job, &[]);
    let world = world(memory(), &jenkins, job);
    learnt(&world).await;
    let stand_since = |ms: i64| {
        let mut late = waits(job);
        late["since"] = json!(ms);
        world.state().pipelines = vec![pipeline("p", "shop", &[late])];
    };
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let now = i64::try_from(now).unwrap();
    stand_since(now + 60_000);
    let old = jenkins.build(job, "SUCCESS", GOOD);
    let decided = world.decided("p", 1).await.remove(0);
    assert_eq!(
        (&decided["event"]["number"], &decided["field"]),
        (&json!(old), &json!("enabled"))
    );
    stand_since(now - 60_000);
    let new = jenkins.build(job, "SUCCESS", GOOD);
    assert_eq!(world.starts(1).await[0].trigger["buildNumber"], new);
}

#[tokio::test]
async fn a_build_is_started_once_per_effect_followed_and_stopped() {
    let jenkins = Jenkins::start().await.unwrap();
    jenkins.ask_for_crumbs();
    jenkins.job("shop", &[("ENV", &["staging", "prod"]), ("V", &[])]);
    jenkins.job("old", &[]);
    jenkins.disable("old");
    let world = world(memory(), &jenkins, "shop");
    let mut builds = BuildServiceClient::new(world.channel.clone());
    let start = |job: &str, parameters: Value, effect: &str| StartBuildRequest {
        master: "ci".into(),
        job: job.into(),
        parameters: Some(Json::of(&parameters)),
        effect_id: effect.into(),
    };
    let good = start("shop", json!({"ENV": "prod", "V": "a b"}), "e1");
    let first = builds.start_build(good.clone()).await.unwrap().into_inner();
    let again = builds.start_build(good).await.unwrap().into_inner();
    assert_eq!(first.item, again.item);
    let key = |number: u64, item: &str| BuildKey {
        master: "ci".into(),
        job: "shop".into(),
        number,
        item: item.into(),
    };
    let queued = builds
        .get_queued(key(0, &first.item))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(queued.number, 1);
    assert_eq!(jenkins.parameters("shop", 1)["V"], "a b");
    assert_eq!(jenkins.changes().len(), 1);
    let build = builds.get_build(key(1, "")).await.unwrap().into_inner();
    assert_eq!(build.value("b").unwrap()["result"], "BUILDING");
    let stop = StopBuildRequest {
        build: Some(key(1, "")),
    };
    builds.stop_build(stop).await.unwrap();
    assert!(jenkins.running("shop").is_empty());
    for (request, says) in [
        (
            start("shop", json!({"ENV": "moon"}), "e2"),
            "Valid choices are: staging, prod",
        ),
        (start("old", json!({}), "e3"), "not buildable"),
        (start("none", json!({}), "e4"), "has no job none"),
    ] {
        let status = builds.start_build(request).await.unwrap_err();
        assert!(status.message().contains(says), "{status}");
    }
}

#[tokio::test]
async fn a_job_tells_its_parameters() {
    let jenkins = Jenkins::start().await.unwrap();
    let job = "team/job/shop";
    jenkins.job(job, &[("ENV", &["staging", "prod"])]);
    let world = world(memory(), &jenkins, job);
    let mut builds = BuildServiceClient::new(world.channel.clone());
    let key = |job: &str| BuildKey {
        master: "ci".into(),
        job: job.into(),
        ..BuildKey::default()
    };
    let found = builds.get_job(key(job)).await.unwrap().into_inner();
    let found = found.value("job").unwrap();
    assert_eq!(
        (&found["name"], &found["buildable"]),
        (&json!(job), &json!(true))
    );
    let parameter = &found["parameterDefinitionList"][0];
    assert_eq!(parameter["name"], "ENV");
    assert_eq!(parameter["choices"], json!(["staging", "prod"]));
    let unknown = builds.get_job(key("none")).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn only_whoever_may_read_a_master_learns_of_its_builds_and_only_writers_start_one() {
    let jenkins = Jenkins::start().await.unwrap();
    jenkins.job("shop", &[]);
    let mut config = config(&jenkins);
    config.jenkins[0].permissions =
        serde_yaml_ng::from_str("{READ: [Team, ops], WRITE: [ops]}").unwrap();
    let trigger = |id: &str, user: &str| json!({"type": "jenkins", "id": id, "enabled": true, "master": "ci", "job": "shop", "runAsUser": user});
    let own = "own@managed-service-account";
    let mut managed = pipeline("own", "shop", &[trigger("m", own)]);
    managed["roles"] = json!(["team"]);
    let each = [
        trigger("nobody", ""),
        trigger("stranger", "stranger"),
        trigger("bot", "bot"),
        // Another pipeline's account is its account too.
        trigger("other", own),
        trigger("gone", "gone@managed-service-account"),
    ];
    let accounts = [("bot", "team"), ("stranger", "others")];
    let account = |(name, role): (&str, &str)| {
        let stored = json!({"id": name, "name": name, "memberOf": [role]});
        (name.to_owned(), stored)
    };
    let state = State {
        pipelines: vec![pipeline("p", "shop", &each), managed],
        accounts: accounts.map(account).into(),
        policy: Some(std::sync::Arc::default()),
        ..State::default()
    };
    let world = World::start(memory(), config, state);
    learnt(&world).await;
    jenkins.build("shop", "SUCCESS", GOOD);
    let starts = world.starts(3).await;
    let mut fired: Vec<&str> = starts.iter().map(|s| s.trigger_id.as_str()).collect();
    fired.sort_unstable();
    assert_eq!(fired, ["bot", "m", "other"]);
    let decisions = world.decided("p", 5).await;
    let refused = |id: &str| decisions.iter().find(|d| d["triggerId"] == id).unwrap();
    for (id, user) in [
        ("nobody", "anonymous"),
        ("stranger", "stranger"),
        ("gone", "gone@managed-service-account"),
    ] {
        let refused = refused(id);
        assert_eq!(
            (&refused["field"], &refused["expected"], &refused["actual"]),
            (
                &json!("runAsUser"),
                &json!("READ of build service ci"),
                &json!(user)
            ),
            "{refused:#}"
        );
    }
    // Looking at the triggers themselves says the same.
    let test = TestRequest {
        application: "shop".into(),
        pipeline_id: "p".into(),
        ..TestRequest::default()
    };
    let tried = world.events.clone().test(test).await.unwrap().into_inner();
    let tried: Vec<Value> = tried
        .decisions
        .iter()
        .map(|d| d.value("d").unwrap())
        .collect();
    let fields: Vec<&Value> = tried.iter().map(|d| &d["field"]).collect();
    let (wrong, right) = (&json!("runAsUser"), &Value::Null);
    assert_eq!(fields, [wrong, wrong, right, right, wrong], "{tried:#?}");

    let mut builds = BuildServiceClient::new(world.channel.clone());
    let by = |user: &str, role: &str| AuthContext {
        user: user.into(),
        roles: vec![role.into()],
        request_id: None,
    };
    let key = || BuildKey {
        master: "ci".into(),
        job: "shop".into(),
        number: 1,
        item: String::new(),
    };
    let start = || StartBuildRequest {
        master: "ci".into(),
        job: "shop".into(),
        parameters: None,
        effect_id: "e".into(),
    };
    for (user, role, reads, writes) in [
        ("anonymous", "", false, false),
        ("eve", "others", false, false),
        ("ann", "team", true, false),
        ("olga", "ops", true, true),
    ] {
        let by = by(user, role);
        let masters = builds.list_masters(by.request(Empty {})).await.unwrap();
        assert_eq!(
            masters.into_inner().names.len(),
            usize::from(reads),
            "{user}"
        );
        let build = builds.get_build(by.request(key())).await;
        assert_eq!(build.is_ok(), reads, "{user}");
        let started = builds.start_build(by.request(start())).await;
        assert_eq!(started.is_ok(), writes, "{user}");
        let stop = StopBuildRequest { build: Some(key()) };
        let stopped = builds.stop_build(by.request(stop)).await;
        for refused in [build.err(), started.err(), stopped.err()]
            .into_iter()
            .flatten()
        {
            if !writes {
                let says = refused.message();
                assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{says}");
                assert!(
                    says.contains("build service ci") && says.contains(user),
                    "{says}"
                );
            }
        }
    }
}
