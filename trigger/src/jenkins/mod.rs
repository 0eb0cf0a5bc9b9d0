//! Jenkins masters: polled for builds that ended, and asked to build.
//!
//! Owns the documents `jenkins:<master>`: one part per job, what is known of its
//! builds. An event is durable before the cursor moves past it, under an id made of
//! master, job and number. What ran before a job was first seen is history and
//! fires nothing, also when the cursor was lost.

pub(crate) mod access;
mod build;
mod client;
mod job;
mod properties;
mod service;

use std::collections::BTreeMap;
use std::time::Duration;

use authorization::Permission;
use bytes::Bytes;
use proto::status::{Failure, Kind};
use runtime::Shutdown;
use runtime::auth::AuthContext;
use serde_json::{Map, Value, json};
use store::{Address, Batch, Delivery, Document, DocumentKey, Mode, Outgoing, Refused, Then};

use crate::config::Master;
use crate::event::{self, Event};
use crate::intake::{Intake, failed, now_ms};
use crate::matcher;
use crate::proof::Proof;

use build::{Build, Known, news};
use client::Client;

pub(crate) use service::Builds;

/// The queue of ticks, one subject per master.
pub(crate) const QUEUE: &str = "trigger-jenkins";
/// How far the clock of a master may be behind ours.
const CLOCKS_MS: i64 = 120_000;
/// Builds one tick tells; the next one tells the rest.
const MOST_NEWS: usize = 100;
/// The part that says that a master was seen as a whole, and when that was begun the last time, ms since the
/// epoch by our clock.
const COMPLETE: &str = "complete";

fn tick(master: &str, mode: Mode, delay: Duration) -> Outgoing {
    Outgoing {
        to: Address::new(QUEUE, master, ""),
        fingerprint: "tick".to_owned(),
        mode,
        delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        body: Bytes::new(),
    }
}

