//! Calls that outlast a restart of the server: repeated until there is an answer,
//! each answer compared with what was seen before.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};

use super::fault::{Fault, classify};
use super::link::Link;
use super::names::Names;
use super::reply::Reply;
use super::request::Request;
use super::scripts::{Script, Scripts};
use super::settling::Settling;
use super::track::{Seen, Tracker};
use crate::error::Error;
use crate::shard::{Shard, Shards};
use crate::wakes::Wakes;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What is said when the server holds another store than the one that was opened.
const EMPTIED: &str = "the store was emptied, and this process writes nothing to what is there now: end Gennaker, \
                       then run `gennaker restore`, or start with --accept-empty";

/// An error that repeating did not help, or not in time.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) reason: String,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure.fault {
            Fault::Permanent => Self::Damaged(failure.reason),
            Fault::NoScript | Fault::Transient | Fault::Full | Fault::DiskFull => {
                Self::Unavailable(failure.reason)
            }
        }
    }
}

/// What all calls share.
pub(super) struct Core {
    pub(super) link: Link,
    pub(super) names: Names,
    pub(super) scripts: Scripts,
    pub(super) shards: Shards,
    pub(super) tracker: Tracker,
    pub(super) wakes: Wakes,
    pub(super) settling: Settling,
    /// How long a call is repeated.
    patience: Duration,
    /// Differs between processes.
    process: u64,
    calls: AtomicU64,
    /// A script found another store than ours.
    emptied: AtomicBool,
}

impl Core {
    pub(super) fn new(link: Link, names: Names, shards: Shards, patience: Duration) -> Self {
        Self {
            link,
            names,
            scripts: Scripts::new(),
            shards,
            tracker: Tracker::new(shards),
            wakes: Wakes::default(),
            settling: Settling::new(),
            patience,
            process: RandomState::new().build_hasher().finish(),
            calls: AtomicU64::new(0),
            emptied: AtomicBool::new(false),
        }
    }

    /// A name that no other call has.
    pub(super) fn call_name(&self) -> String {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{number}", self.process)
    }

    /// Fails if a script found another store than ours, and so does every later call: what is
    /// there now is not what this process knows.
    pub(super) fn is_ours(&self, ours: bool) -> Result<(), Error> {
        if ours {
            return Ok(());
        }
        if !self.emptied.swap(true, Ordering::Relaxed) {
            tracing::error!("{EMPTIED}");
        }
        Err(Error::Unavailable(EMPTIED.to_owned()))
    }

    /// Repeats what may be repeated. `waits` also for a server whose disk is full.
    /// An attempt is told whether it is a repeat.
    async fn persist<T, F>(&self, waits: bool, attempt: impl Fn(bool) -> F) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut repeats = false;
        if self.emptied.load(Ordering::Relaxed) {
            let (fault, reason) = (Fault::Transient, EMPTIED.to_owned());
            return Err(Failure { fault, reason });
        }
        loop {
            let left = self.patience.saturating_sub(started.elapsed());
            self.settling.wait(left).await;
            let error: RedisError = match attempt(repeats).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let fault = classify(&error);
            let repeat = fault == Fault::Transient || (fault == Fault::DiskFull && waits);
            if !repeat || started.elapsed() >= self.patience {
                let reason = error.to_string();
                return Err(Failure { fault, reason });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            repeats = true;
        }
    }

    /// Sends a command.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, Error> {
        let sent = self.persist(true, |_| self.link.send(command)).await;
        Ok(sent?)
    }

    /// Sends several commands on keys of one shard.
    pub(super) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Error> {
        let sent = self.persist(true, |_| self.link.send_all(commands)).await;
        Ok(sent?)
    }

    /// Calls a script without counters.
    pub(super) async fn plain(&self, script: &Script, request: &Request) -> Result<Value, Error> {
        let called = self
            .persist(true, |_| self.link.call(script, request))
            .await;
        Ok(called?)
    }

    /// Calls a script and compares the counters it answers.
    pub(super) async fn call(
        &self,
        shard: Shard,
        script: &Script,
        request: &Request,
        waits: bool,
    ) -> Result<Result<Reply, Failure>, Error> {
        self.call_or(shard, script, request, request, waits).await
    }

    /// The same with another request for repeats.
    pub(super) async fn call_or(
        &self,
        shard: Shard,
        script: &Script,
        first: &Request,
        again: &Request,
        waits: bool,
    ) -> Result<Result<Reply, Failure>, Error> {
        let before = self.tracker.seen(shard);
        let called = self
            .persist(waits, |repeats| {
                self.link.call(script, if repeats { again } else { first })
            })
            .await;
        match called {
            Ok(value) => self.compared(shard, before, value).await.map(Ok),
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// An answer of a script, its counters compared with what was seen before it was called.
    async fn compared(
        &self,
        shard: Shard,
        before: Option<Seen>,
        answer: Value,
    ) -> Result<Reply, Error> {
        let reply = Reply::read(answer)?;
        self.is_ours(reply.is_ours())?;
        let now = Seen {
            epoch: reply.epoch,
            seq: reply.seq,
        };
        match before {
            Some(before) if now < before => self.went_back(shard, before, now).await,
            _ => self.tracker.note(shard, now),
        }
        Ok(reply)
    }

    /// Tells everybody that commits were lost.
    async fn went_back(&self, shard: Shard, before: Seen, now: Seen) {
        tracing::error!(
            shard = shard.number(),
            lost = before.seq.saturating_sub(now.seq),
            "redis lost acknowledged commits; what they did is done again"
        );
        let mut request = Request::new(&self.names, shard, &[]);
        request.number(now.epoch);
        request.number(before.epoch.max(now.epoch) + 1);
        // Should this fail, the next answer shows the loss again.
        if let Ok(value) = self.link.call(&self.scripts.reset, &request).await
            && let Ok(reply) = Reply::read(value)
            && reply.is_ours()
        {
            let seen = Seen {
                epoch: reply.epoch,
                seq: reply.seq,
            };
            self.tracker.note(shard, seen);
        }
    }

    /// Looks at the counters of every shard, whether or not the server has settled: this is how losses are noticed.
    /// Answers whether the server answered, which while it reads its files it does not.
    pub(super) async fn probe(&self) -> bool {
        let mut answered = true;
        for shard in self.shards.all() {
            let mut request = Request::new(&self.names, shard, &[]);
            request.keys.push(self.names.feed(shard));
            request.number(0);
            request.number(0);
            let before = self.tracker.seen(shard);
            let probed = match self.link.call(&self.scripts.feed, &request).await {
                Ok(answer) => self.compared(shard, before, answer).await.map(|_| ()),
                Err(error) => {
                    answered = false;
                    Err(Error::Unavailable(error.to_string()))
                }
            };
            if let Err(error) = probed {
                tracing::debug!(shard = shard.number(), %error, "shard cannot be probed");
            }
        }
        answered
    }
}
