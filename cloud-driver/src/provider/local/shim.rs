//! Shims: the processes that own instances, one folder each.
//!
//! Owns how a shim is started, asked and told to stop, and the folders under
//! `<data>/instances`. What an instance's process is doing is the shim's word;
//! when the shim is gone, that of `/proc`.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ::instance::{Answer, EXIT, Exit, Ids, LAUNCH, LOG, Launch as Order, Request, SOCKET, STATE};
use rollout::Process;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::document::Instance;
use super::launch::Launch;
use super::{Error, port};
use crate::config::Config;

/// How long a shim may take to answer, and to start its instance.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
const START_LIMIT: Duration = Duration::from_secs(30);

/// Bytes read from the end of a log.
const TAIL_BYTES: u64 = 256 * 1024;

/// Longest line of a log that is shown.
const MAX_LINE: usize = 4_096;

/// From SIGTERM to SIGKILL for a process that belongs to no instance.
const ORPHAN_GRACE_MS: u64 = 30_000;

/// Open files an instance may have.
const MAX_FILES: u64 = 65_536;

/// Access to the shims of a data folder.
#[derive(Debug, Clone)]
pub struct Shims {
    folder: Arc<PathBuf>,
    programs: Arc<PathBuf>,
    /// What tokens are made from: a process that knows one is ours.
    secret: Arc<str>,
}

/// What is known of an instance's process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// It runs.
    pub alive: bool,
    /// Process id.
    pub pid: Option<u32>,
    /// When it was started, milliseconds since the epoch.
    pub started_ms: Option<i64>,
    /// How it ended.
    pub exit: Option<String>,
    /// `chroot`, or `plain` with the reason.
    pub isolation: Option<String>,
}

/// What one look at a folder shows.
enum Look {
    /// The shim answers.
    Answer(Answer),
    /// It ended, and left its record.
    Ended(Exit),
    /// The shim is gone; the instance itself may live.
    Orphan(Ids),
    /// Nothing was ever started.
    Nothing,
    /// Nobody could say.
    Unknown,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Writes a record that nobody else may read, whole or not at all.
fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), Error> {
    let new = path.with_extension("new");
    let text = serde_json::to_vec_pretty(record).unwrap_or_default();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new).map_err(io(&new))?;
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .map_err(io(&new))?;
    std::fs::rename(&new, path).map_err(io(path))
}

