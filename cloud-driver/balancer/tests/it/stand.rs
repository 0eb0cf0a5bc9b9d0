//! A balancer process with a folder of its own, and the words to talk to it.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::backend::Backend;
use crate::client::{Answer, Connection, Failure};

/// Longest wait for anything.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Waits until a condition holds; what it saw last when it does not.
pub(crate) async fn eventually<T, E: std::fmt::Debug>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(error) => assert!(begun.elapsed() < SOON, "never: {what}: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Fails when something takes too long.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let within = tokio::time::timeout(SOON, future).await;
    within.unwrap_or_else(|_| panic!("never: {what}"))
}

/// A process that is killed when this is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(folder: &Path, arguments: &[&str], control: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
        command
            .arg("--data")
            .arg(folder)
            .args(arguments)
            .stdin(Stdio::null());
        if let Some(control) = control {
            command.env("GENNAKER_CONTROL", control);
        }
        Self(command.spawn().unwrap())
    }

    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// How it ended.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        eventually("the process ends", async || {
            self.0.try_wait().unwrap().ok_or("runs")
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A balancer under test.
pub(crate) struct Stand {
    pub(crate) folder: TempDir,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    arguments: Vec<String>,
    control: Option<String>,
}

impl Stand {
    pub(crate) async fn start() -> Self {
        Self::with(&[], None).await
    }

    pub(crate) async fn with(arguments: &[&str], control: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut all = vec!["--listen", "127.0.0.1:0"];
        all.extend(arguments);
        let process = Process::start(folder.path(), &all, control);
        let mut stand = Self {
            folder,
            process,
            address: ([127, 0, 0, 1], 0).into(),
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            control: control.map(str::to_owned),
        };
        stand.find_address().await;
        stand
    }

    async fn find_address(&mut self) {
        let state = eventually("the balancer answers", async || self.try_state().await).await;
        self.address = state["listeners"][0].as_str().unwrap().parse().unwrap();
    }

    /// Kills it with SIGKILL and starts it again on the same folder and port.
    pub(crate) async fn kill_and_restart(&mut self) {
        let listen = self.address.to_string();
        let mut all = vec!["--listen", &listen];
        all.extend(self.arguments.iter().map(String::as_str));
        let _ = self.process.0.kill();
        let _ = self.process.0.wait();
        self.process = Process::start(self.folder.path(), &all, self.control.as_deref());
        self.find_address().await;
    }

    /// Starts a successor and returns the process it replaced.
    pub(crate) async fn replace(&mut self) -> Process {
        let before = self.state().await["epoch"].clone();
        let listen = self.address.to_string();
        let mut all = vec!["--listen", &listen, "--handover"];
        all.extend(self.arguments.iter().map(String::as_str));
        let new = Process::start(self.folder.path(), &all, self.control.as_deref());
        eventually("the successor answers", async || {
            let state = self.try_state().await?;
            if state["epoch"] == before {
                Err("the old one does".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
        std::mem::replace(&mut self.process, new)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(balancer::ADMIN_SOCKET)
    }

    pub(crate) async fn admin(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut connection = Connection::admin(&self.socket()).await.unwrap();
        soon(line, connection.ask(line, headers, body))
            .await
            .unwrap()
    }

    async fn try_state(&self) -> Result<Value, String> {
        let connection = Connection::admin(&self.socket()).await;
        let mut connection = connection.map_err(|e| e.to_string())?;
        let answer = connection.ask("GET /v1/state", &[], b"").await;
        let answer = answer.map_err(|e| format!("{e:?}"))?;
        Ok(answer.json())
    }

    pub(crate) async fn state(&self) -> Value {
        self.admin("GET /v1/state", &[], b"").await.json()
    }

    pub(crate) async fn instance(&self, id: &str) -> Value {
        let state = self.state().await;
        let mut instances = state["instances"].as_array().unwrap().iter();
        instances
            .find(|i| i["id"] == id)
            .cloned()
            .unwrap_or(Value::Null)
    }

    pub(crate) async fn put(&self, generation: &str, fence: u64, config: &Value) -> Answer {
        let headers = [("if-match", generation), ("x-fence", &fence.to_string())];
        let body = config.to_string();
        self.admin("PUT /v1/config", &headers, body.as_bytes())
            .await
    }

    /// Sets a configuration whatever was before; its generation.
    pub(crate) async fn set(&self, config: &Value) -> u64 {
        let answer = self.put("\"*\"", 1, config).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["generation"].as_u64().unwrap()
    }

    /// Waits for an instance's state.
    pub(crate) async fn wait(&self, id: &str, state: &str) {
        eventually(&format!("{id} is {state}"), async || {
            let instance = self.instance(id).await;
            if instance["state"] == state {
                Ok(())
            } else {
                Err(instance)
            }
        })
        .await;
    }

    /// Sets a configuration and waits until all instances with the role `serve` serve.
    pub(crate) async fn serve(&self, config: &Value) {
        self.set(config).await;
        for id in ids(config, "serve") {
            self.wait(&id, "serving").await;
        }
    }

    pub(crate) async fn connect(&self) -> Connection<tokio::net::TcpStream> {
        Connection::open(self.address).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Failure> {
        let mut connection = self.connect().await;
        soon(line, connection.ask(line, headers, body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &[], b"").await.unwrap()
    }

    /// What is known of a listener.
    pub(crate) async fn listening(&self, address: SocketAddr) -> Value {
        let state = self.state().await;
        let all = state["listening"].as_array().cloned().unwrap_or_default();
        let found = all
            .into_iter()
            .find(|l| l["address"] == address.to_string());
        found.unwrap_or(Value::Null)
    }

    /// One series of a metric.
    pub(crate) async fn sample(&self, series: &str) -> f64 {
        let text = self.admin("GET /metrics", &[], b"").await.text();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(series));
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("no {series} in {text}"));
        line.trim().parse().unwrap()
    }

    /// The sum of a metric over all its series.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.admin("GET /metrics", &[], b"").await.text();
        assert!(text.contains(&format!("# TYPE {name} ")), "no {name}");
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

fn ids(config: &Value, role: &str) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let groups = list(&config["loadBalancers"])
        .into_iter()
        .flat_map(|b| list(&b["groups"]));
    let instances = groups.flat_map(|g| list(&g["instances"]));
    instances
        .filter(|i| i["role"] == role)
        .map(|i| i["id"].as_str().unwrap().to_owned())
        .collect()
}

/// An instance of a configuration.
pub(crate) fn instance(id: &str, backend: &Backend, role: &str) -> Value {
    json!({"id": id, "address": backend.address.to_string(), "role": role})
}

/// A server group whose instances are probed on `/health`, quickly.
pub(crate) fn group(name: &str, weight: u32, instances: &[Value]) -> Value {
    json!({
        "name": name, "weight": weight, "instances": instances,
        "health": {"path": "/health", "intervalMs": 50, "warmIntervalMs": 10, "timeoutMs": 1000},
    })
}

/// An address that nobody listens on, below the ports that the system gives out by itself.
pub(crate) fn free_address() -> SocketAddr {
    loop {
        let port = 10_000 + rand::random::<u16>() % 20_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A configuration with listeners.
pub(crate) fn with_listeners(mut config: Value, listeners: &[Value]) -> Value {
    config["listeners"] = json!(listeners);
    config
}

/// One load balancer for everything.
pub(crate) fn config(groups: &[Value]) -> Value {
    json!({
        "routes": [{"path": "/", "loadBalancer": "all"}],
        "loadBalancers": [{"name": "all", "groups": groups}],
    })
}
