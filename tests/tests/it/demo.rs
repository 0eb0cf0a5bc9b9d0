//! The demonstration, step by step as the README tells it: up, push, judge, down, up again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use servers::port;
use tests::gate::{Gate, is_complete, outline, stage};
use tests::http::Client;
use tests::program::{self, Program, installed};
use tests::{census, eventually};

const APPLICATION: &str = "demo";
const SOON: Duration = Duration::from_secs(60);

/// The demonstration's folder and ports. Whatever runs there ends when this is dropped.
struct Demo {
    folder: tempfile::TempDir,
    port: u16,
    balancer_port: u16,
    gate: Gate,
}

impl Demo {
    fn new() -> Self {
        let port = port::free();
        Self {
            folder: tempfile::Builder::new()
                .prefix("gnk-demo-")
                .tempdir()
                .unwrap(),
            port,
            balancer_port: port::free(),
            gate: Gate::port(port),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A script of the demonstration with the variables that the Makefile gives it.
    fn words(&self, script: &str, arguments: &[&str]) -> Vec<String> {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo");
        let programs = program::folder().unwrap();
        let server = program::static_server().unwrap();
        let mut words = vec![
            format!("GENNAKER_BIN_DIR={}", programs.display()),
            format!("GENNAKER_DEMO_SERVER={}", server.display()),
            scripts.join(script).display().to_string(),
            self.data().display().to_string(),
        ];
        words.extend(arguments.iter().map(ToString::to_string));
        words
    }

    async fn run(&self, script: &str, arguments: &[&str]) -> anyhow::Result<String> {
        program::run(Path::new("/usr/bin/env"), self.words(script, arguments)).await
    }

    fn up_words(&self) -> Vec<String> {
        let (port, balancer) = (self.port.to_string(), self.balancer_port.to_string());
        self.words("up.sh", &[&port, &balancer])
    }

    /// `make up`, which goes on running.
    fn up(&self) -> Program {
        let log = self.folder.path().join("up.log");
        Program::start(Path::new("/usr/bin/env"), self.up_words(), &[], &log).unwrap()
    }

    /// Waits until users of an environment get a version.
    async fn serves(&self, path: &str, version: &str) {
        let client = Client::port(self.balancer_port);
        let what = format!("{path} is answered by version {version}");
        eventually(&what, SOON, async || match client.get(path).await {
            Ok(answer) if answer.status == 200 && answer.text() == version => Ok(()),
            Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
            Err(error) => Err(format!("{error:#}")),
        })
        .await
        .unwrap();
    }

    /// Waits for the pipeline's only execution for a tag.
    async fn promoted(&self, tag: &str) -> String {
        eventually("the push starts promote", SOON, async || {
            let all = self
                .gate
                .executions(APPLICATION)
                .await
                .map_err(|e| e.to_string())?;
            let ours = all
                .iter()
                .filter(|e| e["name"] == "promote" && e["trigger"]["tag"] == tag);
            let ids: Vec<_> = ours
                .filter_map(|e| e["id"].as_str().map(str::to_owned))
                .collect();
            match ids.as_slice() {
                [one] => Ok(one.clone()),
                _ => Err(format!("{ids:?}")),
            }
        })
        .await
        .unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        census::kill_all(self.folder.path());
    }
}

fn can_run() -> bool {
    let missing = ["docker-registry", "skopeo"]
        .into_iter()
        .find(|name| !installed(name));
    if let Some(name) = missing {
        println!("skipped: {name} is not installed");
    }
    missing.is_none()
}

#[tokio::test]
async fn a_stranger_sees_the_next_version_go_live() {
    if !can_run() {
        return;
    }
    let demo = Demo::new();
    let mut up = demo.up();
    demo.serves("/version", "1").await;
    demo.serves("/staging/version", "1").await;
    let page = demo.gate.http().get("/ui/").await.unwrap();
    assert!(page.text().contains("Gennaker"), "{}", page.text());

    demo.run("push.sh", &["2"]).await.unwrap();
    let id = demo.promoted("2").await;
    let asked = demo
        .gate
        .wait_for_stage(&id, "3", "RUNNING", SOON)
        .await
        .unwrap();
    demo.serves("/staging/version", "2").await;
    demo.serves("/version", "1").await;
    demo.gate.judge(&id, &asked, "continue").await.unwrap();
    let ended = demo.gate.wait_for_execution(&id, SOON).await.unwrap();
    assert_eq!(ended["status"], "SUCCEEDED", "{}", outline(&ended));
    demo.serves("/version", "2").await;
    let environments = demo.gate.get("/applications/demo/environments").await;
    let environments = environments.unwrap();
    for (at, name) in ["staging", "prod"].into_iter().enumerate() {
        let told = &environments[at];
        assert_eq!(
            (&told["name"], &told["health"]),
            (&json!(name), &json!("healthy")),
            "{told:#}"
        );
        assert!(told.to_string().contains("demo:2"), "{told:#}");
    }

    // The first one stands; a second is told of it.
    let refused = program::run(Path::new("/usr/bin/env"), demo.up_words())
        .await
        .unwrap_err();
    let refused = format!("{refused:#}");
    assert!(
        refused.contains("is held by") && refused.contains("gennaker down"),
        "{refused}"
    );
    demo.serves("/version", "2").await;

    // Ctrl-C: users notice nothing, and the next start adopts what runs.
    up.signal(Signal::INT).unwrap();
    assert!(up.wait(SOON).await.unwrap().success());
    demo.serves("/version", "2").await;
    let mut up = demo.up();
    eventually("it is up again", SOON, async || {
        demo.gate.get("/health").await.map(drop)
    })
    .await
    .unwrap();

    demo.run("down.sh", &[]).await.unwrap();
    up.wait(SOON).await.unwrap();
    let left = census::of(demo.folder.path());
    assert!(left.is_empty(), "down left {left:?}");
    demo.run("down.sh", &[]).await.unwrap();

    // What was deployed comes back, and nothing is deployed or started anew.
    let _up = demo.up();
    demo.serves("/version", "2").await;
    demo.serves("/staging/version", "2").await;
    let executions = demo.gate.executions(APPLICATION).await.unwrap();
    assert_eq!(executions.len(), 2, "{executions:#?}");
}

#[tokio::test]
async fn a_first_start_that_was_interrupted_is_gone_on_with() {
    if !can_run() {
        return;
    }
    let demo = Demo::new();
    let mut up = demo.up();
    eventually("the first deployment runs", SOON, async || {
        let all = demo
            .gate
            .executions(APPLICATION)
            .await
            .map_err(|e| e.to_string())?;
        let runs = all
            .iter()
            .any(|e| !is_complete(e) && stage(e, "1").is_some_and(|s| s["status"] == "RUNNING"));
        if runs {
            Ok(())
        } else {
            Err(format!("{} executions", all.len()))
        }
    })
    .await
    .unwrap();
    up.kill().await.unwrap();
    let _up = demo.up();
    demo.serves("/version", "1").await;
    demo.serves("/staging/version", "1").await;
    let configs = demo
        .gate
        .get("/applications/demo/pipelineConfigs")
        .await
        .unwrap();
    let configs = configs.as_array().unwrap().iter();
    let names: Vec<&Value> = configs.map(|config| &config["name"]).collect();
    assert_eq!(names, ["canary", "promote"]);
}