impl Shims {
    /// The shims of a data folder.
    ///
    /// # Errors
    /// When the folder or its secret cannot be made.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let folder = config.data.join("instances");
        std::fs::create_dir_all(&folder).map_err(io(&folder))?;
        let programs = match &config.programs {
            Some(folder) => folder.clone(),
            None => {
                let own = std::env::current_exe().map_err(io(Path::new("the running program")))?;
                own.parent().map(Path::to_owned).unwrap_or_default()
            }
        };
        Ok(Self {
            folder: Arc::new(folder),
            programs: Arc::new(programs),
            secret: secret(&config.data)?.into(),
        })
    }

    /// The token of an instance.
    pub fn token(&self, id: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.secret.as_bytes());
        hash.update(id.as_bytes());
        let text = hex::encode(hash.finalize());
        text.get(..32).unwrap_or_default().to_owned()
    }

    fn program(&self, program: &'static str) -> Result<PathBuf, Error> {
        let path = self.programs.join(program);
        if path.is_file() {
            Ok(path)
        } else {
            Err(Error::Program {
                program,
                folder: self.programs.to_path_buf(),
            })
        }
    }

    fn of(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// The port an instance was launched with, if it was.
    pub fn launched_port(&self, id: &str) -> Option<u16> {
        let order: Order = read(&self.of(id).join(LAUNCH))?;
        order.environment.get("PORT")?.parse().ok()
    }

    /// Ids of all folders, whether an instance of the journal has them or not.
    pub fn folders(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&*self.folder) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .collect()
    }

    /// The state of an instance's process; none when nobody could say.
    pub async fn process(&self, instance: &Instance) -> Option<Process> {
        let folder = self.of(&instance.id);
        match look(&folder, &instance.token, Some(instance.port)).await {
            Look::Answer(answer) => Some(match (answer.exit, answer.listens) {
                (Some(exit), _) => Process::Exited(describe(&exit)),
                (None, Some(true)) => Process::Listening,
                (None, _) => Process::Running,
            }),
            Look::Ended(exit) => Some(Process::Exited(describe(&exit))),
            Look::Orphan(ids) if runs(&ids) => Some(if port::listens(ids.pid, instance.port) {
                Process::Listening
            } else {
                Process::Running
            }),
            Look::Orphan(_) => Some(Process::Exited("it and its shim are gone".to_owned())),
            Look::Nothing => Some(Process::Absent),
            Look::Unknown => None,
        }
    }

    /// Whether an instance's process has ended for good.
    pub async fn has_exited(&self, instance: &Instance) -> bool {
        match self.process(instance).await {
            Some(Process::Exited(_)) => true,
            Some(Process::Absent | Process::Running | Process::Listening) | None => false,
        }
    }

    /// What is known of an instance's process.
    pub async fn facts(&self, instance: &Instance) -> Facts {
        let folder = self.of(&instance.id);
        let of = |ids: &Ids, alive: bool| Facts {
            alive,
            pid: Some(ids.pid),
            started_ms: Some(ids.started_ms),
            exit: None,
            isolation: Some(ids.isolation.clone()),
        };
        match look(&folder, &instance.token, None).await {
            Look::Answer(answer) => Facts {
                exit: answer.exit.as_ref().map(describe),
                ..of(&answer.ids, answer.alive)
            },
            Look::Ended(exit) => Facts {
                started_ms: Some(exit.started_ms),
                exit: Some(describe(&exit)),
                ..Facts::default()
            },
            Look::Orphan(ids) => of(&ids, runs(&ids)),
            Look::Nothing | Look::Unknown => Facts::default(),
        }
    }

    /// Starts an instance's process. A second call finds the first one, whoever
    /// made it and however far it came.
    pub(crate) async fn spawn(&self, instance: &Instance, launch: &Launch) -> Result<(), Error> {
        if instance.stopping {
            return Ok(());
        }
        let image = &launch.image;
        let order = Order {
            token: instance.token.clone(),
            command: launch.command.clone(),
            environment: launch.environment.clone(),
            working_folder: Some(image.workdir.clone()).filter(|w| !w.is_empty()),
            root: Some(image.rootfs.clone()),
            user: Some(image.user).filter(|user| *user != (0, 0)),
            grace_ms: launch.grace_ms,
            restart: false,
            max_files: Some(MAX_FILES),
        };
        self.launch(&self.of(&instance.id), &order, &instance.id)
            .await
    }

    async fn launch(&self, folder: &Path, order: &Order, id: &str) -> Result<(), Error> {
        let program = self.program("instance")?;
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let path = folder.join(LAUNCH);
        // The first order stands: what it started is what there is.
        if !path.exists() {
            write(&path, order)?;
        }
        let started = tokio::process::Command::new(program)
            .arg("run")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .output();
        let failed = |reason: String| Error::Shim {
            instance: id.to_owned(),
            reason,
        };
        let output = tokio::time::timeout(START_LIMIT, started)
            .await
            .map_err(|_| failed("its shim did not start within 30 s".to_owned()))?
            .map_err(|e| failed(format!("its shim cannot be started: {e}")))?;
        // What could not be started has left its record, which says why.
        if output.status.success() || folder.join(EXIT).exists() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(failed(said))
    }

    /// Orders the end of an instance; the order outlives this process.
    ///
    /// # Errors
    /// When the shim does not take it.
    pub async fn stop(&self, instance: &Instance, grace_ms: u64) -> Result<(), Error> {
        stop(
            &self.of(&instance.id),
            &instance.id,
            &instance.token,
            grace_ms,
        )
        .await
    }

    /// The last lines an instance wrote.
    pub async fn tail(&self, id: &str, lines: usize) -> Vec<String> {
        tail(self.of(id), lines).await
    }

    /// Clears the folder of an instance that has ended away.
    pub fn forget(&self, instance: &Instance) {
        let folder = self.of(&instance.id);
        if let Err(error) = std::fs::remove_dir_all(&folder)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %folder.display(), "folder was not removed");
        }
    }

    /// Stops what an unknown folder runs, if it is ours, and removes the folder
    /// once nothing runs there.
    ///
    /// # Errors
    /// When its shim does not take the order.
    pub async fn clear_orphan(&self, id: &str) -> Result<(), Error> {
        let folder = self.of(id);
        let token = self.token(id);
        if !has_ended(&folder, &token).await {
            stop(&folder, id, &token, ORPHAN_GRACE_MS).await?;
            return Ok(());
        }
        std::fs::remove_dir_all(&folder).map_err(io(&folder))
    }

    fn balancer_folder(config_folder: &Path) -> PathBuf {
        config_folder.join("shim")
    }

    /// Whether the balancer's shim runs.
    pub async fn balancer_is_supervised(&self) -> bool {
        let folder = Self::balancer_folder(&self.folder.with_file_name("balancer"));
        match look(&folder, &self.token("balancer"), None).await {
            Look::Answer(answer) => answer.exit.is_none(),
            Look::Ended(_) | Look::Nothing | Look::Orphan(_) | Look::Unknown => false,
        }
    }

    /// Starts the balancer under a shim that starts it again whenever it ends.
    ///
    /// # Errors
    /// When a program is missing or the shim does not start.
    pub async fn start_balancer(&self, config: &Config, folder: &Path) -> Result<(), Error> {
        let program = self.program("balancer")?;
        let shim = Self::balancer_folder(folder);
        std::fs::create_dir_all(&shim).map_err(io(&shim))?;
        for name in [LAUNCH, STATE, EXIT, SOCKET] {
            // What a former life left behind; absent most times.
            let _absent = std::fs::remove_file(shim.join(name));
        }
        let order = Order {
            token: self.token("balancer"),
            command: balancer_command(&program, config, folder),
            environment: balancer_environment(),
            working_folder: None,
            root: None,
            user: None,
            grace_ms: 5_000,
            restart: true,
            max_files: Some(MAX_FILES),
        };
        self.launch(&shim, &order, "balancer").await
    }

    /// The balancer's last lines.
    pub async fn balancer_tail(&self) -> Vec<String> {
        tail(
            Self::balancer_folder(&self.folder.with_file_name("balancer")),
            20,
        )
        .await
    }
}

