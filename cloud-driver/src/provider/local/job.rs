//! One job: a process that runs to its end, from the image to its exit.
//!
//! Owns the order of the two commits: what is to be started is written down before it is
//! started, and its end before anything of it is cleared away. The process belongs to its
//! shim, which also keeps its limits; whoever comes later finds it by the operation's id.

mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use store::Refused;

use super::launch::Launch;
use super::prepare::fetch;
use super::shim::job::{Job, Limits};
use super::{Local, UnpackedImage, now_ms};
use crate::operation::ledger::{Ledger, Operation};
use crate::operation::worker::{Right, Stopped, keep, step_batch};
use report::Ending;

/// How often the process is looked at, and an order to stop is given again.
const LOOK: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(2);

/// How long past its end the shim may take to leave.
const LEAVING: Duration = Duration::from_secs(2);

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Account whose variables and secrets it gets.
    pub account: String,
    /// Region it is shown in.
    pub region: String,
    /// Application.
    pub application: String,
    /// Where its files come from.
    pub image: String,
    /// In place of the image's entrypoint and arguments.
    pub command: Option<Vec<String>>,
    /// In place of the image's arguments.
    pub args: Option<Vec<String>>,
    /// Its own variables, over the account's.
    pub environment: BTreeMap<String, String>,
    /// How long it may run.
    pub time_limit: Duration,
    /// From SIGTERM to SIGKILL; none: the configured one.
    pub grace: Option<Duration>,
    /// Bytes of output that are kept.
    pub log_bytes: u64,
}

/// How a job ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct End {
    /// Why it did not succeed.
    pub(crate) error: Option<String>,
    /// Its last lines.
    pub(crate) details: Vec<String>,
    /// What the stage gets.
    pub(crate) result: Map<String, Value>,
    /// Whether the same may succeed later.
    pub(crate) retryable: bool,
}

/// Key of what an operation remembers: the image that was fetched, by digest.
const IMAGE: &str = "image";

