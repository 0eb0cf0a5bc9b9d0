//! What the real Orca planned and sent for deployments, and what we do: stages,
//! tasks, outputs and operations, under the provider that was recorded.
//!
//! `STRATEGY_RECORDS` names another file of records, plain or compressed.

use std::io::Read;

use orchestrator_core::{ExecutionType, StageId, command};
use serde_json::Value;

use crate::bench::{Act, Bench, Moved};

mod compare;
mod stub;

use compare::Verdict;
use stub::Stub;

/// What waits for nothing that comes is left after this, ms.
const PATIENCE: i64 = 60_000;

fn records() -> Vec<Value> {
    let own = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/strategies-visible.jsonl.gz"
    );
    let path = std::env::var("STRATEGY_RECORDS").unwrap_or_else(|_| own.to_owned());
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut decoder = flate2::read::GzDecoder::new(bytes.as_slice());
        decoder.read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn has_tag(record: &Value, tag: &str) -> bool {
    let tags = record["tags"].as_array().into_iter().flatten();
    tags.into_iter().any(|t| t == tag)
}

/// Whether an action's moment has come: a stage by refId or name, a task by name,
/// or the execution has this status.
fn has_come(bench: &Bench<Stub>, when: &Value) -> bool {
    let (Some(what), Some(status)) = (when[0].as_str(), when[1].as_str()) else {
        return true;
    };
    let execution = bench.execution();
    if what == "EXEC" {
        return execution.status.as_str() == status;
    }
    let mut stages = execution.stages.iter();
    if let Some(name) = what.strip_prefix("name:") {
        return stages.any(|s| s.name == name && s.status.as_str() == status);
    }
    if let Some(name) = what.strip_prefix("task:") {
        let mut tasks = stages.flat_map(|s| &s.tasks);
        return tasks.any(|t| t.name == name && t.status.as_str() == status);
    }
    stages.any(|s| s.ref_id.to_string() == what && s.status.as_str() == status)
}

fn perform(bench: &mut Bench<Stub>, action: &Value) {
    let user = action["user"].as_str().unwrap_or("tester").to_owned();
    let stage = action["stage"]
        .as_str()
        .or_else(|| action["when"][0].as_str());
    let stage = stage.map(|s| s.trim_start_matches("name:").to_owned());
    let now = bench.now;
    let execution = bench.execution().clone();
    let of = || -> StageId {
        let wanted = stage.clone().unwrap_or_default();
        let mut found = execution.stages.iter();
        let found = found.find(|s| s.ref_id.to_string() == wanted || s.name == wanted);
        found
            .or_else(|| execution.stages.first())
            .unwrap()
            .id
            .clone()
    };
    let effects = match action["op"].as_str().unwrap() {
        "cancel" => command::cancel(&execution, &user, action["reason"].as_str()),
        "pause" => command::pause(&execution, &user, now),
        "resume" => command::resume(&execution, &user),
        "restart" => command::restart_stage(&execution, &of(), &user),
        "world" => {
            bench.fake.merge(&action["body"]);
            return;
        }
        _ => return,
    };
    if let Ok(effects) = effects {
        bench.command(effects);
    }
}

async fn run(record: &Value) -> Bench<Stub> {
    let stub = Stub::of(&record["world"]);
    let kind = if record["endpoint"] == "/ops" {
        ExecutionType::Orchestration
    } else {
        ExecutionType::Pipeline
    };
    let mut bench = Bench::of(stub, kind, &record["post"]);
    let actions = record["actions"].as_array().cloned().unwrap_or_default();
    let mut actions = actions.into_iter().peekable();
    let mut due: Option<i64> = None;
    let end = bench.now + PATIENCE;
    let stays = record["executions"][0]["status"] == "RUNNING";
    let mut act = |_: usize, _: &orchestrator_core::TaskRun| Act::Run;
    for _ in 0..20_000 {
        if let (Some(action), None) = (actions.peek(), due)
            && has_come(&bench, &action["when"])
        {
            let delay = action["delay"].as_f64().unwrap_or(0.0);
            let delay: i64 = format!("{:.0}", delay * 1000.0).parse().unwrap();
            due = Some(bench.now + delay);
        }
        if let Some(at) = due.filter(|at| *at <= bench.now) {
            due = None;
            let action = actions.next().unwrap();
            assert!(at <= bench.now);
            perform(&mut bench, &action);
            continue;
        }
        let limit = due.or_else(|| stays.then_some(end));
        bench.fake.at(bench.now);
        match bench.step(limit, &mut act).await {
            Moved::On => {}
            Moved::To if due.is_some() => {}
            Moved::To | Moved::Idle => return bench,
        }
    }
    panic!(
        "{} never ends: {:#}",
        record["id"],
        bench.execution().to_json()
    );
}

async fn compared(record: &Value) -> Verdict {
    let bench = run(record).await;
    let recorded = &record["executions"][0];
    let recorded = recorded.get("execution").unwrap_or(recorded);
    let mut verdict = Verdict::default();
    let ours = bench.execution().to_json();
    if compare::is_refused(&ours, &mut verdict) {
        if !bench.fake.sent().is_empty() {
            verdict
                .faults
                .push("something was sent all the same".to_owned());
        }
        return verdict;
    }
    compare::execution(recorded, &ours, &mut verdict);
    // Those that its stages started.
    let whole = |e: &Value| e.get("execution").unwrap_or(e).clone();
    let children = record["executions"]
        .as_array()
        .into_iter()
        .flatten()
        .skip(1);
    let children: Vec<Value> = children.map(whole).collect();
    let own = bench.fake.children();
    if children.len() == own.len() {
        for (theirs, mine) in children.iter().zip(&own) {
            compare::execution(theirs, mine, &mut verdict);
            compare::trigger(theirs, mine, &mut verdict);
        }
    } else {
        let (mine, theirs) = (own.len(), children.len());
        verdict.faults.push(format!(
            "{mine} executions were started instead of {theirs}"
        ));
    }
    let operations = record["operations"].as_array().cloned().unwrap_or_default();
    compare::operations(&operations, &bench.fake.sent(), &mut verdict);
    verdict
}

#[tokio::test]
async fn strategy_records_are_matched() {
    let (mut matched, mut total) = (0, 0);
    let mut used: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    let mut wrong = Vec::new();
    let only = std::env::var("STRATEGY_RECORD").ok();
    for record in records() {
        let id = record["id"].as_str().unwrap_or_default();
        let is_one = record["kind"] == "strategy" && only.as_deref().is_none_or(|o| o == id);
        if !is_one || has_tag(&record, "kubernetes") {
            continue;
        }
        total += 1;
        let verdict = compared(&record).await;
        let names: Vec<&str> = verdict.improvements.iter().copied().collect();
        for name in &names {
            *used.entry(name).or_default() += 1;
        }
        if verdict.faults.is_empty() {
            matched += 1;
            println!("matched  {id} {}", names.join(", "));
        } else {
            println!("DIFFERS  {id}");
            if only.is_some() {
                println!("{:#}", run(&record).await.execution().to_json());
            }
            for fault in &verdict.faults {
                println!("           {fault}");
            }
            wrong.push(id.to_owned());
        }
    }
    println!("improvements by name:");
    for (name, why) in compare::IMPROVEMENTS {
        println!("  {name} ({} records): {why}", used.get(name).unwrap_or(&0));
    }
    println!("strategy records: {matched} of {total} matched");
    assert!(total > 0, "no record to compare");
    assert!(wrong.is_empty(), "not matched: {wrong:?}");
}
