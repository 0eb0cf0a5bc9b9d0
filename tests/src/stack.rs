//! One Gennaker with everything around it: `gennaker up` on a folder of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use servers::port;
use tempfile::TempDir;

use crate::gate::Gate;
use crate::program::{self, Look, Program};
use crate::redis::{Fsync, Redis};
use crate::{census, eventually};

/// What keeps the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The embedded store in the data folder.
    Embedded,
    /// A Redis server of the stack's own.
    Redis(Fsync),
}

/// How to start.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What keeps the state.
    pub backend: Backend,
    /// `--demo`.
    pub demo: bool,
    /// The text of `gennaker.yml`; none when absent.
    pub configuration: Option<String>,
    /// More arguments of `up`.
    pub arguments: Vec<String>,
    /// More environment.
    pub environment: Vec<(String, String)>,
    /// Use the programs built with the controls' switches.
    pub controls: bool,
    /// Name of the data folder.
    pub data: String,
    /// The folder of the programs; none: those under test.
    pub programs: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            backend: Backend::Embedded,
            demo: false,
            configuration: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            controls: false,
            data: "data".to_owned(),
            programs: None,
        }
    }
}

/// A running Gennaker. When this is dropped every process of its folder is killed; the folder is
/// removed unless the test is failing.
pub struct Stack {
    /// The gateway's port.
    pub port: u16,
    /// The balancer's port.
    pub balancer_port: u16,
    /// The data folder.
    pub data: PathBuf,
    /// The client of the gateway.
    pub gate: Gate,
    /// The Redis server, when there is one.
    pub redis: Option<Redis>,
    setup: Setup,
    look: Option<Look>,
    program: Option<Program>,
    folder: Option<TempDir>,
}

