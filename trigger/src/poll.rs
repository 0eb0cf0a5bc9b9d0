//! Polling registries: a tick is a message of the queue [`QUEUE`], one subject
//! per account, and the commit that ends it holds the cursor and the next tick.
//!
//! Owns the documents `poll:<account>`: part `account` and one part per
//! repository. An event is durable before the cursor moves past it, so a crash
//! in between finds it again, under the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proto::status::{Failure, Kind};
use runtime::Shutdown;
use serde_json::Value;
use store::{Address, Batch, Delivery, Document, DocumentKey, Mode, Outgoing, Refused, Then};

use crate::cursor::{self, Known, Tags};
use crate::intake::{Intake, failed, now_ms};
use crate::matcher;
use crate::source::{Origin, docker_event};

/// The queue of ticks.
pub(crate) const QUEUE: &str = "trigger-polls";
/// Repositories without a trigger that are watched too, so that a trigger made
/// later knows what was there before it.
const MAX_UNTRIGGERED: usize = 200;
/// Repositories with a trigger that one tick looks at.
const MAX_TRIGGERED: usize = 200;
/// Tags of one repository that are compared.
const MAX_TAGS: usize = 1_000;
/// Events one tick tells; the next one tells the rest.
const MAX_NEWS: usize = 100;
/// Repositories that may fail one after the other before a tick ends: the registry is down then.
const MAX_FAILURES: usize = 3;
/// Pause before the accounts are asked for again at start.
const START_PAUSE: Duration = Duration::from_secs(1);

fn tick(account: &str, mode: Mode, delay: Duration) -> Outgoing {
    Outgoing {
        to: Address::new(QUEUE, account, ""),
        fingerprint: "tick".to_owned(),
        mode,
        delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        body: Bytes::new(),
    }
}

/// Makes sure that each account has its tick; ends when that is so.
///
/// # Errors
/// Never: it tries until it succeeds or the shutdown begins.
pub(crate) async fn begin(intake: Intake, shutdown: Shutdown) -> Result<(), Failure> {
    loop {
        match plan(&intake).await {
            Ok(()) => return Ok(()),
            Err(failure) => {
                tracing::warn!(reason = failure.message, "polling cannot begin yet");
                if !shutdown.sleep(START_PAUSE).await {
                    return Ok(());
                }
            }
        }
    }
}

async fn plan(intake: &Intake) -> Result<(), Failure> {
    for registry in intake.peers.registries().await?.iter() {
        let shard = intake.store.shards().of_name(&registry.account);
        let batch = Batch::new(shard, format!("poll:{}", intake.unique())).message(tick(
            &registry.account,
            Mode::Ensure,
            Duration::ZERO,
        ));
        if let Err(refused) = intake.store.commit(batch).await.map_err(failed)? {
            return Err(Failure::new(Kind::Unavailable, refused.to_string()));
        }
    }
    Ok(())
}

fn part(repository: &str) -> String {
    format!("r:{repository}")
}

fn read(document: Option<&Document>) -> Known {
    let Some(document) = document else {
        return Known::default();
    };
    let account = document
        .text("account")
        .and_then(|t| serde_json::from_str(t).ok());
    let mut known: Known = account.unwrap_or_default();
    for (name, content) in &document.parts {
        if let Some(repository) = name.strip_prefix("r:")
            && let Ok(tags) = serde_json::from_slice::<Tags>(content)
        {
            known.repositories.insert(repository.to_owned(), tags);
        }
    }
    known
}

/// The repositories of an account that an enabled trigger waits for.
async fn triggered(intake: &Intake, account: &str) -> Result<BTreeSet<String>, Failure> {
    let mut found = BTreeSet::new();
    for pipeline in intake.peers.pipelines("docker").await? {
        for trigger in matcher::triggers(&pipeline, "docker") {
            let text = |key: &str| trigger.get(key).and_then(Value::as_str).unwrap_or_default();
            if matcher::is_live(&pipeline, trigger)
                && text("account") == account
                && !text("repository").is_empty()
            {
                found.insert(text("repository").to_owned());
            }
        }
    }
    Ok(found)
}

/// Handles one tick.
///
/// # Errors
/// When the store does not take its outcome; it is then repeated.
pub(crate) async fn handle(intake: &Intake, delivery: &Delivery) -> Result<(), Failure> {
    let account = delivery.lease.address.subject.as_str();
    let shard = intake.store.shards().of_name(account);
    let done = Batch::new(shard, format!("polled:{account}:{}", intake.unique()))
        .acknowledge(delivery, Then::Release);
    let interval = intake.config.poll_interval.0;
    intake.metrics.polls.add(1);
    let batch = match intake.peers.registry(account).await {
        // The account was removed from the configuration.
        Err(failure) if failure.kind == Kind::NotFound => done,
        Err(failure) => later(intake, done, account, &failure),
        Ok(registry) => {
            let key = DocumentKey::new("poll", account);
            let document = intake.store.load(shard, &key).await.map_err(failed)?;
            let version = document.as_ref().map_or(0, |d| d.version);
            let known = read(document.as_ref());
            let poll = Poll {
                intake,
                account,
                address: &registry.address,
                configured: !registry.repositories.is_empty(),
                known,
            };
            match poll.run().await {
                Err(failure) => later(intake, done, account, &failure),
                Ok(changes) => changes
                    .iter()
                    .fold(done.document(&key, version), |batch, (name, content)| {
                        batch.set(name, content.clone())
                    })
                    .message(tick(account, Mode::Push, interval)),
            }
        }
    };
    match intake.store.commit(batch).await.map_err(failed)? {
        // A poll that somebody else made too: its cursor is as good as ours.
        Ok(_) | Err(Refused::Fenced(_) | Refused::Conflict { .. }) => Ok(()),
        Err(refused) => Err(Failure::new(Kind::Unavailable, refused.to_string())),
    }
}

