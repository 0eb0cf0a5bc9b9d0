//! What the engine does with stages of one task that runs by a worker and has a commit of its own
//! (`fold-tasks: false`), on Redis with AOF `everysec`: throughput of many pipelines, the pace of one, a join.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::program::installed;
use tests::redis::{Fsync, PROGRAM, Redis};
use tests::{Backend, Setup, Stack, eventually, measure};

use crate::load::{control_plane, count, start_all, time};
use crate::{Row, raw};

const PIPELINES: usize = 200;
const STAGES: usize = 5;
const RUNS: usize = 5;
const LONE: usize = 10;
const WIDTH: usize = 50;
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let what = format!("{PIPELINES} pipelines of {STAGES} stages at once");
    if !installed(PROGRAM) {
        let reason = "skipped: redis-server is not installed";
        return Ok(vec![Row::new(what, "≥ 2,500 stages/s", reason)]);
    }
    let stack = Stack::up(Setup {
        backend: Backend::Redis(Fsync::EverySecond),
        configuration: Some("orchestrator:\n  fold-tasks: false\n".to_owned()),
        ..Setup::default()
    })
    .await?;
    let redis = stack.redis.as_ref().context("no redis")?;
    stack.gate.save_application("bench").await?;
    let chain = |length: usize| chain(length).map(|stages| pipeline("bench", "Chain", &stages));
    let load = chain(STAGES)?;
    // The first load warms up.
    ended(&stack, &run(&stack, &load, PIPELINES).await?).await?;
    let stages = PIPELINES * STAGES;
    let mut loads = Vec::new();
    for _ in 0..RUNS {
        let before = Cost::now(&stack, redis).await?;
        let ids = run(&stack, &load, PIPELINES).await?;
        let cost = Cost::now(&stack, redis).await?.since(&before);
        let span = ended(&stack, &ids).await?;
        // Beside each load, for neither machine nor neighbours stand still.
        let raw = raw::commits_a_second(redis)?;
        let rate = count(stages) / span.as_secs_f64();
        loads.push((rate, cost, 100.0 * rate / raw, raw));
    }
    loads.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
    let (rate, cost, ..) = loads.get(RUNS / 2).context("no load")?;
    let mut shares: Vec<(f64, f64)> = loads
        .iter()
        .map(|(_, _, share, raw)| (*share, *raw))
        .collect();
    shares.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let (share, raw) = shares.get(RUNS / 2).context("no load")?;
    let mut rows = vec![
        Row::new(
            format!("{what}, Redis everysec, middle of {RUNS} runs"),
            "≥ 2,500 stages/s",
            format!("{rate:.0} stages/s"),
        ),
        Row::new(
            "the same ÷ raw commits a second of one such commit a stage, taken beside each run",
            "≥ 40 %",
            format!("{share:.0} % (of {raw:.0} commits/s)"),
        ),
    ];
    rows.extend(cost.rows(count(stages)));

    let lone = chain(LONE)?;
    let mut paces = Vec::new();
    for _ in 0..=20 {
        let id = stack.gate.start_ad_hoc(&lone).await?;
        let ended = stack.gate.wait_for_execution(&id, PATIENCE).await?;
        paces.push(lasted(&ended)?);
    }
    let each = measure::percentile(&paces[1..], 50).as_secs_f64() * 1000.0 / count(LONE);
    rows.push(Row::new(
        format!("one pipeline of {LONE} stages alone, middle of 20"),
        "≤ 2 ms a stage",
        format!("{each:.2} ms a stage"),
    ));
    let join = fan();
    let mut joins = Vec::new();
    for _ in 0..=20 {
        let id = stack.gate.start_ad_hoc(&join).await?;
        let ended = stack.gate.wait_for_execution(&id, PATIENCE).await?;
        joins.push(lasted(&ended)?);
    }
    let middle = measure::percentile(&joins[1..], 50).as_millis();
    rows.push(Row::new(
        format!("a stage, {WIDTH} parallel ones and a join, middle of 20"),
        "≤ 50 ms",
        format!("{middle} ms"),
    ));
    let kib = measure::pss_kib(control_plane(&stack)?)?;
    rows.push(Row::new(
        "control plane after that load, PSS",
        "≤ 60 MiB",
        format!("{:.1} MiB", count(usize::try_from(kib)?) / 1024.0),
    ));
    Ok(rows)
}

/// A stage with one task that ends at once.
fn variable(ref_id: &str, after: &[&str]) -> Value {
    let variables = json!({"variables": [{"key": "two", "value": "${1 + 1}"}]});
    stage("evaluateVariables", ref_id, ref_id, after, variables)
}