impl Stack {
    /// Prepares folder, ports and Redis, and starts nothing else yet.
    ///
    /// # Errors
    /// The folder cannot be created, or Redis does not start.
    pub async fn prepare(setup: Setup) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("gnk-e2e-")
            .tempdir()
            .context("no folder")?;
        let data = folder.path().join(&setup.data);
        std::fs::create_dir_all(&data).context("cannot create the data folder")?;
        let redis = match setup.backend {
            Backend::Embedded => None,
            Backend::Redis(fsync) => Some(Redis::start(folder.path(), fsync).await?),
        };
        let port = port::free();
        let balancer_port = port::free();
        Ok(Self {
            port,
            balancer_port,
            data,
            gate: Gate::port(port),
            redis,
            setup,
            look: None,
            program: None,
            folder: Some(folder),
        })
    }

    /// Prepares and starts.
    ///
    /// # Errors
    /// It is not healthy within 30 s.
    pub async fn up(setup: Setup) -> Result<Self> {
        let mut stack = Self::prepare(setup).await?;
        stack.start().await?;
        Ok(stack)
    }

    /// The folder around the data folder, for a test's own files.
    ///
    /// # Errors
    /// Never, while the stack lives.
    pub fn folder(&self) -> Result<&Path> {
        Ok(self.folder.as_ref().context("the folder is gone")?.path())
    }

    /// What `gennaker.yml` shall say from the next start on.
    pub fn configure(&mut self, configuration: &str) {
        self.setup.configuration = Some(configuration.to_owned());
    }

    /// Whose programs are used from now on.
    pub fn programs(&mut self, folder: &Path) {
        self.setup.programs = Some(folder.to_owned());
    }

    /// Who is shown each line of the control plane's log, from the next start on.
    pub fn look(&mut self, look: Look) {
        self.look = Some(look);
    }

    /// Waits for the control plane's end, which somebody else causes.
    ///
    /// # Errors
    /// It does not run, or does not end in time.
    pub async fn wait_for_end(&mut self, deadline: Duration) -> Result<()> {
        let mut program = self
            .program
            .take()
            .context("the control plane does not run")?;
        program.wait(deadline).await?;
        Ok(())
    }

    /// Whether the control plane has ended, by whatever cause.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn has_ended(&mut self) -> Result<bool> {
        match &mut self.program {
            None => Ok(true),
            Some(program) => Ok(program.ended()?.is_some()),
        }
    }

    /// What the environment shall hold from the next start on.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.setup.environment.retain(|(known, _)| known != name);
        self.setup
            .environment
            .push((name.to_owned(), value.to_owned()));
    }

    /// The arguments of `gennaker up`, as the next start gives them.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "up".to_owned(),
            "--data".to_owned(),
            self.data.display().to_string(),
            "--port".to_owned(),
            self.port.to_string(),
            "--balancer-port".to_owned(),
            self.balancer_port.to_string(),
        ];
        if let Some(redis) = &self.redis {
            arguments.extend(["--redis".to_owned(), redis.url()]);
        }
        if self.setup.demo {
            arguments.push("--demo".to_owned());
        }
        arguments.extend_from_slice(&self.setup.arguments);
        arguments
    }

    /// The path of a program of the product, as this stack uses it.
    ///
    /// # Errors
    /// It has not been built.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        if let Some(folder) = &self.setup.programs {
            let path = folder.join(name);
            ensure!(path.is_file(), "{} does not exist", path.display());
            return Ok(path);
        }
        if !self.setup.controls {
            return program::path(name);
        }
        let folder = std::env::var_os("GENNAKER_CONTROLS_DIR").map_or_else(
            || program::folder().map(|folder| folder.join("../controls")),
            |folder| Ok(PathBuf::from(folder)),
        )?;
        let path = folder.join(name);
        ensure!(
            path.is_file(),
            "{} does not exist: `make controls`",
            path.display()
        );
        Ok(path)
    }

    /// Starts the control plane and waits until `/health` answers 200; returns how long that took.
    ///
    /// # Errors
    /// It ended, or is not healthy within 30 s; the error carries its last lines.
    pub async fn start(&mut self) -> Result<Duration> {
        if let Some(configuration) = &self.setup.configuration {
            let file = self.data.join("gennaker.yml");
            std::fs::write(&file, configuration)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        let begin = Instant::now();
        let mut program = self.spawn()?;
        let client = self.gate.http().clone();
        let healthy = eventually("/health answers 200", Duration::from_secs(30), async || {
            match program.ended() {
                Ok(None) => {}
                Ok(Some(status)) => return Ok(Err(format!("gennaker ended with {status}"))),
                Err(error) => return Ok(Err(format!("{error:#}"))),
            }
            match client.get("/health").await {
                Ok(answer) if answer.status == 200 => Ok(Ok(begin.elapsed())),
                Ok(answer) => Err(answer.text()),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await;
        let took = match healthy {
            Ok(Ok(took)) => took,
            Ok(Err(error)) => bail!("{error}; its last lines:\n{}", program.tail()),
            Err(error) => bail!("{error:#}; its last lines:\n{}", program.tail()),
        };
        self.program = Some(program);
        Ok(took)
    }

    /// Starts `gennaker up` once more on this folder and does not wait: the caller judges it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self) -> Result<Program> {
        let log = self.folder()?.join("gennaker.log");
        let (program, arguments) = (self.program("gennaker")?, self.arguments());
        let environment = &self.setup.environment;
        match &self.look {
            None => Program::start(&program, arguments, environment, &log),
            Some(look) => {
                Program::start_watched(&program, arguments, environment, &log, Arc::clone(look))
            }
        }
    }

    /// The control plane's process id.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<i32> {
        let program = self
            .program
            .as_ref()
            .context("the control plane does not run")?;
        Ok(program.pid()?.as_raw_nonzero().get())
    }

    /// `kill -9` of the control plane, and nothing else.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.program
            .take()
            .context("the control plane does not run")?
            .kill()
            .await
    }

    /// `kill -9`, and start it again at once.
    ///
    /// # Errors
    /// It does not run, or does not come back.
    pub async fn kill_and_restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.start().await?;
        Ok(())
    }

    /// `gennaker balancer upgrade`: another balancer in place of the one that runs; what it says.
    ///
    /// # Errors
    /// It fails.
    pub async fn upgrade_balancer(&self) -> Result<String> {
        let gennaker = self.program("gennaker")?;
        let data = self.data.display().to_string();
        program::run(&gennaker, ["balancer", "upgrade", "--data", &data]).await
    }

    /// SIGTERM, and waits for the end; returns how long that took.
    ///
    /// # Errors
    /// It does not end within 20 s, or not with 0.
    pub async fn stop(&mut self) -> Result<Duration> {
        let mut program = self
            .program
            .take()
            .context("the control plane does not run")?;
        let begin = Instant::now();
        program.signal(Signal::TERM)?;
        let status = program.wait(Duration::from_secs(20)).await?;
        ensure!(
            status.success(),
            "gennaker ended with {status}:\n{}",
            program.tail()
        );
        Ok(begin.elapsed())
    }

    /// `gennaker down` on this folder.
    ///
    /// # Errors
    /// It fails, or takes more than a minute.
    pub async fn down(&mut self) -> Result<String> {
        let data = self.data.display().to_string();
        let printed = program::run(&self.program("gennaker")?, ["down", "--data", &data]).await?;
        if let Some(mut program) = self.program.take() {
            program
                .wait(Duration::from_secs(5))
                .await
                .context("down returned too early")?;
        }
        Ok(printed)
    }

    /// Everything the control plane printed, from the first start on.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<String> {
        let log = self.folder()?.join("gennaker.log");
        std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.program.take());
        census::kill_all(&self.data);
        drop(self.redis.take());
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            let folder = folder.keep();
            eprintln!("kept {}; the last lines of gennaker.log:", folder.display());
            eprintln!("{}", program::tail(&folder.join("gennaker.log")));
        }
    }
}