fn later(intake: &Intake, batch: Batch, account: &str, failure: &Failure) -> Batch {
    intake.metrics.poll_failures.add(1);
    tracing::warn!(
        account,
        reason = failure.message,
        "registry could not be polled"
    );
    batch.message(tick(account, Mode::Push, intake.config.poll_interval.0))
}

struct Poll<'a> {
    intake: &'a Intake,
    account: &'a str,
    address: &'a str,
    /// Its repositories are listed in the configuration.
    configured: bool,
    known: Known,
}

/// Parts of the cursor to write; the limits above keep them below a commit's bound.
type Changes = BTreeMap<String, String>;

impl Poll<'_> {
    /// Tells what is news and returns the parts of the cursor that change.
    async fn run(&self) -> Result<Changes, Failure> {
        let triggered = triggered(self.intake, self.account).await?;
        let (listed, has_catalogue) = match self.intake.peers.repositories(self.account).await {
            Ok(names) => (names, !self.configured),
            Err(failure) => {
                // Many registries have no catalogue: only what triggers name is watched then.
                tracing::debug!(
                    account = self.account,
                    reason = failure.message,
                    "registry lists no repositories"
                );
                (Vec::new(), false)
            }
        };
        let others: Vec<String> = listed
            .into_iter()
            .filter(|name| !triggered.contains(name))
            .collect();
        // A repository that appears in a catalogue is new; one that appears in
        // the configuration or in a trigger was there before.
        let mut complete =
            has_catalogue && others.len() <= MAX_UNTRIGGERED && triggered.len() <= MAX_TRIGGERED;

        let mut changes = Changes::new();
        let (mut told, mut failures) = (0, 0);
        let watched = triggered
            .iter()
            .take(MAX_TRIGGERED)
            .map(|name| (name, true))
            .chain(
                others
                    .iter()
                    .take(MAX_UNTRIGGERED)
                    .map(|name| (name, false)),
            );
        for (repository, ask) in watched {
            let found = match self.tags(repository, ask).await {
                Ok(found) => found,
                Err(failure) => {
                    // Not known is not the same as gone: the cursor stays.
                    tracing::warn!(
                        account = self.account,
                        repository,
                        reason = failure.message,
                        "repository could not be polled"
                    );
                    complete &= self.known.repositories.contains_key(repository);
                    failures += 1;
                    if failures == MAX_FAILURES {
                        complete = false;
                        break;
                    }
                    continue;
                }
            };
            failures = 0;
            let mut outcome = cursor::compare(&self.known, repository, &found);
            for (tag, digest) in &outcome.news {
                if told == MAX_NEWS {
                    // Told by the next tick: the cursor does not move past it.
                    outcome.tags.remove(tag);
                    continue;
                }
                told += 1;
                self.tell(repository, tag, digest).await?;
            }
            if self.known.repositories.get(repository) != Some(&outcome.tags) {
                let content = serde_json::to_string(&outcome.tags)
                    .map_err(|e| Failure::internal(e.to_string()))?;
                changes.insert(part(repository), content);
            }
        }
        let account = Known {
            complete,
            repositories: BTreeMap::new(),
        };
        let account =
            serde_json::to_string(&account).map_err(|e| Failure::internal(e.to_string()))?;
        changes.insert("account".to_owned(), account);
        Ok(changes)
    }

    async fn tags(&self, repository: &str, ask: bool) -> Result<Tags, Failure> {
        let names = self.intake.peers.tags(self.account, repository).await?;
        if names.len() > MAX_TAGS {
            return Err(Failure::new(
                Kind::Exhausted,
                format!(
                    "it has {} tags, more than the {MAX_TAGS} compared; \
                     rely on notifications or remove old tags",
                    names.len()
                ),
            ));
        }
        let mut found = Tags::new();
        for tag in names {
            if !ask {
                found.insert(tag, String::new());
            } else if let Some(digest) = self
                .intake
                .peers
                .digest(self.account, repository, &tag)
                .await?
            {
                found.insert(tag, digest);
            }
        }
        Ok(found)
    }

    async fn tell(&self, repository: &str, tag: &str, digest: &str) -> Result<(), Failure> {
        let origin = Origin {
            source: self.account,
            registry: self.address,
            headers: &[],
            nonce: "",
            received_at_ms: now_ms(),
        };
        let event = docker_event(&origin, "poll", repository, tag, digest);
        self.intake.take_in(&event).await?;
        Ok(())
    }
}
