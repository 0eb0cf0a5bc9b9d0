//! Throwaway Redis servers: own port, own folder, killed with their handle.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use servers::port;

const PROGRAM: &str = "redis-server";
/// The same by another name, with a history of its own since 2024.
pub(crate) const VALKEY: &str = "valkey-server";

/// Whether there is a server to run; says why not.
pub(crate) fn installed() -> bool {
    has(PROGRAM)
}

/// The same of a program by name.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// One server.
pub(crate) struct Server {
    child: Child,
    program: &'static str,
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
        Self::start_as(PROGRAM, folder, more).await
    }

    /// The same with a program by name.
    pub(crate) async fn start_as(program: &'static str, folder: &Path, more: &[&str]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        for _ in 0..5 {
            let port = port::free();
            let mut arguments: Vec<String> = vec!["--port".into(), port.to_string()];
            let fixed = "--bind 127.0.0.1 --appendonly yes --save '' --daemonize no \
                         --enable-debug-command yes --loglevel warning";
            arguments.extend(fixed.split(' ').map(|word| word.replace('\'', "")));
            arguments.extend(more.iter().map(|word| (*word).to_owned()));
            let child = spawn(program, folder, &arguments);
            let mut server = Self {
                child,
                program,
                folder: folder.to_owned(),
                arguments,
                port,
            };
            if server.answers().await {
                return server;
            }
        }
        panic!("no {program} starts in {}", folder.display());
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
        self.child = spawn(self.program, &self.folder, &self.arguments);
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

    pub(crate) async fn try_command(&self, words: &[&str]) -> ::redis::RedisResult<::redis::Value> {
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

fn spawn(program: &str, folder: &Path, arguments: &[String]) -> Child {
    Command::new(program)
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
            let bus = port::free().to_string();
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

/// A master, two replicas and three sentinels that watch over them.
pub(crate) struct Watched {
    pub(crate) master: Server,
    pub(crate) replicas: Vec<Server>,
    sentinels: Vec<(Child, u16)>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        for (sentinel, _) in &mut self.sentinels {
            let _ = sentinel.kill();
            let _ = sentinel.wait();
        }
    }
}

impl Watched {
    pub(crate) async fn start(folder: &Path) -> Self {
        let every_second = [
            "--appendfsync",
            "everysec",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let master = Server::start(&folder.join("master"), &every_second).await;
        let port = master.port.to_string();
        let mut replicas = Vec::new();
        for number in 0..2 {
            let more = [&every_second[..], &["--replicaof", "127.0.0.1", &port]].concat();
            let folder = folder.join(format!("replica-{number}"));
            replicas.push(Server::start(&folder, &more).await);
        }
        let mut sentinels = Vec::new();
        for number in 0..3 {
            let folder = folder.join(format!("sentinel-{number}"));
            std::fs::create_dir_all(&folder).unwrap();
            let own = port::free();
            let settings = format!(
                "port {own}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 4000\n"
            );
            std::fs::write(folder.join("sentinel.conf"), settings).unwrap();
            let arguments = ["sentinel.conf".to_owned(), "--sentinel".to_owned()];
            sentinels.push((spawn(PROGRAM, &folder, &arguments), own));
        }
        let watched = Self {
            master,
            replicas,
            sentinels,
        };
        let started = Instant::now();
        while !watched.complete().await {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "the sentinels find each other and the replicas"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        watched
    }

    /// Where the sentinels are.
    pub(crate) fn url(&self) -> String {
        let all: Vec<_> = self
            .sentinels
            .iter()
            .map(|(_, port)| format!("127.0.0.1:{port}"))
            .collect();
        format!("redis-sentinel://{}/main", all.join(","))
    }

    async fn complete(&self) -> bool {
        for (_, port) in &self.sentinels {
            let Ok(client) = ::redis::Client::open(format!("redis://127.0.0.1:{port}")) else {
                return false;
            };
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
                return false;
            };
            let mut info = ::redis::cmd("INFO");
            let told: ::redis::RedisResult<String> =
                info.arg("sentinel").query_async(&mut connection).await;
            if !told.is_ok_and(|told| {
                told.contains("status=ok") && told.contains("slaves=2,sentinels=3")
            }) {
                return false;
            }
        }
        let told = self.master.command(&["INFO", "replication"]).await;
        let told: String = ::redis::from_redis_value(told).unwrap();
        told.matches("state=online").count() == 2
    }

    /// Waits until a replica is the master.
    pub(crate) async fn has_failed_over(&self) {
        let started = Instant::now();
        loop {
            for replica in &self.replicas {
                // Who becomes the master ends the connections it had.
                let Ok(told) = replica.try_command(&["INFO", "replication"]).await else {
                    continue;
                };
                let told: String = ::redis::from_redis_value(told).unwrap();
                if told.contains("role:master") {
                    return;
                }
            }
            assert!(started.elapsed() < Duration::from_secs(40), "a failover");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Keeps the replicas from hearing of what the master does, or lets them again.
    pub(crate) async fn deafen(&self, deaf: bool) {
        for replica in &self.replicas {
            let password = if deaf { "nobody knows it" } else { "" };
            replica
                .command(&["CONFIG", "SET", "masterauth", password])
                .await;
            if deaf {
                replica.command(&["CLIENT", "KILL", "TYPE", "master"]).await;
            }
        }
    }
}
