//! What history and large values cost, on a Redis of its own (AOF `everysec`).
//!
//! `cargo run --release -p orchestrator --example history -- finished 1000000` runs so many small pipelines to their
//! end, has them archived as the product does, and measures store, archive, searches and pages.
//! `… -- wide 300` runs one pipeline of so many stages with 1 MiB each, and measures what is sent and read for them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use orchestrator::executions::{Executions, Listing};
use orchestrator::services::fake::{Fake, ok};
use orchestrator::{Config, Ground, Outside, archive, assemble, commit};
use proto::common::v1::Json;
use proto::message::PIPELINE_COMPLETED;
use proto::orchestrator::v1::StartRequest;
use proto::orchestrator::v1::execution_service_client::ExecutionServiceClient;
use runtime::auth::Key;
use runtime::client::Peer;
use runtime::config::Span;
use runtime::{Running, Shutdown};
use serde_json::{Value, json};
use servers::Redis;
use store::{Batch, Consumer, ConsumerSettings, Shards, Shared, Then};

const APPLICATIONS: usize = 100;
const PIPELINES: usize = 200;
const STAGES: usize = 5;
const LANES: usize = 64;
const MIB: usize = 1024 * 1024;
/// One of so many is served to learn how long they are.
const SAMPLE: usize = 500;

type Client = ExecutionServiceClient<Peer>;

/// The service in this process, over peers that let everything succeed.
fn serve(store: &Shared, fake: Fake, config: Config) -> Result<(Client, Shutdown, Running)> {
    let (link, acceptor) = runtime::client::in_process(&Key::from([7; 32]));
    let shutdown = Shutdown::new();
    let outside = Outside {
        cloud_driver: Arc::new(fake.clone()),
        http: Arc::new(fake.clone()),
        builds: Arc::new(fake.clone()),
        canary_judge: Arc::new(fake),
        policy: None,
    };
    let mut service = assemble(config, store.clone(), outside, Ground::system());
    let routes = service.take_grpc().context("it serves nothing")?;
    let ending = shutdown.clone();
    tokio::spawn(acceptor.serve(routes, ending));
    let running = service.start(&shutdown);
    let client = ExecutionServiceClient::new(link.of("history"));
    Ok((client, shutdown, running))
}

/// Takes what tells the triggers that a pipeline ended, as they do: otherwise it would lie in the store.
async fn take_completed(store: Shared) -> Result<()> {
    let settings = ConsumerSettings {
        queue: PIPELINE_COMPLETED.to_owned(),
        lease_ms: 10_000,
        max_tries: 10,
    };
    let mut consumer = Consumer::new(store.clone(), settings);
    loop {
        let taken = consumer.next(LANES).await?.into_iter().map(|delivery| {
            let id = format!("taken-{}", delivery.lease.token);
            let batch = Batch::new(delivery.lease.shard, id).acknowledge(&delivery, Then::Release);
            store.commit(batch)
        });
        for done in try_join_all(taken).await? {
            done.map_err(|refused| anyhow::anyhow!("{refused}"))?;
        }
    }
}

