//! A throwaway Redis server, which may be killed and started again on its own files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use servers::port;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::eventually;
use crate::program::Program;

/// The program, as the package `redis-server` installs it.
pub const PROGRAM: &str = "redis-server";

/// When Redis writes to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before it acknowledges.
    Always,
    /// Once a second.
    EverySecond,
}

impl Fsync {
    /// As `appendfsync` takes it.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::EverySecond => "everysec",
        }
    }
}

/// A running server. It ends when this is dropped.
pub struct Redis {
    /// Its port at 127.0.0.1.
    pub port: u16,
    folder: PathBuf,
    fsync: Fsync,
    program: Program,
}

/// A server's log of commands, by its folder.
#[derive(Debug, Clone)]
pub struct CommandLog(PathBuf);

impl CommandLog {
    /// How much of it the server has handed to the system, in bytes.
    ///
    /// # Errors
    /// It is not there.
    pub fn size(&self) -> Result<u64> {
        let file = self.newest()?;
        let about = std::fs::metadata(&file)
            .with_context(|| format!("cannot look at {}", file.display()))?;
        Ok(about.len())
    }

    fn newest(&self) -> Result<PathBuf> {
        let entries = std::fs::read_dir(&self.0)
            .with_context(|| format!("cannot read {}", self.0.display()))?;
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .max()
            .with_context(|| format!("no log of commands in {}", self.0.display()))
    }
}

impl Redis {
    /// Starts a server on a free port with its files below `folder`.
    ///
    /// # Errors
    /// The package is not installed, or it does not answer within 20 s.
    pub async fn start(folder: &Path, fsync: Fsync) -> Result<Self> {
        // Which promise a run was held to.
        println!("{PROGRAM}, appendfsync {}", fsync.mode());
        let folder = folder.join("redis");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let port = port::free();
        let program = start(port, &folder, fsync)?;
        let redis = Self {
            port,
            folder,
            fsync,
            program,
        };
        redis.wait().await?;
        Ok(redis)
    }

    /// What `--redis` takes.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Kills it (SIGKILL) and starts it again on the same port and files.
    ///
    /// # Errors
    /// It does not answer within 20 s.
    pub async fn kill_and_restart(&mut self) -> Result<()> {
        self.program.kill().await?;
        self.program = start(self.port, &self.folder, self.fsync)?;
        self.wait().await
    }

    /// Its log of commands, which may be looked at while it runs.
    pub fn log(&self) -> CommandLog {
        CommandLog(self.folder.join("appendonlydir"))
    }

    /// The same, but what its log of commands got beyond `size` is lost: what `everysec` permits, which a
    /// kill alone brings about only when the disk is busy.
    ///
    /// # Errors
    /// It does not answer within 20 s, or its log is not there.
    pub async fn kill_and_restart_with(&mut self, size: u64) -> Result<()> {
        self.program.kill().await?;
        let file = self.log().newest()?;
        std::fs::File::options()
            .write(true)
            .open(&file)
            .and_then(|file| file.set_len(size))
            .with_context(|| format!("cannot cut {}", file.display()))?;
        self.program = start(self.port, &self.folder, self.fsync)?;
        self.wait().await
    }

    /// The process of the server.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> Result<i32> {
        Ok(self.program.pid()?.as_raw_nonzero().get())
    }

    /// The calls of each command since the start, by `INFO commandstats`, in lower case.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn calls(&self) -> Result<Vec<(String, u64)>> {
        let text = self.command("INFO commandstats").await?;
        let mut calls = Vec::new();
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("cmdstat_"))
        {
            let (name, fields) = line.split_once(':').context("commandstats is malformed")?;
            let count = fields
                .split(',')
                .find_map(|field| field.strip_prefix("calls="))
                .context("commandstats has no calls")?;
            calls.push((
                name.to_ascii_lowercase(),
                count.parse().context("calls is no number")?,
            ));
        }
        Ok(calls)
    }

    /// Sends one inline command and returns its answer as text.
    ///
    /// # Errors
    /// The server does not answer, or answers with an error.
    pub async fn command(&self, text: &str) -> Result<String> {
        command(self.port, text).await
    }

    async fn wait(&self) -> Result<()> {
        eventually(
            "redis answers",
            Duration::from_secs(20),
            async || match self.command("PING").await {
                Ok(answer) if answer == "PONG" => Ok(()),
                Ok(answer) => Err(answer),
                Err(error) => Err(format!("{error:#}\n{}", self.program.tail())),
            },
        )
        .await
    }
}

/// Sends one inline command to a server and returns its answer as text.
///
/// # Errors
/// The server does not answer, or answers with an error.
pub async fn command(port: u16, command: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .context("cannot connect to redis")?;
    stream
        .write_all(format!("{command}\r\n").as_bytes())
        .await?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let line = line.trim_end();
    match line.split_at_checked(1) {
        Some(("+" | ":", text)) => Ok(text.to_owned()),
        Some(("$", length)) => {
            let length: usize = length.parse().context("redis sent no length")?;
            ensure!(length < 16 * 1024 * 1024, "redis sent {length} bytes");
            let mut text = vec![0; length];
            stream.read_exact(&mut text).await?;
            String::from_utf8(text).context("redis sent no text")
        }
        _ => bail!("redis answered {line:?} to {command:?}"),
    }
}

fn start(port: u16, folder: &Path, fsync: Fsync) -> Result<Program> {
    let port = port.to_string();
    let files = folder.display().to_string();
    let fsync = fsync.mode();
    let arguments = [
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--dir",
        &files,
        "--appendonly",
        "yes",
        "--appendfsync",
        fsync,
        "--save",
        "",
        "--maxmemory-policy",
        "noeviction",
        "--daemonize",
        "no",
    ];
    Program::start(Path::new(PROGRAM), arguments, &[], &folder.join("log"))
        .context("the package redis-server is needed")
}
