//! History that stays small: what a great many finished executions leave in Redis and in the archive, and how fast
//! they are found.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::program::installed;
use tests::redis::{Fsync, PROGRAM, Redis};
use tests::{Backend, Setup, Stack, measure};

use crate::Row;
use crate::load::{count, start_all, time};

/// How many executions, unless the environment says so.
const EXECUTIONS: usize = 1_000_000;
const MANY: &str = "BENCH_FINISHED";
/// Started in one go.
const EACH: usize = 1_000;
/// Executions that are looked at: their size, and whether they are found.
const SAMPLES: usize = 40;
const PATIENCE: Duration = Duration::from_secs(120);
/// When nothing has been moved for so long, all is.
const STILL: Duration = Duration::from_secs(40);

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let many: usize = match std::env::var(MANY) {
        Ok(text) => text.parse().with_context(|| format!("{MANY} is {text}"))?,
        Err(_) => EXECUTIONS,
    };
    let what = format!("{many} finished executions");
    if !installed(PROGRAM) {
        let reason = "skipped: redis-server is not installed";
        return Ok(vec![Row::new(what, "", reason)]);
    }
    let stack = Stack::up(Setup {
        backend: Backend::Redis(Fsync::EverySecond),
        configuration: Some(
            "orchestrator:\n  archive:\n    after: 1s\n    within: 10s\n".to_owned(),
        ),
        ..Setup::default()
    })
    .await?;
    let redis = stack.redis.as_ref().context("no redis")?;
    stack.gate.save_application("finished").await?;
    let small = small();
    let mut sampled = Vec::new();
    for _ in 0..many / EACH {
        let ids = start_all(&stack.gate, &small, EACH).await?;
        let last = ids.last().context("nothing was started")?;
        stack.gate.wait_for_execution(last, PATIENCE).await?;
        sampled.extend(ids.into_iter().take(1));
    }
    let begun = Instant::now();
    still(redis).await?;
    eprintln!("moved after {:?}", begun.elapsed());
    let step = (sampled.len() / SAMPLES).max(1);
    let sampled: Vec<String> = sampled.into_iter().step_by(step).collect();
    let used = info(redis, "memory", "used_memory:").await?;
    let archive = size(&stack.data.join("archive"))?;
    let (mut served, mut reads, mut searches, mut lists) = (0, Vec::new(), Vec::new(), Vec::new());
    for id in &sampled {
        let (text, took) = get(&stack, &format!("/pipelines/{id}")).await?;
        served += text.len();
        reads.push(took);
        let execution: Value = serde_json::from_str(&text)?;
        let built = time(&execution, "buildTime")?;
        let question = format!(
            "size=50&pipelineName=Small&triggerTimeStartBoundary={built}&triggerTimeEndBoundary={built}"
        );
        let path = format!("/applications/finished/executions/search?{question}");
        let (text, took) = get(&stack, &path).await?;
        ensure!(text.contains(id), "{path} does not find {id}");
        searches.push(took);
        let (_, took) = get(&stack, "/applications/finished/pipelines?limit=50").await?;
        lists.push(took);
    }
    let mib = |bytes: u64| count(usize::try_from(bytes).unwrap_or(usize::MAX)) / 1_048_576.0;
    let each = count(served) / count(sampled.len());
    let share = 100.0 * count(usize::try_from(archive)?) / (each * count(many));
    let times = |took: &[Duration]| {
        let of = |percent: usize| measure::percentile(took, percent).as_secs_f64() * 1000.0;
        format!(
            "p50 {:.1} ms, p95 {:.1} ms, worst {:.1} ms",
            of(50),
            of(95),
            of(100)
        )
    };
    Ok(vec![
        Row::new(
            format!("{what}: Redis"),
            "≤ 512 MiB",
            format!("{:.0} MiB", mib(used)),
        ),
        Row::new(
            "their archive, logs included, of the JSON served",
            "≤ 15 %",
            format!(
                "{share:.1} % ({:.0} MiB; {each:.0} bytes each served)",
                mib(archive)
            ),
        ),
        Row::new("one of them read", "", times(&reads)),
        Row::new(
            "a search among them by name and time",
            "≤ 200 ms",
            times(&searches),
        ),
        Row::new("the last 50 of the application", "≤ 50 ms", times(&lists)),
    ])
}

fn small() -> Value {
    let variables = json!({"variables": [
        {"key": "version", "value": "${trigger.parameters.version ?: '1.0.' + 1}"},
        {"key": "greeting", "value": "${'hello ' + execution.name}"},
    ]});
    let check = json!({"preconditions": [{"type": "expression", "failPipeline": true,
        "context": {"expression": "${version != null}"}}]});
    let stages = [
        stage("evaluateVariables", "Names", "1", &[], variables),
        stage("checkPreconditions", "Check", "2", &["1"], check),
        stage("wait", "Wait", "3", &["2"], json!({"waitTime": 0})),
    ];
    pipeline("finished", "Small", &stages)
}

async fn get(stack: &Stack, path: &str) -> Result<(String, Duration)> {
    let begun = Instant::now();
    let answer = stack.gate.http().get(path).await?.expect(200)?;
    Ok((answer.text(), begun.elapsed()))
}

async fn info(redis: &Redis, section: &str, field: &str) -> Result<u64> {
    let text = redis.command(&format!("INFO {section}")).await?;
    let value = text.lines().find_map(|line| line.strip_prefix(field));
    let value = value.with_context(|| format!("INFO has no {field}"))?;
    let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().context("no number")
}

/// Waits until no key goes or comes any more.
async fn still(redis: &Redis) -> Result<()> {
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < STILL {
        let keys = info(redis, "keyspace", "db0:keys=").await?;
        if keys != last {
            (last, since) = (keys, Instant::now());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Bytes of a folder's files.
fn size(folder: &Path) -> Result<u64> {
    let entries = std::fs::read_dir(folder);
    let mut sum = 0;
    for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let about = entry.metadata()?;
        sum += if about.is_dir() {
            size(&entry.path())?
        } else {
            about.len()
        };
    }
    Ok(sum)
}
