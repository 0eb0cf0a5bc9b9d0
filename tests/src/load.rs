//! Drives the load generator as a process and reads what it found.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::program;

/// What users of every kind send: `http2`, `grpc`, `socket` and `big` beside the kinds that are sent by
/// themselves. The last are few, since each is 50 MiB.
pub const EVERY_KIND: [&str; 2] = [
    "--mix",
    "get=400,new=120,post=218,slow=8,upload=20,http2=200,grpc=20,socket=12,big=2",
];

/// A request that ended.
#[derive(Debug, Clone)]
pub struct Request {
    /// As the load generator names it.
    pub kind: String,
    /// When it began, milliseconds since the epoch.
    pub start: u64,
    /// When its answer had been read.
    pub end: u64,
    /// Which version answered; absent when it failed.
    pub version: Option<String>,
}

/// Everything the load generator found.
#[derive(Debug)]
pub struct Report {
    /// Its last line.
    pub summary: Value,
    /// One line per failed request.
    pub failures: Vec<Value>,
    /// Every request.
    pub requests: Vec<Request>,
}

impl Report {
    /// A number of the summary.
    ///
    /// # Errors
    /// It is not there.
    pub fn count(&self, name: &str) -> Result<u64> {
        self.summary[name]
            .as_u64()
            .with_context(|| format!("no {name} in {}", self.summary))
    }

    /// What is proven by no failure among so many requests: with 95 % confidence, fewer than this many
    /// of a million fail. (Of n requests that fail independently with the chance p, none does with the
    /// chance (1 - p)^n, which is 0.05 for p = 1 - 0.05^(1/n).)
    ///
    /// # Errors
    /// There is no count.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn upper_bound_per_million(&self) -> Result<f64> {
        let answered = self.count("answered")?;
        ensure!(answered > 0, "nothing was answered: {}", self.summary);
        Ok((1.0 - 0.05_f64.powf(1.0 / answered as f64)) * 1e6)
    }

    /// How many of each kind were answered, in one line.
    pub fn by_kind(&self) -> String {
        let kinds = self.summary["kinds"].as_object().into_iter().flatten();
        let counts = kinds.map(|(kind, counts)| format!("{kind} {}", counts["answered"]));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// The kinds that were sent and had no request in flight at any of these times (milliseconds since the
    /// epoch).
    pub fn kinds_not_across(&self, times: &[u64]) -> Vec<String> {
        let across = |kind: &str| {
            self.requests
                .iter()
                .filter(|request| request.kind == kind)
                .any(|request| {
                    times
                        .iter()
                        .any(|time| request.start <= *time && *time < request.end)
                })
        };
        let kinds = self.summary["kinds"].as_object().into_iter().flatten();
        let sent = kinds.filter(|(_, counts)| counts["started"] != 0);
        let absent = sent.filter(|(kind, _)| !across(kind));
        absent.map(|(kind, _)| kind.clone()).collect()
    }

    /// Requires that nothing failed and nothing was left out.
    ///
    /// # Errors
    /// Names up to ten failed requests and the counts.
    pub fn require_clean(&self) -> Result<()> {
        let lines: Vec<String> = self
            .failures
            .iter()
            .take(10)
            .map(ToString::to_string)
            .collect();
        ensure!(
            self.failures.is_empty(),
            "{} requests failed:\n{}\n{}",
            self.failures.len(),
            lines.join("\n"),
            self.summary
        );
        for name in ["failed", "overrun", "inFlight"] {
            ensure!(self.count(name)? == 0, "{name} is not 0: {}", self.summary);
        }
        ensure!(
            self.count("started")? == self.count("answered")?,
            "started and answered differ: {}",
            self.summary
        );
        Ok(())
    }
}

/// A running load generator. It ends when this is dropped.
pub struct Load {
    child: Child,
    /// Reads all the time: a generator whose lines nobody takes stands still in the end.
    reading: JoinHandle<Result<Findings>>,
    record: PathBuf,
}

/// What it wrote: its last line, and one per failed request.
type Findings = (Option<Value>, Vec<Value>);

impl Load {
    /// Starts it against the balancer's port with this `Host` header; its record goes to `folder`.
    ///
    /// # Errors
    /// It is not built, or cannot be started.
    pub fn start(
        folder: &Path,
        port: u16,
        host: &str,
        rate: u32,
        arguments: &[&str],
    ) -> Result<Self> {
        let record = folder.join("requests.jsonl");
        let mut child = Command::new(program::path("load")?)
            .args(["--url", &format!("http://127.0.0.1:{port}"), "--host", host])
            .args(["--rate", &rate.to_string(), "--control", "--record"])
            .arg(&record)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the load generator")?;
        let output = child
            .stdout
            .take()
            .context("the load generator has no output")?;
        Ok(Self {
            child,
            reading: tokio::spawn(read(BufReader::new(output).lines())),
            record,
        })
    }

    /// Tells it to stop, waits for the answers that are outstanding, and reads its findings.
    ///
    /// # Errors
    /// It does not end within a minute, or prints something else than its lines.
    pub async fn stop(mut self) -> Result<Report> {
        if let Some(mut control) = self.child.stdin.take() {
            // It may have ended by itself; then there is a summary all the same.
            let _ended = control.write_all(b"stop\n").await;
        }
        let reading = &mut self.reading;
        let Ok(read) = tokio::time::timeout(Duration::from_secs(60), reading).await else {
            bail!("the load generator did not end within a minute");
        };
        let (summary, failures) = read.context("its lines are not read to the end")??;
        let summary = summary.context("the load generator ended without a summary")?;
        let text = std::fs::read_to_string(&self.record).context("cannot read the record")?;
        let requests = text.lines().map(request).collect::<Result<_>>()?;
        Ok(Report {
            summary,
            failures,
            requests,
        })
    }
}

async fn read(mut lines: Lines<BufReader<ChildStdout>>) -> Result<Findings> {
    let (mut summary, mut failures) = (None, Vec::new());
    while let Some(line) = lines.next_line().await.context("cannot read its lines")? {
        let line: Value =
            serde_json::from_str(&line).with_context(|| format!("not a line: {line}"))?;
        match line["event"].as_str() {
            Some("failed") => failures.push(line),
            Some("summary") => summary = Some(line),
            _ => {}
        }
    }
    Ok((summary, failures))
}

fn request(line: &str) -> Result<Request> {
    let value: Value =
        serde_json::from_str(line).with_context(|| format!("not a request: {line}"))?;
    let number = |name: &str| {
        value[name]
            .as_u64()
            .with_context(|| format!("no {name} in {line}"))
    };
    Ok(Request {
        kind: value["kind"]
            .as_str()
            .context("a request without a kind")?
            .to_owned(),
        start: number("start")?,
        end: number("end")?,
        version: value["version"].as_str().map(str::to_owned),
    })
}