/// Makes sure that each master has its tick.
///
/// # Errors
/// Never: it tries until it succeeds or the shutdown begins.
pub(crate) async fn begin(intake: Intake, shutdown: Shutdown) -> Result<(), Failure> {
    for master in &intake.config.jenkins {
        loop {
            let shard = intake.store.shards().of_name(&master.name);
            let batch = Batch::new(shard, format!("jenkins:{}", intake.unique())).message(tick(
                &master.name,
                Mode::Ensure,
                Duration::ZERO,
            ));
            match intake.store.commit(batch).await {
                Ok(Ok(_)) => break,
                Ok(Err(refused)) => tracing::warn!(reason = %refused, "polling cannot begin yet"),
                Err(error) => tracing::warn!(reason = %error, "polling cannot begin yet"),
            }
            if !shutdown.sleep(Duration::from_secs(1)).await {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A configured master.
///
/// # Errors
/// When there is none of that name; names those there are.
fn configured<'a>(intake: &'a Intake, name: &str) -> Result<&'a Master, Failure> {
    let master = intake.config.jenkins.iter().find(|m| m.name == name);
    master.ok_or_else(|| {
        // Who may not see a master is not told of it either.
        let open = |m: &&Master| intake.access.0.is_none() || m.permissions.is_unrestricted();
        let known = intake.config.jenkins.iter().filter(open);
        let known: Vec<_> = known.map(|m| m.name.as_str()).collect();
        Failure::not_found(format!(
            "there is no Jenkins master \"{name}\"; known are: {}",
            known.join(", ")
        ))
    })
}

/// Whether there is a master of this name.
///
/// # Errors
/// See [`configured`].
pub(crate) fn known(intake: &Intake, name: &str) -> Result<(), Failure> {
    configured(intake, name).map(|_| ())
}

/// Gives a trigger by hand that names a build what the build brings: `buildInfo`, its files as artifacts, and the
/// properties of the file it names.
///
/// # Errors
/// When the build is not there, or is none that the caller may see.
pub(crate) async fn with_build(
    intake: &Intake,
    caller: &AuthContext,
    trigger: &mut Map<String, Value>,
) -> Result<(), Failure> {
    let text = |key: &str| {
        trigger
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (name, job, file) = (text("master"), text("job"), text("propertyFile"));
    let number = trigger.get("buildNumber");
    let number = number.and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok()));
    let Some(number) = number
        .filter(|_| !name.is_empty() && !job.is_empty() && !trigger.contains_key("buildInfo"))
    else {
        return Ok(());
    };
    let master = configured(intake, &name)?;
    intake.access.require(caller, master, Permission::Read)?;
    let client = client(master)?;
    let build = client.build(&job, number).await?;
    let missing = || Failure::field("buildNumber", format!("job {job} has no build {number}"));
    let build = build.ok_or_else(missing)?;
    if !file.is_empty() {
        let found = client.properties(&job, &build, &file).await?;
        let found = found.ok_or_else(|| {
            Failure::field(
                "propertyFile",
                format!("build {number} of {job} keeps no file {file}"),
            )
        })?;
        trigger.insert("properties".to_owned(), found.into());
    }
    trigger.insert("buildInfo".to_owned(), build.to_json(&job));
    let artifacts = trigger.entry("artifacts").or_insert_with(|| json!([]));
    if let Value::Array(list) = artifacts {
        list.extend(build.artifacts(&job));
    }
    Ok(())
}

/// The client of a master.
///
/// # Errors
/// When no client can be made.
fn client(master: &Master) -> Result<Client, Failure> {
    let http = runtime::egress::operator_client();
    let http = http.map_err(|e| Failure::internal(e.to_string()))?;
    Ok(Client::new(master.clone(), http))
}

/// Handles one tick.
///
/// # Errors
/// When it has to be tried again.
pub(crate) async fn handle(intake: &Intake, delivery: &Delivery) -> Result<(), Failure> {
    let master = delivery.lease.address.subject.clone();
    let shard = intake.store.shards().of_name(&master);
    let mut batch = Batch::new(shard, format!("jenkins:{}", intake.unique()));
    if intake.config.jenkins.iter().any(|m| m.name == master) {
        let key = DocumentKey::new("jenkins", &master);
        let document = intake.store.load(shard, &key).await.map_err(failed)?;
        match poll(intake, &master, document.as_ref()).await {
            Ok(changed) if changed.is_empty() => {}
            Ok(changed) => {
                let version = document.as_ref().map_or(0, |d| d.version);
                batch = batch.document(&key, version);
                for (part, content) in changed {
                    batch = batch.set(&part, content);
                }
            }
            Err(failure) => {
                tracing::warn!(master, reason = failure.message, "Jenkins cannot be polled");
            }
        }
        let pause = intake.config.jenkins_poll_interval.0;
        batch = batch.message(tick(&master, Mode::Push, pause));
    }
    let batch = batch.acknowledge(delivery, Then::Release);
    match intake.store.commit(batch).await.map_err(failed)? {
        // Another replica was faster; the events are the same.
        Ok(_) | Err(Refused::Fenced(_) | Refused::Conflict { .. }) => Ok(()),
        Err(other) => Err(Failure::new(Kind::Unavailable, other.to_string())),
    }
}

fn part(job: &str) -> String {
    format!("j:{job}")
}

/// What has changed, as parts of the master's document; the events are taken in.
async fn poll(
    intake: &Intake,
    master: &str,
    document: Option<&Document>,
) -> Result<BTreeMap<String, String>, Failure> {
    let client = client(configured(intake, master)?)?;
    let begun = now_ms();
    let seen = document.and_then(|d| d.text(COMPLETE));
    let seen: Option<i64> = seen.map(|text| text.parse().unwrap_or(0));
    let known = |job: &str| -> Option<Known> {
        let stored = document.and_then(|d| serde_json::from_str(d.text(&part(job))?).ok());
        // A job that appears at a master that was seen as a whole is new.
        stored.or_else(|| seen.is_some().then(Known::default))
    };
    let waiting = waiting(intake, master).await?;
    let mut changed = BTreeMap::new();
    let (mut told, mut left) = (0, false);
    for job in client.jobs().await? {
        let Some(last) = &job.last else { continue };
        let before = known(&job.name);
        if before.as_ref().is_some_and(|k| !k.is_behind(last)) {
            continue;
        }
        let builds = match &before {
            Some(known) if known.low > 0 => client.builds_since(&job.name, known.low).await?,
            // One that appeared, maybe under a new name: not its whole past.
            _ => client.builds(&job.name).await?,
        };
        let (found, after) = news(before.as_ref(), &builds);
        if told > 0 && told + found.len() > MOST_NEWS {
            // It is still news at the next tick, and then the first.
            left = true;
            continue;
        }
        // One that came back, or under another name, brings its past along.
        let appeared = before.as_ref().is_some_and(|known| known.low == 0);
        let history = seen.filter(|_| appeared).map(|at| at - CLOCKS_MS);
        for build in &found {
            if history.is_some_and(|at| client.ended_ms(build) < at) {
                continue;
            }
            if let Some(files) = waiting.get(&job.name) {
                let event = event_of(&client, master, &job.name, build, files).await?;
                intake.take_in(&event).await?;
                told += 1;
            }
        }
        if before.as_ref() != Some(&after) {
            changed.insert(part(&job.name), json!(after).to_string());
        }
    }
    if !left {
        changed.insert(COMPLETE.to_owned(), begun.to_string());
    }
    Ok(changed)
}

/// Jobs of a master that live triggers wait for, with the property files they name.
async fn waiting(intake: &Intake, master: &str) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pipeline in intake.peers.pipelines("jenkins").await? {
        for trigger in matcher::triggers(&pipeline, "jenkins") {
            let text = |key: &str| trigger.get(key).and_then(Value::as_str).unwrap_or_default();
            if text("master") != master {
                continue;
            }
            let files = found.entry(text("job").to_owned()).or_default();
            let file = text("propertyFile").to_owned();
            if !file.is_empty() && !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(found)
}

/// The event of a build that ended.
async fn event_of(
    client: &Client,
    master: &str,
    job: &str,
    build: &Build,
    files: &[String],
) -> Result<Event, Failure> {
    let mut properties = Map::new();
    for file in files {
        let read = match client.properties(job, build, file).await {
            Ok(read) => read,
            // The trigger decides without it, and says so.
            Err(failure) if failure.kind == Kind::Invalid => None,
            Err(failure) => return Err(failure),
        };
        if let Some(read) = read {
            properties.insert(file.clone(), read.into());
        }
    }
    let content = json!({
        "master": master, "job": job, "number": build.number, "result": build.result,
        "url": build.url, "buildInfo": build.to_json(job), "properties": properties,
    });
    Ok(Event {
        id: event::id("jenkins", &[master, job, &build.number.to_string()]),
        kind: "jenkins".to_owned(),
        via: "poll".to_owned(),
        received_at_ms: now_ms(),
        happened_at_ms: client.ended_ms(build),
        content: content.as_object().cloned().unwrap_or_default(),
        artifacts: build.artifacts(job),
        proof: Proof::default(),
    })
}
