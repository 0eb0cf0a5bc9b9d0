//! People prove who they are, do what they may, and it is written down; on real processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::demo::jenkins::Jenkins;
use hyper::Method;
use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::gate::Gate;
use tests::program::Program;
use tests::world::{APPLICATION, Pace};
use tests::{Setup, Stack, World};
use tokio::io::AsyncWriteExt;

/// What `gennaker user` is told, with the password on standard input.
async fn user(stack: &Stack, arguments: &[&str], password: &str) {
    let mut child = tokio::process::Command::new(stack.program("gennaker").unwrap())
        .arg("user")
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(password.as_bytes()).await.unwrap();
    drop(input);
    assert!(child.wait().await.unwrap().success());
}

pub(crate) async fn add(stack: &Stack, file: &Path, name: &str, roles: &str) {
    let file = file.display().to_string();
    user(
        stack,
        &["add", name, "--file", &file, "--roles", roles],
        name,
    )
    .await;
}

/// A world in which version 1 runs and from then on people have to authenticate.
async fn guarded() -> (World, PathBuf) {
    let world = World::serving_one(Setup::default(), "staging").await;
    guard(world.unwrap()).await
}

/// From now on people have to authenticate: Ann, account `staging` and the builds of a Jenkins are the
/// team's, Root is an administrator, Eve is neither.
async fn guard(mut world: World) -> (World, PathBuf) {
    let file = world.folder().unwrap().join("users");
    for (name, roles) in [("ann", "team"), ("eve", "other"), ("root", "admin")] {
        add(&world.stack, &file, name, roles).await;
    }
    let before = std::fs::read_to_string(world.stack.data.join("gennaker.yml")).unwrap();
    let team = "  - name: staging\n    permissions: {READ: [team], WRITE: [team]}\n";
    let configuration = before.replace("  - name: staging\n", team).replace(
        "{name: ci,",
        "{name: ci, permissions: {READ: [team], WRITE: [builders]},",
    );
    assert_ne!(configuration, before);
    let identity = format!(
        "gateway:\n  authentication: {{users-file: {}}}\nauthorization: {{admin-roles: [admin]}}\n",
        file.display()
    );
    world.stack.configure(&(configuration + &identity));
    world.stack.stop().await.unwrap();
    world.stack.start().await.unwrap();
    let root = world.stack.gate.with_password("root", "root");
    let roles = json!(["team"]);
    let task = json!({"application": APPLICATION, "description": "permissions", "job": [{
        "type": "updateApplication",
        "application": {"name": APPLICATION, "email": "team@example.com", "permissions":
            {"READ": roles, "WRITE": roles, "EXECUTE": roles}},
    }]});
    let id = root.submit(&task).await.unwrap();
    let ended = root
        .wait_for_task(&id, Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
    (world, file)
}

async fn status(gate: &Gate, method: Method, path: &str, body: Option<&Value>) -> u16 {
    gate.http()
        .send(method, path, body)
        .await
        .unwrap()
        .status
        .as_u16()
}

/// Starts a deployment for somebody and waits for its end.
async fn deployed(world: &World, gate: &Gate, image: &str) -> Value {
    let cluster = world.cluster("staging", image, "redblack");
    let stages = [world.deploy_stage("1", &[], &cluster)];
    let id = gate
        .start_ad_hoc(&pipeline(APPLICATION, "Deploy", &stages))
        .await
        .unwrap();
    gate.wait_for_execution(&id, tests::world::DEPLOYMENT)
        .await
        .unwrap()
}

#[tokio::test]
async fn people_deploy_what_is_theirs_and_nothing_else() {
    let (world, file) = guarded().await;
    let gate = &world.stack.gate;
    let (ann, eve) = (
        gate.with_password("ann", "ann"),
        gate.with_password("eve", "eve"),
    );
    let path = format!("/applications/{APPLICATION}");
    for (gate, expected) in [
        (gate, 401),
        (&ann, 200),
        (&eve, 403),
        (&gate.with_password("ann", "x"), 401),
    ] {
        assert_eq!(status(gate, Method::GET, &path, None).await, expected);
    }
    let image = world.push(&world.image("2")).await.unwrap();
    let image = world.reference(&image);
    let ended = deployed(&world, &ann, &image).await;
    assert_eq!(
        ended["status"],
        "SUCCEEDED",
        "{}",
        tests::gate::outline(&ended)
    );
    world.require_version("staging", "2").await.unwrap();

    let start = pipeline(APPLICATION, "Deploy", &[]);
    assert_eq!(
        status(&eve, Method::POST, "/pipelines/start", Some(&start)).await,
        403
    );

    // In an application of her own she may start what she likes; what it does to others' is refused.
    eve.save_application("mine").await.unwrap();
    let cluster = world.cluster("staging", &image, "redblack");
    let stages = [world.deploy_stage("1", &[], &cluster)];
    let id = eve
        .start_ad_hoc(&pipeline("mine", "Deploy", &stages))
        .await
        .unwrap();
    let ended = eve
        .wait_for_execution(&id, Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(ended["status"], "TERMINAL");
    let told = ended.to_string();
    assert!(
        told.contains("Access denied to application shop"),
        "{}",
        tests::gate::outline(&ended)
    );

    // What runs for somebody is decided by the roles of the moment too.
    let wait = stage("wait", "Wait", "1", &[], json!({"waitTime": 5}));
    let deploy = world.deploy_stage("2", &["1"], &cluster);
    let waiting = ann
        .start_ad_hoc(&pipeline(APPLICATION, "Later", &[wait, deploy]))
        .await
        .unwrap();
    // A role that is taken counts at the next request, and so does a user who is removed.
    add(&world.stack, &file, "ann", "other").await;
    assert_eq!(status(&ann, Method::GET, &path, None).await, 403);
    let of_file = file.display().to_string();
    user(&world.stack, &["remove", "ann", "--file", &of_file], "").await;
    assert_eq!(status(&ann, Method::GET, &path, None).await, 401);
    let root = gate.with_password("root", "root");
    let ended = root.wait_for_execution(&waiting, Duration::from_secs(60));
    let ended = ended.await.unwrap();
    let shown = tests::gate::outline(&ended);
    assert_eq!(ended["status"], "TERMINAL", "{shown}");
    let says = "Access denied to application shop - required authorization: WRITE for ann";
    assert!(ended.to_string().contains(says), "{shown}");
    world.require_version("staging", "2").await.unwrap();
}

#[tokio::test]
async fn a_trigger_runs_as_its_service_account_and_a_token_reaches_as_far_as_it_was_made_for() {
    let (world, _) = guarded().await;
    let gate = &world.stack.gate;
    let (ann, root) = (
        gate.with_password("ann", "ann"),
        gate.with_password("root", "root"),
    );
    let bot = json!({"name": "bot", "memberOf": ["team"]});
    assert_eq!(
        status(&ann, Method::POST, "/serviceAccounts", Some(&bot)).await,
        403
    );
    assert_eq!(
        status(&root, Method::POST, "/serviceAccounts", Some(&bot)).await,
        200
    );
    let image = world.push(&world.image("2")).await.unwrap();
    let cluster = world.cluster("staging", &world.reference(&image), "redblack");
    for (source, run_as, expected) in [
        // The application is the team's, so a trigger that runs as nobody starts nothing.
        ("as-nobody", "", ""),
        ("as-bot", "bot", "SUCCEEDED"),
    ] {
        let mut deploy = pipeline(
            APPLICATION,
            source,
            &[world.deploy_stage("1", &[], &cluster)],
        );
        deploy["triggers"] =
            json!([{"type": "webhook", "enabled": true, "source": source, "runAsUser": run_as}]);
        let saved = ann.save_pipeline(&deploy).await.unwrap();
        // Webhooks carry no user.
        let sent = status(
            gate,
            Method::POST,
            &format!("/webhooks/webhook/{source}"),
            Some(&json!({})),
        )
        .await;
        assert_eq!(sent, 200);
        let of = format!(
            "/executions?pipelineConfigIds={}",
            saved["id"].as_str().unwrap()
        );
        if expected.is_empty() {
            let path = format!("/triggers/events?application={APPLICATION}&pipeline={source}");
            let soon = Duration::from_secs(20);
            let decided = tests::eventually("it is decided", soon, async || {
                let found = ann.get(&path).await.map_err(|e| e.to_string())?;
                found.get(0).cloned().ok_or(String::new())
            });
            let decided = decided.await.unwrap();
            assert_eq!(decided["field"], "runAsUser", "{decided:#}");
            assert_eq!(ann.get(&of).await.unwrap(), json!([]));
            continue;
        }
        let execution = tests::eventually("it started", Duration::from_secs(20), async || {
            let found = ann.get(&of).await.map_err(|e| e.to_string())?;
            found[0]["id"]
                .as_str()
                .map(ToOwned::to_owned)
                .ok_or(String::new())
        })
        .await
        .unwrap();
        let ended = ann
            .wait_for_execution(&execution, tests::world::DEPLOYMENT)
            .await
            .unwrap();
        assert_eq!(
            ended["status"],
            expected,
            "{source}: {}",
            tests::gate::outline(&ended)
        );
    }
    let asked = json!({"name": "reader", "permissions": ["READ"], "applications": [APPLICATION]});
    let made = ann
        .http()
        .post("/tokens", &asked)
        .await
        .unwrap()
        .expect(200)
        .unwrap()
        .json()
        .unwrap();
    let token = gate.with_token(made["token"].as_str().unwrap());
    let path = format!("/applications/{APPLICATION}");
    assert_eq!(status(&token, Method::GET, &path, None).await, 200);
    let start = format!("/pipelines/{APPLICATION}/as-bot");
    assert_eq!(
        status(&token, Method::POST, &start, Some(&json!({}))).await,
        403
    );
    let delete = format!("/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(status(&ann, Method::DELETE, &delete, None).await, 200);
    assert_eq!(status(&token, Method::GET, &path, None).await, 401);

    let audit = root.get("/audit?limit=500").await.unwrap();
    let entries = audit["entries"].as_array().unwrap();
    let has = |phase: &str, actor: &str, action: &str| {
        entries
            .iter()
            .any(|e| e["phase"] == phase && e["actor"] == actor && e["action"] == action)
    };
    assert!(has("refused", "ann", "service_accounts.save"));
    assert!(
        has("begun", "root", "service_accounts.save")
            && has("ended", "root", "service_accounts.save")
    );
    assert!(has("ended", "ann", "pipeline_configs.save"));
    let all = audit.to_string();
    assert!(!all.contains(made["token"].as_str().unwrap()));
    // The log holds no password and no token either.
    let log = world.stack.log().unwrap();
    assert!(!log.contains(made["token"].as_str().unwrap()));
}

#[tokio::test]
async fn a_build_server_is_seen_and_asked_to_build_by_whom_its_permissions_name() {
    let jenkins = Jenkins::start().await.unwrap();
    jenkins.job("shop", &[]);
    let pace = Pace {
        jenkins: Some(jenkins.address().to_owned()),
        ..Pace::default()
    };
    let world = World::up_at(Setup::default(), &pace).await.unwrap();
    let (world, _) = guard(world).await;
    let gate = &world.stack.gate;
    let by = |name: &str| gate.with_password(name, name);
    let (ann, eve, root) = (by("ann"), by("eve"), by("root"));
    let narrow = json!({"name": "narrow", "permissions": ["EXECUTE"]});
    let made = ann.http().post("/tokens", &narrow).await.unwrap();
    let made = made.expect(200).unwrap().json().unwrap();
    let narrow = gate.with_token(made["token"].as_str().unwrap());
    let jobs = "/v2/builds/ci/jobs";
    for (gate, masters, seen) in [
        (&ann, json!(["ci"]), 200),
        (&root, json!(["ci"]), 200),
        (&eve, json!([]), 403),
    ] {
        assert_eq!(gate.get("/v2/builds").await.unwrap(), masters);
        let path = "/auth/explain?buildService=ci&permission=READ";
        let explained = gate.get(path).await.unwrap();
        assert_eq!(explained["allowed"], seen == 200, "{explained}");
        assert!(explained["rule"].is_string(), "{explained}");
        assert_eq!(status(gate, Method::GET, jobs, None).await, seen);
    }
    assert_eq!(status(gate, Method::GET, jobs, None).await, 401);
    assert_eq!(status(&narrow, Method::GET, jobs, None).await, 403);

    let fields = json!({"master": "ci", "job": "shop"});
    let build = pipeline(
        APPLICATION,
        "Build",
        &[stage("jenkins", "Build", "1", &[], fields)],
    );
    let started = ann.start_ad_hoc(&build).await.unwrap();
    let soon = Duration::from_secs(30);
    let ended = ann.wait_for_execution(&started, soon).await.unwrap();
    let shown = tests::gate::outline(&ended);
    assert_eq!(ended["status"], "TERMINAL", "{shown}");
    let says = "Access denied to build service ci - required authorization: WRITE for ann";
    assert!(ended.to_string().contains(says), "{shown}");
    assert!(jenkins.changes().is_empty(), "nothing was built");

    let started = root.start_ad_hoc(&build).await.unwrap();
    let number = tests::eventually("it is built", soon, async || {
        let running = jenkins.running("shop");
        running.first().copied().ok_or_else(String::new)
    });
    jenkins.end("shop", number.await.unwrap(), "SUCCESS", &[]);
    let ended = root.wait_for_execution(&started, soon).await.unwrap();
    assert_eq!(
        ended["status"],
        "SUCCEEDED",
        "{}",
        tests::gate::outline(&ended)
    );
}

#[tokio::test]
async fn other_machines_are_let_in_only_where_people_authenticate() {
    let mut stack = Stack::prepare(Setup {
        arguments: vec!["--bind".to_owned(), "0.0.0.0".to_owned()],
        ..Setup::default()
    })
    .await
    .unwrap();
    let mut refused: Program = stack.spawn().unwrap();
    let ended = tests::eventually("it ends", Duration::from_secs(20), async || {
        refused
            .ended()
            .map_err(|e| e.to_string())?
            .ok_or_else(String::new)
    })
    .await
    .unwrap();
    assert_eq!(ended.code(), Some(64));
    assert!(
        refused.tail().contains("gateway.authentication"),
        "{}",
        refused.tail()
    );
    let file = stack.folder().unwrap().join("users");
    add(&stack, &file, "ann", "team").await;
    stack.configure(&format!(
        "gateway: {{authentication: {{users-file: {}}}}}\n",
        file.display()
    ));
    stack.start().await.unwrap();
    assert_eq!(
        status(&stack.gate, Method::GET, "/applications", None).await,
        401
    );
    let ann = stack.gate.with_password("ann", "ann");
    assert_eq!(status(&ann, Method::GET, "/applications", None).await, 200);
}
