//! A Redis of the test's own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use store::{Shards, Shared};
use tempfile::TempDir;

/// It ends with this value.
pub(crate) struct Server {
    child: Child,
    _folder: TempDir,
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
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let spawned = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--dir"])
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
}
