//! Shims: the processes that own instances, one folder each.
//!
//! Owns how a shim is started, asked and told to stop, and the folders under
//! `<data>/instances`. What an instance's process is doing is the shim's word;
//! when the shim is gone, that of `/proc`.

mod balancer;
mod command;
pub(crate) mod job;
mod look;
mod record;
mod root;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ::instance::{EXIT, Ids, LAUNCH, Launch as Order};
use rollout::Process;
use sha2::{Digest, Sha256};

use super::document::Instance;
use super::launch::Launch;
use super::{Error, port};
use crate::config::Config;
pub(crate) use balancer::{balancer_shim, balancer_shims, order};
pub use command::Change;
pub(crate) use command::{changes, value_of};
use look::signal_once;
use look::{Look, describe, look, never_started, runs};
pub(crate) use look::{has_ended, stop};
use record::{io, read, secret, tail, write};

/// How long a shim may take to start its instance.
const START_LIMIT: Duration = Duration::from_secs(30);

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

/// Name of an instance's own root folder.
const ROOT: &str = "root";

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
        self.process_of(&instance.id, instance.port).await
    }

    /// The same of an instance that is known by its id and port.
    pub(crate) async fn process_of(&self, id: &str, port: u16) -> Option<Process> {
        match look(&self.of(id), &self.token(id), Some(port)).await {
            Look::Answer(answer) => Some(match (answer.exit, answer.listens) {
                (Some(exit), _) => Process::Exited(describe(&exit)),
                (None, Some(true)) => Process::Listening,
                (None, _) => Process::Running,
            }),
            Look::Ended(exit) => Some(Process::Exited(describe(&exit))),
            Look::Orphan(ids) if runs(&ids) => Some(if port::listens(ids.pid, port) {
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

    /// Records that an instance cannot be started, which forbids every later start.
    pub(crate) fn refuse(&self, instance: &Instance, reason: &str) -> Result<(), Error> {
        never_started(&self.of(&instance.id), reason)
    }

    /// Starts an instance's process. A second call finds the first one, whoever
    /// made it and however far it came.
    pub(crate) async fn spawn(&self, instance: &Instance, launch: &Launch) -> Result<(), Error> {
        if instance.stopping {
            return Ok(());
        }
        let image = &launch.image;
        let folder = self.of(&instance.id);
        std::fs::create_dir_all(&folder).map_err(io(&folder))?;
        let root = image.rootfs.is_some().then(|| folder.join(ROOT));
        if let (Some(from), Some(to)) = (image.rootfs.clone(), root.clone()) {
            let copied = tokio::task::spawn_blocking(move || root::make(&from, &to)).await;
            copied
                .unwrap_or_else(|error| Err(std::io::Error::other(error)))
                .map_err(io(&folder))?;
        }
        let order = Order {
            token: instance.token.clone(),
            command: launch.command.clone(),
            environment: launch.environment.clone(),
            working_folder: Some(image.workdir.clone()).filter(|w| !w.is_empty()),
            root,
            user: Some(image.user).filter(|user| *user != (0, 0)),
            grace_ms: launch.grace_ms,
            restart: false,
            max_files: Some(MAX_FILES),
            time_limit_ms: None,
            log_bytes: None,
        };
        self.launch(&folder, &order, &instance.id).await
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

    /// Sends an instance a signal, once in its life however often this is called.
    pub(crate) async fn signal_once(&self, id: &str, number: i32) -> Result<(), Error> {
        signal_once(&self.of(id), id, &self.token(id), number).await
    }

    /// Orders the end of an instance with the grace it was launched with.
    pub(crate) async fn stop_as_launched(&self, id: &str) -> Result<(), Error> {
        let order: Option<Order> = read(&self.of(id).join(LAUNCH));
        let grace_ms = order.map_or(ORPHAN_GRACE_MS, |order| order.grace_ms);
        stop(&self.of(id), id, &self.token(id), grace_ms).await
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
}