impl Local {
    /// Runs a job to its end; one that was begun before is taken up where it is.
    ///
    /// # Errors
    /// When it must stop before: the operation is delivered again.
    pub(crate) async fn run_job(
        &self,
        ledger: &Ledger,
        operation: &mut Operation,
        order: &Order,
        right: &Right,
    ) -> Result<End, Stopped> {
        let id = operation.head.id.clone();
        let grace = order.grace.unwrap_or(self.config.local.grace.0);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let mut cancels = ledger.cancels();
        cancels.mark_changed();
        let mut ordered: Option<Instant> = None;
        loop {
            if right.lost.is_cancelled() {
                return Err(Stopped::HandedOver);
            }
            if cancels.has_changed().unwrap_or(false) {
                cancels.mark_unchanged();
                operation.head.cancel = ledger.canceled(&id).await?;
            }
            let canceled = operation.head.cancel.is_some();
            let mut stop = false;
            match self.shims.job(&id).await {
                Some(Job::Ended(exit)) => {
                    return Ok(self.report(operation, order, &Ending::Exit(exit)).await);
                }
                Some(Job::Lost) => {
                    return Ok(self.report(operation, order, &Ending::Lost).await);
                }
                Some(Job::Absent) if canceled => {
                    self.shims
                        .refuse_job(&id, "canceled before it was started")?;
                    continue;
                }
                Some(Job::Absent) => {
                    tokio::select! {
                        () = right.lost.cancelled() => return Err(Stopped::HandedOver),
                        _ = cancels.changed() => {
                            cancels.mark_changed();
                            continue;
                        }
                        begun = self.fetched(operation, order) => match begun {
                            Ok(image) => self.begin_job(ledger, operation, order, &image, right).await?,
                            Err(error) => {
                                self.shims.refuse_job(&id, &error.to_string())?;
                                return Ok(End {
                                    error: Some(error.to_string()),
                                    retryable: error.may_pass(),
                                    ..End::default()
                                });
                            }
                        },
                    }
                }
                Some(Job::Running { since_ms, watched }) => {
                    let limit = i64::try_from(order.time_limit.as_millis()).unwrap_or(i64::MAX);
                    // A shim that was killed ends nothing in time.
                    let late = !watched && now_ms() > since_ms.saturating_add(limit);
                    stop = canceled || late;
                }
                None => {}
            }
            if stop && ordered.is_none_or(|at| at.elapsed() >= AGAIN) {
                ordered = Some(Instant::now());
                if let Err(error) = self.shims.stop_job(&id, grace_ms).await {
                    tracing::warn!(operation.id = id, %error, "a job was not stopped; will retry");
                }
            }
            tokio::select! {
                () = right.lost.cancelled() => return Err(Stopped::HandedOver),
                _ = cancels.changed() => cancels.mark_changed(),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn fetched(
        &self,
        operation: &Operation,
        order: &Order,
    ) -> Result<UnpackedImage, super::Error> {
        let kept = operation.work.memory.get(IMAGE).and_then(Value::as_str);
        fetch(&*self.images, kept.unwrap_or(&order.image)).await
    }

    /// Writes down what is started, and starts it.
    async fn begin_job(
        &self,
        ledger: &Ledger,
        operation: &mut Operation,
        order: &Order,
        image: &UnpackedImage,
        right: &Right,
    ) -> Result<(), Stopped> {
        let id = operation.head.id.clone();
        let launch = match self.launch_job(&id, order, image) {
            Ok(launch) => launch,
            Err(error) => {
                // Asking again does not help; the next look finds the record.
                self.shims.refuse_job(&id, &error.to_string())?;
                return Ok(());
            }
        };
        if operation.work.memory.get(IMAGE).is_none() {
            let reference = Value::from(image.reference.clone());
            operation.work.memory.insert(IMAGE.to_owned(), reference);
            operation.note(
                "JOB",
                format!("Starting a job of {}", image.reference),
                now_ms(),
            );
            let batch = step_batch(self.journal.shard(), operation, right);
            let batch = batch.fenced_by(&right.lease, keep());
            match self.journal.store().commit(batch).await? {
                Ok(done) => operation.version = done.versions.first().copied().unwrap_or_default(),
                // Somebody asked for a cancellation meanwhile.
                Err(Refused::Conflict { .. }) => {
                    *operation = ledger.load(&id).await?;
                    return Ok(());
                }
                Err(Refused::Fenced(_)) => return Err(Stopped::HandedOver),
                Err(other) => return Err(Stopped::Refused(other.to_string())),
            }
        }
        let limits = Limits {
            time: order.time_limit,
            log_bytes: order.log_bytes,
        };
        self.shims.spawn_job(&id, &launch, limits).await?;
        Ok(())
    }

    fn launch_job(
        &self,
        id: &str,
        order: &Order,
        image: &UnpackedImage,
    ) -> Result<Launch, super::Error> {
        let mut image = image.clone();
        if let Some(command) = &order.command {
            image.entrypoint.clone_from(command);
            image.cmd.clear();
        }
        if let Some(args) = &order.args {
            image.cmd.clone_from(args);
        }
        let command = image.command()?;
        let mut environment: BTreeMap<String, String> = image.env.iter().cloned().collect();
        let owner = format!("job {id}");
        environment.extend(self.variables(&order.account, &owner, &order.environment)?);
        environment.insert("GENNAKER_JOB".to_owned(), id.to_owned());
        let grace = order.grace.unwrap_or(self.config.local.grace.0);
        Ok(Launch {
            command,
            environment,
            image,
            grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Clears a job away whose end is durable; what cannot go now goes at the next start.
    pub(crate) async fn bury_job(&self, id: &str) {
        let end = Instant::now() + LEAVING;
        loop {
            match self.shims.bury_job(id).await {
                Ok(true) => return,
                Ok(false) if Instant::now() < end => tokio::time::sleep(LOOK / 5).await,
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(operation.id = id, %error, "a job was not cleared away");
                    return;
                }
            }
        }
    }

    /// Clears away what jobs left whose operation has ended or is known no more: the
    /// control plane may have died in between.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn clear_jobs(
        &self,
        ledger: &Ledger,
    ) -> Result<(), crate::operation::ledger::Error> {
        use crate::operation::ledger::{Error, State};
        for id in self.shims.jobs() {
            let known = match ledger.load(&id).await {
                Ok(operation) if operation.head.state == State::Running => continue,
                Ok(_) => true,
                Err(Error::Unknown(_)) => false,
                Err(error) => return Err(error),
            };
            let cleared = match self.shims.bury_job(&id).await {
                Ok(true) if known => Ok(()),
                Ok(true) => self.shims.forget_job(&id),
                Ok(false) => {
                    let grace = self.config.local.grace.0.as_millis();
                    let grace = u64::try_from(grace).unwrap_or(u64::MAX);
                    self.shims.stop_job(&id, grace).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = cleared {
                tracing::warn!(operation.id = id, %error, "a job was not cleared away");
            }
        }
        Ok(())
    }
}