fn chain(length: usize) -> Result<Vec<Value>> {
    ensure!(length > 0, "a chain has a stage");
    Ok((1..=length)
        .map(|number| {
            let before = (number - 1).to_string();
            let after: &[&str] = if number == 1 { &[] } else { &[&before] };
            variable(&number.to_string(), after)
        })
        .collect())
}

fn fan() -> Value {
    let branches: Vec<String> = (1..=WIDTH).map(|number| format!("b{number}")).collect();
    let mut stages = vec![variable("root", &[])];
    stages.extend(branches.iter().map(|branch| variable(branch, &["root"])));
    let all: Vec<&str> = branches.iter().map(String::as_str).collect();
    stages.push(variable("join", &all));
    pipeline("bench", "Fan", &stages)
}

/// Starts so many at once and waits until none of them is under way; their ids.
async fn run(stack: &Stack, pipeline: &Value, many: usize) -> Result<Vec<String>> {
    let ids = start_all(&stack.gate, pipeline, many).await?;
    let open = "/applications/bench/pipelines?limit=1&statuses=NOT_STARTED,RUNNING";
    let none = async || match stack.gate.get(open).await {
        Ok(listed) if listed == json!([]) => Ok(()),
        Ok(_) => Err("some are under way".to_owned()),
        Err(error) => Err(format!("{error:#}")),
    };
    eventually("the load has ended", PATIENCE, none).await?;
    Ok(ids)
}

/// Reads executions that succeeded; from the first start to the last end.
async fn ended(stack: &Stack, ids: &[String]) -> Result<Duration> {
    let (mut first, mut last) = (i64::MAX, 0);
    for id in ids {
        let ended = stack.gate.execution(id).await?;
        ensure!(
            ended["status"] == "SUCCEEDED",
            "{id} ended {}",
            ended["status"]
        );
        first = first.min(time(&ended, "buildTime")?);
        last = last.max(time(&ended, "endTime")?);
    }
    Ok(Duration::from_millis(u64::try_from(last - first)?))
}

fn lasted(execution: &Value) -> Result<Duration> {
    let lasted = time(execution, "endTime")? - time(execution, "startTime")?;
    Ok(Duration::from_millis(u64::try_from(lasted)?))
}

/// What a load has cost so far.
struct Cost {
    ours: Duration,
    redis: Duration,
    sent: u64,
    executed: u64,
    commits: u64,
}

impl Cost {
    async fn now(stack: &Stack, redis: &Redis) -> Result<Self> {
        let calls = redis.calls().await?;
        let scripts = ["evalsha", "eval", "fcall"];
        let own = ["info", "monitor"];
        let all: u64 = calls.iter().map(|(_, count)| count).sum();
        let of = |names: &[&str]| -> u64 {
            let counted = calls
                .iter()
                .filter(|(name, _)| names.contains(&name.as_str()));
            counted.map(|(_, count)| count).sum()
        };
        // Plain reads and waits are sent beside scripts; what scripts call is not sent.
        let waits = of(&["blpop", "xread"]);
        Ok(Self {
            ours: measure::cpu(control_plane(stack)?)?,
            redis: measure::cpu(redis.pid()?)?,
            sent: of(&scripts) + waits,
            executed: all - of(&scripts) - of(&own),
            commits: commits(stack).await?,
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            ours: self.ours.saturating_sub(before.ours),
            redis: self.redis.saturating_sub(before.redis),
            sent: self.sent - before.sent,
            executed: self.executed - before.executed,
            commits: self.commits - before.commits,
        }
    }

    /// The rows of a stage's cost.
    fn rows(&self, stages: f64) -> Vec<Row> {
        let cpu = |spent: Duration| format!("{:.2} ms", spent.as_secs_f64() * 1000.0 / stages);
        let each = |number: u64| {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            format!("{:.1}", f64::from(number) / stages)
        };
        vec![
            Row::new("processor a stage, ours", "≤ 0.5 ms", cpu(self.ours)),
            Row::new("processor a stage, Redis", "≤ 0.2 ms", cpu(self.redis)),
            Row::new(
                "scripts and waits sent to Redis a stage",
                "≤ 3",
                each(self.sent),
            ),
            Row::new(
                "commands executed in Redis a stage",
                "≤ 30",
                each(self.executed),
            ),
            Row::new("commits a stage", "", each(self.commits)),
        ]
    }
}

/// Commits of the engine, by its own count.
async fn commits(stack: &Stack) -> Result<u64> {
    let text = stack.gate.http().get("/metrics").await?.expect(200)?.text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("engine_commits_total "));
    line.context("no count of commits")?
        .trim()
        .parse()
        .context("the count of commits is no number")
}
