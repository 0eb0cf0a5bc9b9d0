//! Three hundred branches of one execution that end together, on three orchestrators: how often their commits
//! refuse one another.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::http::Client;
use tests::program::installed;
use tests::redis::{Fsync, PROGRAM};
use tests::{Backend, Setup, Stack};

use crate::Row;
use crate::load::{count, time};

const ORCHESTRATORS: usize = 3;
const WIDTH: usize = 300;
const RUNS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let what =
        format!("{WIDTH} branches and a join on {ORCHESTRATORS} orchestrators: conflicts a commit");
    if !installed(PROGRAM) {
        let reason = "skipped: redis-server is not installed";
        return Ok(vec![Row::new(what, "≤ 0.1", reason)]);
    }
    let replicas = ORCHESTRATORS.to_string();
    let stack = Stack::up(Setup {
        backend: Backend::Redis(Fsync::EverySecond),
        configuration: Some("orchestrator:\n  fold-tasks: false\n".to_owned()),
        arguments: ["--processes", "--replicas", &replicas]
            .map(str::to_owned)
            .to_vec(),
        ..Setup::default()
    })
    .await?;
    stack.gate.save_application("bench").await?;
    let wide = wide();
    let before = Counted::now(&stack).await?;
    let mut lasted = Vec::new();
    for _ in 0..RUNS {
        let id = stack.gate.start_ad_hoc(&wide).await?;
        let ended = stack.gate.wait_for_execution(&id, PATIENCE).await?;
        ensure!(
            ended["status"] == "SUCCEEDED",
            "{id} ended {}",
            ended["status"]
        );
        lasted.push(time(&ended, "endTime")? - time(&ended, "startTime")?);
    }
    lasted.sort_unstable();
    let after = Counted::now(&stack).await?;
    let (conflicts, commits) = (
        after.conflicts - before.conflicts,
        after.commits - before.commits,
    );
    let share = count(conflicts) / count(commits);
    let middle = lasted.get(RUNS / 2).context("no run")?;
    Ok(vec![Row::new(
        what,
        "≤ 0.1",
        format!("{share:.3} ({conflicts} of {commits} in {RUNS} runs; one takes {middle} ms)"),
    )])
}

fn wide() -> Value {
    let variable = |id: &str, after: &[&str]| {
        let variables = json!({"variables": [{"key": "two", "value": "${1 + 1}"}]});
        stage("evaluateVariables", id, id, after, variables)
    };
    let branches: Vec<String> = (1..=WIDTH).map(|number| format!("b{number}")).collect();
    let mut stages = vec![variable("root", &[])];
    stages.extend(branches.iter().map(|branch| variable(branch, &["root"])));
    let all: Vec<&str> = branches.iter().map(String::as_str).collect();
    stages.push(variable("join", &all));
    pipeline("bench", "Wide", &stages)
}

/// What all orchestrators counted so far.
struct Counted {
    conflicts: usize,
    commits: usize,
}

impl Counted {
    async fn now(stack: &Stack) -> Result<Self> {
        let mut all = Self {
            conflicts: 0,
            commits: 0,
        };
        for number in 0..ORCHESTRATORS {
            let socket = stack
                .data
                .join(format!("run/orchestrator-{number}.admin.sock"));
            let text = Client::socket(&socket)
                .get("/metrics")
                .await?
                .expect(200)?
                .text();
            let of = |name: &str| -> Result<usize> {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                let value = line.with_context(|| format!("no {name}"))?;
                value.trim().parse().context("no number")
            };
            all.conflicts += of("engine_commit_conflicts_total ")?;
            all.commits += of("engine_commits_total ")?;
        }
        Ok(all)
    }
}
