//! Messages that are lost, and put again by what the state says.

use orchestrator_core::hydrate::Hydration;
use orchestrator_core::testing::{ToyCatalog, execution};
use orchestrator_core::{Execution, ExecutionId, Status, Target, TaskResult};
use serde_json::{Value, json};

use crate::runner::Runner;

/// Puts the messages that the state asks for, if it can be told what they are.
fn hydrate(runner: &mut Runner) -> bool {
    let execution = runner.execution();
    let found = Hydration::of(&execution, &ToyCatalog);
    let Some(found) = found.filter(Hydration::can_apply) else {
        return false;
    };
    let effects = found.effects(&execution);
    runner.apply(&Target::Execution(ExecutionId::new("E")), effects);
    true
}

/// A worker has one of its tasks, or the task's answer waits to be handled.
fn is_held(execution: &Execution) -> bool {
    let mut tasks = execution.stages.iter().flat_map(|stage| &stage.tasks);
    tasks.any(|task| task.in_flight)
}

fn pipelines() -> Vec<Value> {
    let stage = |kind: &str, id: &str, after: &[&str], mut more: Value| {
        for (key, value) in [
            ("type", json!(kind)),
            ("refId", json!(id)),
            ("requisiteStageRefIds", json!(after)),
        ] {
            more[key] = value;
        }
        more
    };
    let nested = |more: Value| {
        json!([
            stage("plain", "1", &[], json!({"tasks": 2})),
            stage("nested", "2", &["1"], more),
            stage("plain", "3", &["1"], json!({})),
            stage("plain", "4", &["2", "3"], json!({})),
        ])
    };
    let mut all = vec![
        nested(json!({"before": 2, "after": 2, "tasks": 2})),
        nested(json!({"before": 2, "onFailure": 2, "tasks": 3})),
        nested(json!({"before": 1, "after": 2, "onFailure": 1, "continuePipeline": true})),
        nested(json!({"after": 1, "failPipeline": false})),
        json!([
            stage("broken", "1", &[], json!({})),
            stage("plain", "2", &["1"], json!({}))
        ]),
        json!([
            stage("broken", "1", &[], json!({"continuePipeline": true})),
            stage("plain", "2", &["1"], json!({})),
        ]),
    ];
    let skipped = json!({"stageEnabled": {"type": "expression", "expression": "false"}});
    all.push(json!([
        stage("plain", "1", &[], skipped),
        stage("plain", "2", &["1"], json!({}))
    ]));
    all
}

/// Each with a task of a stage that fails, or with none; every task has to be asked twice.
fn runs() -> Vec<(Value, &'static str)> {
    let fails = ["none", "2", "3", "2<1", "2<2", "2>1", "2>2"];
    let of = |stages: Value| fails.map(|fails| (stages.clone(), fails));
    pipelines().into_iter().flat_map(of).collect()
}

fn begun(stages: &Value, fails: &'static str) -> Runner {
    let mut asked = std::collections::BTreeMap::new();
    Runner::new(execution(stages)).answering(move |run, execution| {
        let times = asked.entry(run.effect_id.clone()).or_insert(0);
        *times += 1;
        let stage = execution.stage(&run.stage_id).unwrap();
        Ok(TaskResult::status(match *times {
            1 => Status::Running,
            _ if stage.ref_id.as_str() == fails => Status::Terminal,
            _ => Status::Succeeded,
        }))
    })
}

/// What became of it, and how often each stage's tasks ran.
fn outcome(runner: Runner) -> (String, Vec<String>) {
    let runner = runner.end();
    let mut ran = runner.ran.clone();
    ran.sort_unstable();
    (runner.summary(), ran)
}

fn over(execution: &Execution) -> bool {
    execution.status.is_complete()
}

#[test]
fn whatever_was_lost_whenever_it_ends_as_it_would_have() {
    let mut ends = std::collections::BTreeSet::new();
    for (stages, fails) in runs() {
        let expected = outcome(begun(&stages, fails));
        ends.insert(expected.0.clone());
        for step in 1.. {
            let mut runner = begun(&stages, fails);
            let handled = (0..step).all(|_| runner.step());
            if !handled || over(&runner.execution()) {
                break;
            }
            runner.lose();
            assert_eq!(runner.waiting(), 0, "by itself nothing goes on");
            let held = is_held(&runner.execution());
            assert_eq!(hydrate(&mut runner), !held, "{fails} {step} {stages:#}");
            if !held {
                let (summary, _) = outcome(runner);
                // How far another branch came when one failed depends on when it was asked again.
                let told = |summary: &str| match fails {
                    "none" => summary.to_owned(),
                    _ => summary.rsplit(' ').next().unwrap().to_owned(),
                };
                let (found, expected) = (told(&summary), told(&expected.0));
                assert_eq!(found, expected, "{fails} {step} {stages:#}");
            }
        }
    }
    assert!(ends.len() > 10, "{ends:#?}");
}

#[test]
fn nothing_changes_for_one_that_lost_nothing() {
    for (stages, fails) in runs() {
        let expected = outcome(begun(&stages, fails));
        let mut runner = begun(&stages, fails);
        let mut hydrated = 0;
        while runner.step() {
            hydrated += u32::from(hydrate(&mut runner));
        }
        assert!(hydrated > 0);
        assert_eq!(outcome(runner), expected, "{fails} {stages:#}");
    }
}
