//! The programs under test: where they are, and one running process of them.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// The folder of the built programs: `GENNAKER_BIN_DIR`, or the one this test was built into.
///
/// # Errors
/// The test's own path is not inside a target folder.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("GENNAKER_BIN_DIR") {
        return Ok(PathBuf::from(folder));
    }
    let test = std::env::current_exe().context("cannot find this test's own program")?;
    // target/<profile>/deps/it-<hash>, or target/<profile>/bench
    let folder = test.parent().context("this test's program has no folder")?;
    let folder = if folder.ends_with("deps") {
        folder.parent()
    } else {
        Some(folder)
    };
    Ok(folder
        .context("this test's program is not in a target folder")?
        .to_owned())
}

/// One of the programs, by name.
///
/// # Errors
/// It has not been built; the error says how to.
pub fn path(name: &str) -> Result<PathBuf> {
    let path = folder()?.join(name);
    if !path.is_file() {
        bail!(
            "{} does not exist: build it (`make build`) or set GENNAKER_BIN_DIR",
            path.display()
        );
    }
    Ok(path)
}

/// The programs of the product.
const PRODUCT: [&str; 3] = ["gennaker", "balancer", "instance"];

/// Puts the product of one folder in the place of that of another, which may be running.
///
/// # Errors
/// It is not there, or cannot be copied.
pub fn install(from: &Path, to: &Path) -> Result<()> {
    for name in PRODUCT {
        let (source, fresh) = (from.join(name), to.join(format!("{name}.new")));
        std::fs::copy(&source, &fresh)
            .and_then(|_| std::fs::rename(&fresh, to.join(name)))
            .with_context(|| format!("cannot install {}", source.display()))?;
    }
    Ok(())
}

/// The statically linked `demo-server`: `GENNAKER_DEMO_SERVER`, or beside the other programs under
/// the target's own name.
///
/// # Errors
/// It has not been built; the error says how to.
pub fn static_server() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("GENNAKER_DEMO_SERVER") {
        return Ok(PathBuf::from(path));
    }
    let folder = folder()?;
    let target = folder
        .parent()
        .context("the folder of programs has no parent")?;
    for profile in ["release", "debug"] {
        let path = target
            .join("x86_64-unknown-linux-gnu")
            .join(profile)
            .join("demo-server");
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!(
        "no static demo-server under {}: build it (`make demo-server`) or set GENNAKER_DEMO_SERVER",
        target.display()
    )
}

/// Whether a program of the system is there; tests that need one say so when it is not.
pub fn installed(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// What is called with the process and each line it writes.
pub type Look = Arc<dyn Fn(Pid, &str) + Send + Sync>;

/// A running process whose output goes to a file. It is killed when this is dropped.
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program; its output is appended to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(String, String)],
        log: &Path,
    ) -> Result<Self> {
        let errors = open(log)?.into();
        Self::spawn(program, arguments, environment, log, errors)
    }

    /// Starts a program whose lines on stderr are shown to `look` the moment they are written, by a
    /// thread of its own, and appended to `log` afterwards. So a test can kill it right there.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_watched<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(String, String)],
        log: &Path,
        look: Look,
    ) -> Result<Self> {
        let mut output = open(log)?;
        let (reader, writer) = std::io::pipe().context("cannot create a pipe")?;
        let started = Self::spawn(program, arguments, environment, log, writer.into())?;
        let pid = started.pid()?;
        // It ends with the last holder of the pipe's other end.
        std::thread::spawn(move || {
            for line in BufReader::new(reader)
                .lines()
                .map_while(std::io::Result::ok)
            {
                look(pid, &line);
                let _full = writeln!(output, "{line}");
            }
        });
        Ok(started)
    }

    fn spawn<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(String, String)],
        log: &Path,
        errors: Stdio,
    ) -> Result<Self> {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(open(log)?)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
        })
    }

    /// The process id, while it runs.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> Result<Pid> {
        let id = self
            .child
            .id()
            .with_context(|| format!("{} has ended", self.name))?;
        let id = i32::try_from(id).context("a process id is above 2^31")?;
        Pid::from_raw(id).context("a process id is 0")
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot ask {}", self.name))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It did not end in time; the error carries the last lines of its log.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        match tokio::time::timeout(deadline, self.child.wait()).await {
            Ok(status) => status.with_context(|| format!("cannot wait for {}", self.name)),
            Err(_) => bail!(
                "{} did not end within {} s; its last lines:\n{}",
                self.name,
                deadline.as_secs(),
                self.tail()
            ),
        }
    }

    /// Kills it at once (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("cannot kill {}", self.name))
    }

    /// The last 40 lines of its log.
    pub fn tail(&self) -> String {
        tail(&self.log)
    }
}

/// The last 40 lines of a file.
pub fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// It cannot be started, or fails, or takes longer than a minute; the error carries its output.
pub async fn run<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String> {
    let name = program.display();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(Duration::from_secs(60), output).await {
        Ok(output) => output.with_context(|| format!("cannot run {name}"))?,
        Err(_) => bail!("{name} did not end within a minute"),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}):\n{text}{errors}", output.status);
    }
    Ok(text)
}

fn open(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open {}", log.display()))
}
