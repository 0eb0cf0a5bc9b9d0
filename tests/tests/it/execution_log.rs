//! `gennaker execution`: the event log of an execution, exported, folded and checked, wherever it is kept.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::fixture::{pipeline, stage};
use tests::{Setup, Stack, program};

use crate::first_pipeline::backends;

const SOON: Duration = Duration::from_secs(20);

async fn execution(arguments: &[&str]) -> Result<String, String> {
    let gennaker = program::path("gennaker").unwrap();
    let all = ["execution"].iter().chain(arguments);
    let ran = program::run(&gennaker, all).await;
    ran.map_err(|error| format!("{error:#}"))
}

/// An execution that ended, after a judgment.
async fn ended(stack: &Stack) -> String {
    let gate = &stack.gate;
    gate.save_application("logged").await.unwrap();
    let variables = json!({"variables": [{"key": "who", "value": "${trigger.parameters.who}"}]});
    let stages = [
        stage("evaluateVariables", "Name it", "1", &[], variables),
        stage("manualJudgment", "Ask", "2", &["1"], json!({})),
        stage("wait", "Rest", "3", &["2"], json!({"waitTime": 1})),
    ];
    let definition = pipeline("logged", "Logged", &stages);
    gate.save_pipeline(&definition).await.unwrap();
    let trigger = json!({"type": "manual", "parameters": {"who": "w\u{f6}rld"}});
    let id = gate.start("logged", "Logged", &trigger).await.unwrap();
    let ask = gate
        .wait_for_stage(&id, "2", "RUNNING", SOON)
        .await
        .unwrap();
    gate.judge(&id, &ask, "continue").await.unwrap();
    let execution = gate.wait_for_execution(&id, SOON).await.unwrap();
    assert_eq!(execution["status"], "SUCCEEDED");
    id
}

fn whole(told: &str, entries: usize) {
    let wanted = format!(
        "{entries} entries are whole, {entries} hashes are equal, {entries} entries were decided again"
    );
    assert!(
        told.contains(&wanted) && told.lines().count() == 1,
        "{told}"
    );
}

#[tokio::test]
async fn a_log_is_verified_from_a_running_stack_a_file_and_a_stopped_one() {
    for backend in backends() {
        let mut stack = Stack::up(Setup {
            backend,
            ..Setup::default()
        })
        .await
        .unwrap();
        let id = ended(&stack).await;
        let data = stack.data.display().to_string();
        let served = stack.gate.execution(&id).await.unwrap();

        // Of a running stack, by way of its REST interface.
        let exported = execution(&["export", &id, "--data", &data]).await.unwrap();
        let entries = exported.lines().count() - 1;
        let verified = execution(&["replay", &id, "--data", &data, "--verify"]).await;
        whole(&verified.unwrap(), entries);
        let last = execution(&["replay", &id, "--data", &data]).await.unwrap();
        let last: Value = serde_json::from_str(&last).unwrap();
        assert_eq!(last, served, "the last entry leads to what is served");
        let first = execution(&["replay", &id, "--data", &data, "--to", "1"]).await;
        let first: Value = serde_json::from_str(&first.unwrap()).unwrap();
        assert_eq!(
            (&first["id"], &first["status"]),
            (&json!(id), &json!("RUNNING"))
        );
        let beyond = (entries + 1).to_string();
        let beyond = execution(&["replay", &id, "--data", &data, "--to", &beyond]).await;
        let beyond = beyond.unwrap_err();
        assert!(
            beyond.contains(&format!("entries are 1 to {entries}")),
            "{beyond}"
        );
        let unknown = execution(&["replay", "none", "--data", &data])
            .await
            .unwrap_err();
        assert!(unknown.contains("404"), "{unknown}");

        // Of a file; the one byte that is changed is told by its entry.
        let file = stack.folder().unwrap().join("log.jsonl");
        of_file(&file, &id, &exported).await;

        // Of a store that nobody serves.
        stack.stop().await.unwrap();
        let mut arguments = vec!["replay", &id, "--data", &data, "--verify"];
        let redis = stack.redis.as_ref().map(tests::redis::Redis::url);
        if let Some(redis) = &redis {
            let refused = execution(&arguments).await.unwrap_err();
            assert!(
                refused.contains("nothing runs on") && refused.contains("--redis"),
                "{refused}"
            );
            arguments.extend(["--redis", redis]);
        }
        whole(&execution(&arguments).await.unwrap(), entries);
    }
}

async fn of_file(file: &Path, id: &str, exported: &str) {
    let path = file.display().to_string();
    let entries = exported.lines().count() - 1;
    std::fs::write(file, exported).unwrap();
    let verified = execution(&["replay", "--file", &path, "--verify"]).await;
    whole(&verified.unwrap(), entries);
    let other = execution(&["replay", "other", "--file", &path])
        .await
        .unwrap_err();
    assert!(
        other.contains(&format!("of execution {id}, not of other")),
        "{other}"
    );

    let start = exported.find('\n').unwrap() + 1;
    let body = exported.len() - start;
    for part in 0..12 {
        // Inside a character is no text any more; that is told before anything else.
        let at = start + body * part / 12 + 3;
        let mut bytes = exported.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
        std::fs::write(file, &bytes).unwrap();
        let entry = exported[..at].matches('\n').count();
        let fault = execution(&["replay", "--file", &path, "--verify"]).await;
        let fault = fault.unwrap_err();
        assert!(
            fault.contains(&format!("entry {entry} ")),
            "byte {at}: {fault}"
        );
    }
    // One that was cut off.
    let cut = exported.trim_end().rfind('\n').unwrap();
    std::fs::write(file, &exported[..=cut]).unwrap();
    let fault = execution(&["replay", "--file", &path]).await.unwrap_err();
    let wanted = format!("the log ends with entry {} of {entries}", entries - 1);
    assert!(fault.contains(&wanted), "{fault}");
}
