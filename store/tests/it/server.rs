//! Throwaway Redis servers: own port, own folder, killed with their handle.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "redis-server";

/// Whether there is a server to run; says why not.
pub(crate) fn installed() -> bool {
    let found = Command::new(PROGRAM)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        println!("skipped: redis-server is not installed");
    }
    found
}

/// A port that is free now, below the range that outgoing connections use.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        if port > 1024 {
            return port;
        }
    }
}

/// One server.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    arguments: Vec<String>,
    pub(crate) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// Starts a server with an append-only file in `folder`.
    pub(crate) async fn start(folder: &Path, more: &[&str]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        for _ in 0..5 {
            let port = free_port();
            let mut arguments: Vec<String> = vec!["--port".into(), port.to_string()];
            let fixed = "--bind 127.0.0.1 --appendonly yes --save '' --daemonize no \
                         --enable-debug-command yes --loglevel warning";
            arguments.extend(fixed.split(' ').map(|word| word.replace('\'', "")));
            arguments.extend(more.iter().map(|word| (*word).to_owned()));
            let child = spawn(folder, &arguments);
            let mut server = Self {
                child,
                folder: folder.to_owned(),
                arguments,
                port,
            };
            if server.answers().await {
                return server;
            }
        }
        panic!("no redis-server starts in {}", folder.display());
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts again on the same folder and port.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.folder, &self.arguments);
        assert!(self.answers().await, "it starts again");
    }

    /// The file that commits are appended to.
    pub(crate) fn append_file(&self) -> PathBuf {
        let folder = self.folder.join("appendonlydir");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .collect();
        files.sort();
        files.pop().expect("there is an append-only file")
    }

    /// Waits until it answers; false if it ended.
    async fn answers(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(answer) = self.try_command(&["PING"]).await {
                assert_eq!(answer, ::redis::Value::SimpleString("PONG".into()));
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    async fn try_command(&self, words: &[&str]) -> ::redis::RedisResult<::redis::Value> {
        let client = ::redis::Client::open(self.url())?;
        let config = ::redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let mut command = ::redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async(&mut connection).await
    }

    /// One command on a connection of its own.
    pub(crate) async fn command(&self, words: &[&str]) -> ::redis::Value {
        self.try_command(words).await.unwrap()
    }
}

fn spawn(folder: &Path, arguments: &[String]) -> Child {
    Command::new(PROGRAM)
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Three masters that share the slots.
pub(crate) struct Cluster {
    pub(crate) masters: Vec<Server>,
}

impl Cluster {
    pub(crate) async fn start(folder: &Path) -> Self {
        let mut masters = Vec::new();
        for number in 0..3 {
            let bus = free_port().to_string();
            let more = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--appendfsync",
                "everysec",
                "--cluster-node-timeout",
                "2000",
            ];
            let folder = folder.join(format!("master-{number}"));
            let server = Server::start(&folder, &more).await;
            let (first, last) = [("0", "5460"), ("5461", "10922"), ("10923", "16383")][number];
            server
                .command(&["CLUSTER", "ADDSLOTSRANGE", first, last])
                .await;
            let epoch = (number + 1).to_string();
            server
                .command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch])
                .await;
            masters.push((server, bus));
        }
        for (server, bus) in &masters[1..] {
            let port = server.port.to_string();
            masters[0]
                .0
                .command(&["CLUSTER", "MEET", "127.0.0.1", &port, bus])
                .await;
        }
        let cluster = Self {
            masters: masters.into_iter().map(|(server, _)| server).collect(),
        };
        let started = Instant::now();
        while !cluster.complete().await {
            assert!(started.elapsed() < Duration::from_secs(20), "cluster forms");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cluster
    }

    async fn complete(&self) -> bool {
        for master in &self.masters {
            let told = master.command(&["CLUSTER", "INFO"]).await;
            let told: String = ::redis::from_redis_value(told).unwrap();
            if !told.contains("cluster_state:ok") || !told.contains("cluster_known_nodes:3") {
                return false;
            }
        }
        true
    }
}