fn balancer_command(program: &Path, config: &Config, folder: &Path) -> Vec<String> {
    let mut command = vec![
        program.display().to_string(),
        "--data".to_owned(),
        folder.display().to_string(),
        "--listen".to_owned(),
        format!("127.0.0.1:{}", config.balancer_port),
    ];
    if config.local.balancer_workers > 0 {
        command.push("--workers".to_owned());
        command.push(config.local.balancer_workers.to_string());
    }
    command
}

/// Variables of the balancer: none in a product build.
fn balancer_environment() -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    if cfg!(feature = "controls")
        && let Ok(control) = std::env::var("GENNAKER_CONTROL")
    {
        environment.insert("GENNAKER_CONTROL".to_owned(), control);
    }
    environment
}

/// The folder's secret; made at the first start.
fn secret(data: &Path) -> Result<String, Error> {
    let path = data.join("instances.key");
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io(&path)(error)),
    }
    let text = hex::encode(rand::random::<[u8; 32]>());
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new).map_err(io(&new))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(io(&new))?;
    std::fs::rename(&new, &path).map_err(io(&path))?;
    Ok(text)
}

/// Whether what a folder's shim owns has ended, and the shim with it.
pub(crate) async fn has_ended(folder: &Path, token: &str) -> bool {
    let shim_gone = read::<Ids>(&folder.join(STATE)).is_none_or(|ids| !shim_runs(&ids));
    match look(folder, token, None).await {
        Look::Ended(_) | Look::Nothing => shim_gone,
        Look::Orphan(ids) => !runs(&ids),
        Look::Answer(_) | Look::Unknown => false,
    }
}

/// Orders the end of what a folder's shim owns.
pub(crate) async fn stop(folder: &Path, id: &str, token: &str, grace_ms: u64) -> Result<(), Error> {
    match look(folder, token, None).await {
        Look::Ended(_) => Ok(()),
        Look::Answer(answer) if answer.exit.is_some() => Ok(()),
        Look::Answer(_) => {
            let request = Request::Stop {
                token: token.to_owned(),
                grace_ms: Some(grace_ms),
            };
            let answer = ask(folder, &request).await.map_err(|reason| Error::Shim {
                instance: id.to_owned(),
                reason,
            })?;
            match answer.error {
                None => Ok(()),
                Some(reason) => Err(Error::Shim {
                    instance: id.to_owned(),
                    reason,
                }),
            }
        }
        Look::Orphan(ids) => {
            end_orphan(ids, Duration::from_millis(grace_ms));
            Ok(())
        }
        Look::Nothing => {
            // The record forbids every later start.
            std::fs::create_dir_all(folder).map_err(io(folder))?;
            let now = super::now_ms();
            let exit = Exit {
                failure: Some("stopped before it was started".to_owned()),
                started_ms: now,
                ended_ms: now,
                asked: true,
                ..Exit::default()
            };
            write(&folder.join(EXIT), &exit)
        }
        Look::Unknown => Err(Error::Shim {
            instance: id.to_owned(),
            reason: "its shim does not answer".to_owned(),
        }),
    }
}