async fn start(client: &Client, body: &Value) -> Result<String> {
    let request = StartRequest {
        kind: 0,
        body: Some(Json::of(body)),
        // An event starts one execution, and is known for a day.
        event_id: body["trigger"]["eventId"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    };
    Ok(client.clone().start(request).await?.into_inner().id)
}

fn small(number: usize) -> Value {
    let stages: Vec<Value> = (1..=STAGES)
        .map(|stage| {
            let after: Vec<String> = (1..stage).next_back().iter().map(usize::to_string).collect();
            json!({"type": "evaluateVariables", "name": format!("Look at {stage}"), "refId": stage.to_string(),
                "requisiteStageRefIds": after, "variables": [{"key": "sum", "value": "${1 + 1}"}]})
        })
        .collect();
    json!({
        "application": format!("app{}", number % APPLICATIONS), "name": format!("Deploy {}", number % PIPELINES),
        "id": format!("config-{}", number % PIPELINES), "stages": stages,
        "trigger": {"type": "docker", "eventId": format!("event-{number}"), "repository": "shop/web",
            "registry": "registry.example", "tag": format!("1.{number}"), "user": "ann"},
    })
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (what, many) = (arguments.next(), arguments.next());
    let many: usize = many.context("how many?")?.parse()?;
    let redis = Redis::start("everysec").context("there is no Redis to measure")?;
    let store = store::redis::connect(&redis.url(), Shards::default()).await?;
    match what.as_deref() {
        Some("finished") => finished(&redis, &store, many).await,
        Some("wide") => wide(&redis, &store, many).await,
        _ => bail!("say `finished COUNT` or `wide STAGES`"),
    }
}

async fn finished(redis: &Redis, store: &Shared, many: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = Config {
        archive: archive::Config {
            folder: Some(folder.path().to_owned()),
            after: Span(Duration::from_secs(1)),
            ..archive::Config::default()
        },
        ..Config::default()
    };
    let executions = Executions::with_archive(store.clone(), config.archive.open());
    let (client, shutdown, running) = serve(store, Fake::new(), config)?;
    let taking = tokio::spawn(take_completed(store.clone()));
    let begun = Instant::now();
    let lanes = (0..LANES).map(|lane| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut sample = Vec::new();
            for number in (lane..many).step_by(LANES) {
                let id = start(&client, &small(number)).await?;
                if number % SAMPLE == 0 {
                    sample.push(id);
                }
            }
            anyhow::Ok(sample)
        })
    });
    let lanes: Vec<_> = lanes.collect();
    let mut sample = Vec::new();
    for lane in lanes {
        sample.extend(lane.await??);
    }
    println!(
        "{many} executions started in {:.0?}, {} not archived by then",
        begun.elapsed(),
        staying(store).await?
    );
    // What does not fill a segment stays for a day.
    let most = 256 * u64::from(store.shards().count());
    while staying(store).await? > most {
        if taking.is_finished() {
            taking.await??;
            bail!("nothing takes what completed");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!(
        "archived after {:.0?}, {} wait for company",
        begun.elapsed(),
        staying(store).await?
    );
    let mut json = 0;
    for id in &sample {
        json += executions.get(id, None).await?.to_json().to_string().len();
    }
    let each = json / sample.len().max(1);
    let archived = size(folder.path())?;
    let moved = many.saturating_sub(usize::try_from(staying(store).await?)?);
    let told = redis.ask(&["info", "memory"]);
    let used = told
        .iter()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let used: u64 = used.context("redis does not tell")?.parse()?;
    println!("redis: {} MiB", used / 1024 / 1024);
    println!(
        "archive: {} MiB, {:.1} % of {each} bytes of JSON each",
        archived / 1024 / 1024,
        100.0 * number(archived) / (number(each as u64) * number(moved as u64))
    );
    let middle = many / 2;
    let app = Listing {
        application: format!("app{}", middle % APPLICATIONS),
        ..Listing::default()
    };
    let of = |change: &dyn Fn(&mut Listing)| {
        let mut listing = app.clone();
        change(&mut listing);
        listing
    };
    for (what, listing) in [
        ("last 50 of an application", app.clone()),
        (
            "one by its event",
            of(&|l| l.events = vec![format!("event-{middle}")]),
        ),
        (
            "one by its image",
            of(&|l| l.images = vec![format!("registry.example/shop/web:1.{middle}")]),
        ),
        (
            "those that failed: none",
            of(&|l| l.statuses = vec!["TERMINAL".to_owned()]),
        ),
        (
            "50 of a pipeline",
            of(&|l| l.configs = vec![format!("config-{}", middle % PIPELINES)]),
        ),
        ("all applications, newest 50", Listing::default()),
        (
            "all applications, one by its event",
            Listing {
                events: vec![format!("event-{middle}")],
                ..Listing::default()
            },
        ),
    ] {
        let mut times = Vec::new();
        let mut found = 0;
        for _ in 0..11 {
            let begun = Instant::now();
            found = executions.list(&listing).await?.0.len();
            times.push(begun.elapsed());
        }
        let first = times.remove(0);
        times.sort_unstable();
        println!(
            "{what}: {found} found, first {first:.1?}, middle {:.1?}, worst {:.1?}",
            times[5], times[9]
        );
    }
    shutdown.begin();
    running.end(Duration::from_secs(5)).await;
    Ok(())
}

/// Finished executions that are in the store.
async fn staying(store: &Shared) -> Result<u64> {
    let mut all = 0;
    for shard in store.shards().all() {
        all += store.cardinality(shard, commit::DONE).await?;
    }
    Ok(all)
}

fn size(folder: &Path) -> Result<u64> {
    let mut all = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        all += if kind.is_dir() {
            size(&entry.path())?
        } else {
            kind.len()
        };
    }
    Ok(all)
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn number(value: u64) -> f64 {
    value as f64
}

async fn wide(redis: &Redis, store: &Shared, many: usize) -> Result<()> {
    let fake = Fake::new();
    let mut stages = Vec::new();
    for stage in 1..=many {
        // No two are the same.
        let text = format!("{stage:08}").repeat(MIB / 8);
        let url = format!("http://hook.test/{stage}");
        fake.answer(&url, Ok(ok(&json!({"text": text}))));
        let after: Vec<String> = (1..stage)
            .next_back()
            .iter()
            .map(usize::to_string)
            .collect();
        stages.push(
            json!({"type": "webhook", "name": format!("Ask {stage}"), "refId": stage.to_string(),
            "requisiteStageRefIds": after, "url": url, "method": "GET"}),
        );
    }
    let config = Config {
        execution_limit: 2 * many * MIB,
        ..Config::default()
    };
    let executions = Executions::new(store.clone());
    let (client, shutdown, running) = serve(store, fake, config)?;
    let before = redis.traffic();
    let begun = Instant::now();
    let body = json!({"application": "app", "name": "Wide", "stages": stages});
    let id = start(&client, &body).await?;
    let mut marks = Vec::new();
    while executions.is_under_way(&id).await? {
        tokio::time::sleep(Duration::from_millis(50)).await;
        marks.push((begun.elapsed(), redis.traffic().0 - before.0));
    }
    let (lasted, after) = (begun.elapsed(), redis.traffic());
    let commits = executions.log(&id).await?.len();
    let sent = after.0 - before.0;
    println!("{many} stages of 1 MiB: {lasted:.1?}, {commits} commits");
    println!(
        "sent {} MiB, read {} MiB",
        sent / 1024 / 1024,
        (after.1 - before.1) / 1024 / 1024
    );
    // How long the first and the last tenth took: the same if a commit costs what it changes.
    let at = |share: u64| {
        marks
            .iter()
            .find(|(_, bytes)| *bytes * 10 >= sent * share)
            .map(|(at, _)| *at)
    };
    println!(
        "first tenth of the bytes after {:.1?}, nine tenths after {:.1?}",
        at(1),
        at(9)
    );
    shutdown.begin();
    running.end(Duration::from_secs(5)).await;
    Ok(())
}
