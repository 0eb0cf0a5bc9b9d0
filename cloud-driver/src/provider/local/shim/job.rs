//! The shims of jobs: processes that run to their end, in folders of their own.
//!
//! A job's folder is named after its operation. The record of its exit stays when the rest
//! is cleared away, so that whoever still means to start the job finds it ended.

use std::path::PathBuf;
use std::time::Duration;

use ::instance::{EXIT, Exit, Launch as Order};

use super::look::{self, Look};
use super::record::{io, tail};
use super::{MAX_FILES, ROOT, Shims, root};
use crate::provider::local::Error;
use crate::provider::local::launch::Launch;

/// Folder of the jobs beside that of the instances.
pub(crate) const JOBS: &str = "jobs";

/// What a job's process is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// Nothing was ever started.
    Absent,
    /// It runs; when it was started, in ms since the epoch.
    Running {
        /// Milliseconds since the epoch.
        since_ms: i64,
        /// Whether its shim is there to end it in time.
        watched: bool,
    },
    /// It ended, and the shim wrote down how.
    Ended(Exit),
    /// It and its shim are gone, and nobody wrote down how.
    Lost,
}

/// Limits that a job's shim keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) log_bytes: u64,
}

fn named(id: &str) -> String {
    format!("job/{id}")
}

impl Shims {
    fn of_job(&self, id: &str) -> PathBuf {
        self.folder.with_file_name(JOBS).join(id)
    }

    /// The jobs that have a folder, by their operations.
    pub(crate) fn jobs(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.folder.with_file_name(JOBS)) else {
            return Vec::new();
        };
        let names = entries.flatten();
        names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    /// How a job's process is; none when nobody could say.
    pub(crate) async fn job(&self, id: &str) -> Option<Job> {
        match look::look(&self.of_job(id), &self.token(&named(id)), None).await {
            Look::Answer(answer) => Some(answer.exit.map_or(
                Job::Running {
                    since_ms: answer.ids.started_ms,
                    watched: true,
                },
                Job::Ended,
            )),
            Look::Ended(exit) => Some(Job::Ended(exit)),
            Look::Orphan(ids) if look::runs(&ids) => Some(Job::Running {
                since_ms: ids.started_ms,
                watched: false,
            }),
            Look::Orphan(_) => Some(Job::Lost),
            Look::Nothing => Some(Job::Absent),
            Look::Unknown => None,
        }
    }

    /// Starts a job's process. A second call finds the first one, also one that has ended.
    ///
    /// # Errors
    /// When the disk is full or the shim does not start.
    pub(crate) async fn spawn_job(
        &self,
        id: &str,
        launch: &Launch,
        limits: Limits,
    ) -> Result<(), Error> {
        let image = &launch.image;
        let folder = self.of_job(id);
        std::fs::create_dir_all(&folder).map_err(io(&folder))?;
        if folder.join(EXIT).exists() {
            return Ok(());
        }
        let root = image.rootfs.is_some().then(|| folder.join(ROOT));
        if let (Some(from), Some(to)) = (image.rootfs.clone(), root.clone()) {
            let copied = tokio::task::spawn_blocking(move || root::make(&from, &to)).await;
            copied
                .unwrap_or_else(|error| Err(std::io::Error::other(error)))
                .map_err(io(&folder))?;
        }
        let order = Order {
            token: self.token(&named(id)),
            command: launch.command.clone(),
            environment: launch.environment.clone(),
            working_folder: Some(image.workdir.clone()).filter(|w| !w.is_empty()),
            root,
            user: Some(image.user).filter(|user| *user != (0, 0)),
            grace_ms: launch.grace_ms,
            restart: false,
            max_files: Some(MAX_FILES),
            time_limit_ms: u64::try_from(limits.time.as_millis()).ok(),
            log_bytes: Some(limits.log_bytes),
        };
        self.launch(&folder, &order, &named(id)).await
    }

    /// Forbids every later start of a job that was not started.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(crate) fn refuse_job(&self, id: &str, reason: &str) -> Result<(), Error> {
        look::never_started(&self.of_job(id), reason)
    }

    /// Orders the end of a job; the order outlives this process.
    ///
    /// # Errors
    /// When the shim does not take it.
    pub(crate) async fn stop_job(&self, id: &str, grace_ms: u64) -> Result<(), Error> {
        let token = self.token(&named(id));
        look::stop(&self.of_job(id), &named(id), &token, grace_ms).await
    }

    /// The last lines a job wrote.
    pub(crate) async fn job_tail(&self, id: &str, lines: usize) -> Vec<String> {
        tail(self.of_job(id), lines).await
    }

    /// Clears away what a job that has ended left, but for the record of its exit. Answers
    /// false while something of it runs.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) async fn bury_job(&self, id: &str) -> Result<bool, Error> {
        let folder = self.of_job(id);
        if !look::has_ended(&folder, &self.token(&named(id))).await {
            return Ok(false);
        }
        if !folder.join(EXIT).exists() {
            look::never_started(&folder, "nobody wrote down how it ended")?;
        }
        let entries = std::fs::read_dir(&folder).map_err(io(&folder))?;
        for entry in entries.flatten().filter(|e| e.file_name() != EXIT) {
            let path = entry.path();
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(&path),
                _ => std::fs::remove_file(&path),
            };
            removed.map_err(io(&path))?;
        }
        Ok(true)
    }

    /// Removes the folder of a job that nobody knows any more.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn forget_job(&self, id: &str) -> Result<(), Error> {
        let folder = self.of_job(id);
        std::fs::remove_dir_all(&folder).map_err(io(&folder))
    }
}