/// Ends an instance whose shim is gone. Asked for again and again until the exit
/// is seen, so nothing is lost when this process ends meanwhile.
fn end_orphan(ids: Ids, grace: Duration) {
    let pid = i32::try_from(ids.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid.filter(|_| runs(&ids)) else {
        return;
    };
    let _gone = kill_process(pid, Signal::TERM);
    tokio::spawn(async move {
        tokio::time::sleep(grace).await;
        if runs(&ids) {
            let _gone = kill_process(pid, Signal::KILL);
        }
    });
}

/// What an exit says, in words.
fn describe(exit: &Exit) -> String {
    match (&exit.failure, exit.code, exit.signal) {
        (Some(failure), _, _) => failure.clone(),
        (None, Some(code), _) => format!("exit code {code}"),
        (None, None, Some(signal)) => format!("signal {signal}"),
        (None, None, None) => "it ended".to_owned(),
    }
}

/// Whether the process with these ids runs: not another of the same number, not
/// one that waits to be reaped, not one of an earlier boot.
fn runs(ids: &Ids) -> bool {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if boot.trim() != ids.boot_id {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", ids.pid)).unwrap_or_default();
    // The name stands in parentheses and may hold anything: count after the last one.
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = rest.split_whitespace();
    let state = fields.next().unwrap_or_default();
    let start = fields.nth(18).and_then(|s| s.parse::<u64>().ok());
    start == Some(ids.start) && !matches!(state, "Z" | "X")
}

async fn look(folder: &Path, token: &str, port: Option<u16>) -> Look {
    if let Some(exit) = read::<Exit>(&folder.join(EXIT)) {
        return Look::Ended(exit);
    }
    let ids = read::<Ids>(&folder.join(STATE));
    if ids.is_none() && !folder.join(SOCKET).exists() {
        return Look::Nothing;
    }
    let request = Request::State {
        token: token.to_owned(),
        port,
    };
    match ask(folder, &request).await {
        Ok(answer) if answer.error.is_none() => Look::Answer(answer),
        Ok(answer) => {
            tracing::error!(
                folder = %folder.display(),
                error = answer.error,
                "a shim does not accept our token"
            );
            Look::Unknown
        }
        Err(_) => match (read::<Exit>(&folder.join(EXIT)), ids) {
            (Some(exit), _) => Look::Ended(exit),
            (None, Some(ids)) if shim_runs(&ids) => Look::Unknown,
            (None, Some(ids)) => Look::Orphan(ids),
            // It is between its socket and its first record.
            (None, None) => Look::Unknown,
        },
    }
}

fn shim_runs(ids: &Ids) -> bool {
    runs(&Ids {
        pid: ids.shim_pid,
        start: ids.shim_start,
        ..ids.clone()
    })
}

async fn ask(folder: &Path, request: &Request) -> Result<Answer, String> {
    let exchange = async {
        let open = std::fs::File::open(folder)?;
        let mut stream = UnixStream::connect(socket_path(folder, &open)).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        Ok::<Answer, std::io::Error>(serde_json::from_str(&answer)?)
    };
    match tokio::time::timeout(ANSWER_LIMIT, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer within 3 s".to_owned()),
    }
}

/// The socket's path; a long one by way of the open folder, because the kernel
/// takes no more than 107 bytes.
fn socket_path(folder: &Path, open: &std::fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    let plain = folder.join(SOCKET);
    if plain.as_os_str().len() < 100 {
        plain
    } else {
        PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", open.as_raw_fd()))
    }
}

async fn tail(folder: PathBuf, lines: usize) -> Vec<String> {
    let work = move || {
        let mut text = String::new();
        for name in [format!("{LOG}.1"), LOG.to_owned()] {
            let Ok(mut file) = std::fs::File::open(folder.join(name)) else {
                continue;
            };
            let length = file.metadata().map_or(0, |m| m.len());
            let from = SeekFrom::Start(length.saturating_sub(TAIL_BYTES));
            let mut bytes = Vec::new();
            if file.seek(from).is_ok() && file.take(TAIL_BYTES).read_to_end(&mut bytes).is_ok() {
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        let all: Vec<&str> = text.lines().collect();
        let from = all.len().saturating_sub(lines);
        all.into_iter()
            .skip(from)
            .map(|line| line.chars().take(MAX_LINE).collect())
            .collect()
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_with_numbers_read_back() {
        let request = Request::State {
            token: "t".into(),
            port: Some(20_001),
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }
}
