//! Redis as operators run it: a cluster with replicas, a master watched by sentinels, one that speaks TLS to a
//! user with only the rights it needs. All of it ends when it is dropped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use servers::port;
use tokio::process::Command;

use crate::eventually;
use crate::program::Program;
use crate::redis::{PROGRAM, command};

const SOON: Duration = Duration::from_secs(40);
/// What a user of ours needs; `store/README.md` names the same.
const RIGHTS: &str = "resetkeys ~gn:* resetchannels &gn:news -@all +@read +@write +@scripting +@connection \
                      +subscribe +unsubscribe +publish +time +wait -@dangerous +info +role";
const PASSWORD: &str = "s3cret";

/// Servers, and what `--redis` takes for them.
pub struct Operated {
    /// The address, with its options.
    pub url: String,
    nodes: Vec<Node>,
}

struct Node {
    port: u16,
    program: Program,
}

impl Node {
    async fn start(folder: PathBuf, more: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let port = port::free();
        let (number, files) = (port.to_string(), folder.display().to_string());
        let mut arguments = vec!["--port", &number, "--bind", "127.0.0.1", "--dir", &files];
        arguments.extend("--appendonly yes --appendfsync everysec --daemonize no".split(' '));
        arguments.extend(["--save", "", "--repl-diskless-sync-delay", "0"]);
        arguments.extend(more);
        let log = folder.join("log");
        let program = Program::start(Path::new(PROGRAM), arguments, &[], &log)
            .context("the package redis-server is needed")?;
        let node = Self { port, program };
        let answers = async || match command(port, "PING").await {
            Ok(answer) if answer == "PONG" => Ok(()),
            other => Err(format!("{other:?}\n{}", node.program.tail())),
        };
        eventually("redis answers", SOON, answers).await?;
        Ok(node)
    }

    async fn says(&self, asked: &str, all: &[&str]) -> Result<(), String> {
        match command(self.port, asked).await {
            Ok(told) if all.iter().all(|word| told.contains(word)) => Ok(()),
            Ok(told) => Err(told),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}

impl Operated {
    /// Three masters, each with a replica that takes its place.
    ///
    /// # Errors
    /// A program is not installed, or the cluster does not form.
    pub async fn cluster(folder: &Path) -> Result<Self> {
        println!("{PROGRAM}, cluster of 3 masters and 3 replicas, appendfsync everysec");
        let mut nodes = Vec::new();
        for number in 0..6 {
            let bus = port::free().to_string();
            let more = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            let more = [&more[..], &["--cluster-node-timeout", "1000"]].concat();
            nodes.push(Node::start(folder.join(format!("node-{number}")), &more).await?);
        }
        let places = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let places: Vec<String> = places.collect();
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&places)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .await
            .context("the package redis-tools is needed")?;
        let told = String::from_utf8_lossy(&made.stdout).into_owned();
        ensure!(made.status.success(), "no cluster: {told}");
        let cluster = Self {
            url: format!("redis://{}", places.join(",")),
            nodes,
        };
        for node in &cluster.nodes {
            let formed = async || {
                node.says("CLUSTER INFO", &["cluster_state:ok", "known_nodes:6"])
                    .await
            };
            eventually("the cluster is complete", SOON, formed).await?;
        }
        for master in &cluster.nodes[..3] {
            let follows = async || master.says("INFO replication", &["state=online"]).await;
            eventually("its replica has everything", SOON, follows).await?;
        }
        Ok(cluster)
    }

    /// A master, two replicas, and three sentinels; a commit counts when a replica has it.
    ///
    /// # Errors
    /// A program is not installed, or they do not find one another.
    pub async fn watched(folder: &Path) -> Result<Self> {
        println!("{PROGRAM}, watched by 3 sentinels, 2 replicas, WAIT 1, appendfsync everysec");
        let master = Node::start(folder.join("master"), &[]).await?;
        let port = master.port.to_string();
        let mut nodes = vec![master];
        for number in 0..2 {
            let more = ["--replicaof", "127.0.0.1", &port];
            nodes.push(Node::start(folder.join(format!("replica-{number}")), &more).await?);
        }
        let mut places = Vec::new();
        for number in 0..3 {
            let folder = folder.join(format!("sentinel-{number}"));
            std::fs::create_dir_all(&folder)?;
            let own = port::free();
            let settings = format!(
                "port {own}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 4000\n",
                folder.display()
            );
            let file = folder.join("sentinel.conf");
            std::fs::write(&file, settings)?;
            let arguments = [file.display().to_string(), "--sentinel".to_owned()];
            let log = folder.join("log");
            let program = Program::start(Path::new(PROGRAM), arguments, &[], &log)?;
            let sentinel = Node { port: own, program };
            places.push(format!("127.0.0.1:{own}"));
            nodes.push(sentinel);
        }
        let watched = Self {
            url: format!("redis-sentinel://{}/main?wait=1", places.join(",")),
            nodes,
        };
        for sentinel in &watched.nodes[3..] {
            let knows = async || {
                let all = ["status=ok", "slaves=2,sentinels=3"];
                sentinel.says("INFO sentinel", &all).await
            };
            eventually("the sentinels find one another", SOON, knows).await?;
        }
        Ok(watched)
    }

    /// One server that takes clients with a certificate only, and a user with only the rights it needs.
    ///
    /// # Errors
    /// A program is not installed.
    pub async fn encrypted(folder: &Path) -> Result<Self> {
        println!(
            "{PROGRAM}, TLS with client certificates, a user with few rights, appendfsync everysec"
        );
        certificates(folder)?;
        let file = |name: &str| folder.join(name).display().to_string();
        let port = port::free().to_string();
        let (ca, certificate, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
        let more = [
            ["--tls-port", &port],
            ["--tls-ca-cert-file", &ca],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-auth-clients", "yes"],
        ];
        let node = Node::start(folder.join("redis"), &more.concat()).await?;
        let user = format!("ACL SETUSER gennaker reset on >{PASSWORD} {RIGHTS}");
        command(node.port, &user).await?;
        let password = file("password");
        std::fs::write(&password, PASSWORD)?;
        let (certificate, key) = (file("client.pem"), file("client.key"));
        Ok(Self {
            url: format!(
                "rediss://gennaker@127.0.0.1:{port}?ca={ca}&certificate={certificate}&key={key}\
                 &password-file={password}"
            ),
            nodes: vec![node],
        })
    }

    /// Kills (SIGKILL) the first master for good. A replica takes its place.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn lose_a_master(&mut self) -> Result<()> {
        let master = self.nodes.first_mut().context("there is no master")?;
        master.program.kill().await
    }
}

/// An authority and what it signed, as files: `ca`, `server`, `client`.
fn certificates(folder: &Path) -> Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    std::fs::write(folder.join("ca.pem"), params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    for name in ["server", "client"] {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        let signed = params.signed_by(&key, &issuer)?;
        std::fs::write(folder.join(format!("{name}.pem")), signed.pem())?;
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}
