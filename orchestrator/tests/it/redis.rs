//! A throwaway Redis server.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use store::{Shards, Shared};

/// The server; it ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    _folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts one; none, and says so, where it is not installed.
    pub(crate) fn start(append: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let spawned = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--appendonly", "yes", "--appendfsync", append, "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match spawned {
            Ok(child) => Some(Self {
                child,
                _folder: folder,
                port,
            }),
            Err(error) => {
                println!("skipped: redis-server cannot be started: {error}");
                None
            }
        }
    }

    /// A store on it.
    pub(crate) async fn store(&self) -> Shared {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let begun = Instant::now();
        loop {
            match store::redis::connect(&url, Shards::default()).await {
                Ok(store) => return store,
                Err(error) => {
                    assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    /// What a command answers, line by line.
    pub(crate) fn ask(&self, command: &[&str]) -> Vec<String> {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(command)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// Bytes that were sent to it, and that it answered, so far.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let told = self.ask(&["info", "stats"]);
        let number = |field: &str| {
            let line = told.iter().find_map(|line| line.strip_prefix(field));
            line.unwrap().parse().unwrap()
        };
        (
            number("total_net_input_bytes:"),
            number("total_net_output_bytes:"),
        )
    }

    /// How often each command was called so far, those inside scripts included.
    pub(crate) fn calls(&self) -> BTreeMap<String, u64> {
        let line = |line: &String| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        let told = self.ask(&["info", "commandstats"]);
        told.iter().filter_map(line).collect()
    }
}
