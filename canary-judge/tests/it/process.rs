//! Starting real stores: each with a folder and a port of its own, killed with its handle.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    pub(crate) child: Child,
    folder: TempDir,
}

impl Server {
    /// A process that ends with this, whatever comes.
    pub(crate) fn new(child: Child, folder: TempDir) -> Self {
        Self { child, folder }
    }

    /// Asks until the answer is one; false when the server is gone.
    pub(crate) async fn ready(&mut self, url: &str) -> bool {
        let client = runtime::egress::operator_client().unwrap();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let answer = client.get(url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{url} does not answer");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether there is such a program; says why not.
pub(crate) fn has(program: &str, argument: &str) -> bool {
    let found = Command::new(program)
        .arg(argument)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Starts a server on a port that is free: another process may take it meanwhile, so it is tried again.
pub(crate) async fn start(
    mut folder: TempDir,
    path: &str,
    command: impl Fn(&Path, u16) -> Command,
) -> (Server, String) {
    for _ in 0..5 {
        let port = ::servers::port::free();
        let mut command = command(folder.path(), port);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut server = Server::new(child.unwrap(), folder);
        let url = format!("http://127.0.0.1:{port}");
        if server.ready(&format!("{url}{path}")).await {
            return (server, url);
        }
        folder = std::mem::replace(&mut server.folder, tempfile::tempdir().unwrap());
    }
    panic!("no port was free");
}

/// A Prometheus over a folder that promtool filled with `text`.
pub(crate) async fn prometheus_of(text: &str) -> Option<(Server, String)> {
    if !has("prometheus", "--version") || !has("promtool", "--version") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("past");
    std::fs::write(&input, text).unwrap();
    std::fs::write(folder.path().join("config.yml"), "global: {}\n").unwrap();
    let filled = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&input, &folder.path().join("data")])
        .output()
        .unwrap();
    assert!(
        filled.status.success(),
        "{}",
        String::from_utf8_lossy(&filled.stderr)
    );
    let started = start(folder, "/-/ready", |folder, port| {
        let mut command = Command::new("prometheus");
        let data = folder.join("data");
        command
            .arg(format!(
                "--config.file={}",
                folder.join("config.yml").display()
            ))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args([
                "--storage.tsdb.retention.time=10y",
                "--query.lookback-delta=30s",
            ]);
        command
    })
    .await;
    Some(started)
}
