//! Jobs: real processes that run to their end, whatever happens to the control plane.

use std::path::Path;
use std::time::Duration;

use proto::cloud_driver::v1::{Operation, OperationState};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::world::{World, eventually};

/// A job of this script; what it appends to `starts` in the test's folder is counted.
fn script(world: &World, text: &str) -> Value {
    let folder = world.data().display();
    json!({
        "application": "shop", "imageId": "test/demo:1", "command": "/bin/sh",
        "args": ["-c", format!("cd {folder}; echo x >> starts; {text}")],
        "env": {"PATH": "/usr/bin:/bin", "WORD": "hello"},
    })
}

fn with(mut job: Value, more: Value) -> Value {
    let fields = job.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    job
}

fn status(operation: &Operation) -> Value {
    let result = operation.result.clone().unwrap().value("result").unwrap();
    result["jobStatus"].clone()
}

fn starts(folder: &Path) -> usize {
    let text = std::fs::read_to_string(folder.join("starts")).unwrap_or_default();
    text.lines().count()
}

async fn appears(world: &World, name: &str) -> String {
    let path = world.data().join(name);
    eventually(
        "the job has begun",
        Duration::from_secs(20),
        async || match std::fs::read_to_string(&path) {
            Ok(text) if text.ends_with('\n') => Ok(text.trim().to_owned()),
            other => Err(other),
        },
    )
    .await
}

/// What is left of a job: the record of its exit only.
async fn buried(world: &World, id: &str) {
    let folder = world.data().join("jobs").join(id);
    eventually("it is cleared away", Duration::from_secs(10), async || {
        let names: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        if names == ["exit.json"] {
            Ok(())
        } else {
            Err(names)
        }
    })
    .await;
}

async fn gone(pid: &str) {
    let path = format!("/proc/{pid}");
    eventually("the process is gone", Duration::from_secs(10), async || {
        if Path::new(&path).exists() {
            Err(pid.to_owned())
        } else {
            Ok(())
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_that_exits_0_succeeds_with_its_log_and_its_properties() {
    let world = World::up();
    let text = "echo checking $WORD; echo SPINNAKER_PROPERTY_Build=7=8; echo done >&2";
    let ended = world.perform("runJob", script(&world, text)).await;
    assert_eq!(ended.state(), OperationState::Succeeded, "{}", ended.error);
    let result = ended.result.clone().unwrap().value("result").unwrap();
    assert_eq!(result["properties"], json!({"build": "7=8"}));
    assert_eq!(
        result["deployedNamesByLocation"],
        json!({"local": [ended.id]})
    );
    let status = status(&ended);
    assert_eq!(
        (&status["jobState"], &status["exitCode"]),
        (&json!("Succeeded"), &json!(0))
    );
    let logs = status["logs"].as_str().unwrap();
    assert!(
        logs.contains("checking hello") && logs.contains("done"),
        "{logs}"
    );
    buried(&world, &ended.id).await;
    assert_eq!(starts(world.data()), 1);
}

#[tokio::test]
async fn a_job_that_fails_says_exit_code_and_last_line_first() {
    let world = World::up();
    let ended = world
        .perform("runJob", script(&world, "echo one; echo no answer; exit 3"))
        .await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert_eq!(ended.error, "exit code 3: no answer");
    assert_eq!(ended.error_details, ["one", "no answer"]);
    assert_eq!(status(&ended)["exitCode"], json!(3));
    assert_eq!(status(&ended)["jobState"], json!("Failed"));

    let missing = with(script(&world, ""), json!({"imageId": "test/none:1"}));
    let ended = world.perform("runJob", missing).await;
    assert!(ended.error.contains("it does not exist"), "{}", ended.error);

    let program = with(script(&world, ""), json!({"command": "/bin/there-is-none"}));
    let ended = world.perform("runJob", program).await;
    assert!(
        ended.error.contains("/bin/there-is-none"),
        "{}",
        ended.error
    );
    assert_eq!(starts(world.data()), 1);
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_ended_with_everything_it_started() {
    let world = World::up();
    let text = "trap '' TERM; sleep 62 & echo $! > child; echo slow; wait; wait";
    let limits = json!({"timeLimitSeconds": 1, "graceSeconds": 0});
    let ended = world
        .perform("runJob", with(script(&world, text), limits))
        .await;
    assert_eq!(ended.error, "it did not end within 1 s: slow");
    gone(&appears(&world, "child").await).await;
}

#[tokio::test]
async fn only_the_end_of_a_long_log_is_kept_and_secrets_are_blanked() {
    let world = World::up();
    let text = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo $TOKEN; exit 1";
    std::fs::write(world.data().join("token"), "verysecret\n").unwrap();
    let job = with(script(&world, text), json!({"maxOutputBytes": 6_000}));
    let job = with(
        job,
        json!({"env": {"PATH": "/usr/bin:/bin", "TOKEN": "secret:token"}}),
    );
    let ended = world.perform("runJob", job).await;
    assert_eq!(ended.error, "exit code 1: ********");
    let told: usize = ended.error_details.iter().map(String::len).sum();
    assert!(ended.error_details.len() > 100 && told <= 6_000, "{told}");
    assert!(!ended.error_details.iter().any(|line| line == "line 1"));
}

#[tokio::test]
async fn a_canceled_job_ends_with_its_process_group() {
    let world = World::up();
    let text = "sleep 63 & echo $! > child; wait";
    let job = script(&world, text);
    let id = world.submit("cancel/1", "runJob", &job).await.unwrap().id;
    let child = appears(&world, "child").await;
    world.cancel(&id).await;
    let ended = world.ended(&id).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(ended.error.starts_with("canceled: "), "{}", ended.error);
    gone(&child).await;
    buried(&world, &id).await;
}

#[tokio::test]
async fn a_running_job_shows_its_log_and_an_ended_one_how_it_ended() {
    let world = World::up();
    let text = "echo so far; echo > begun; while [ ! -e go ]; do sleep 0.05; done; echo all";
    let job = script(&world, text);
    let id = world.submit("shown/1", "runJob", &job).await.unwrap().id;
    appears(&world, "begun").await;
    let shown = eventually("its log is shown", Duration::from_secs(10), async || {
        let shown = world.job(&id).await.unwrap();
        if shown["logs"] == "so far" {
            Ok(shown)
        } else {
            Err(shown)
        }
    })
    .await;
    assert_eq!(shown["jobState"], "Running");
    std::fs::write(world.data().join("go"), "").unwrap();
    world.ended(&id).await;
    let shown = world.job(&id).await.unwrap();
    assert_eq!(
        (&shown["jobState"], &shown["logs"]),
        (&json!("Succeeded"), &json!("so far\nall"))
    );
    assert_eq!(
        world.job("none").await.unwrap_err().code(),
        tonic::Code::NotFound
    );

    let missing = with(script(&world, ""), json!({"imageId": "test/none:1"}));
    let ended = world.perform("runJob", missing).await;
    assert_eq!(world.job(&ended.id).await.unwrap()["jobState"], "Failed");
    let group = world
        .perform("createServerGroup", World::create("test/demo:1"))
        .await;
    assert!(world.job(&group.id).await.is_err(), "no job");
}

#[tokio::test]
async fn kills_of_the_control_plane_neither_lose_nor_repeat_a_job() {
    let mut world = World::up();
    let text = "while [ ! -e go ]; do sleep 0.05; done; echo went; exit 5";
    let job = script(&world, text);
    let id = world.submit("kills/1", "runJob", &job).await.unwrap().id;
    for life in [0, 5, 20, 60, 150, 400, 900] {
        tokio::time::sleep(Duration::from_millis(life)).await;
        world.crash();
        world.start();
        let again = world.submit("kills/1", "runJob", &job).await.unwrap();
        assert_eq!(again.id, id, "the same effect is the same operation");
    }
    appears(&world, "starts").await;
    // It ends while nobody looks.
    world.crash();
    std::fs::write(world.data().join("go"), "").unwrap();
    let exit = world.data().join("jobs").join(&id).join("exit.json");
    eventually(
        "its shim has the exit",
        Duration::from_secs(10),
        async || {
            if exit.exists() { Ok(()) } else { Err(()) }
        },
    )
    .await;
    world.start();
    let ended = world.ended(&id).await;
    assert_eq!(ended.error, "exit code 5: went");
    assert_eq!(starts(world.data()), 1, "it was started once");
    buried(&world, &id).await;
}

#[tokio::test]
async fn a_job_that_was_killed_with_its_shim_fails_and_is_not_run_again() {
    let mut world = World::up();
    let job = script(&world, "echo $$ > pid; sleep 64");
    let id = world.submit("killed/1", "runJob", &job).await.unwrap().id;
    let pid: i32 = appears(&world, "pid").await.parse().unwrap();
    world.crash();
    let state = world.data().join("jobs").join(&id).join("state.json");
    // The job may come to its first line before its shim has written down whom it started.
    let soon = Duration::from_secs(10);
    let text = eventually("its shim tells", soon, async || std::fs::read(&state)).await;
    let ids: Value = serde_json::from_slice(&text).unwrap();
    let shim = i32::try_from(ids["shimPid"].as_i64().unwrap()).unwrap();
    for pid in [shim, pid] {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    gone(&pid.to_string()).await;
    world.start();
    let ended = world.ended(&id).await;
    assert!(ended.error.contains("not known"), "{}", ended.error);
    assert!(ended.retryable);
    assert_eq!(starts(world.data()), 1);
    buried(&world, &id).await;
}

#[tokio::test]
async fn jobs_of_any_number_hold_up_no_deployment() {
    let world = World::up();
    let job = script(&world, "while [ ! -e go ]; do sleep 0.2; done");
    let mut ids = Vec::new();
    for n in 0..70 {
        let accepted = world.submit(&format!("many/{n}"), "runJob", &job).await;
        ids.push(accepted.unwrap().id);
    }
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    std::fs::write(world.data().join("go"), "").unwrap();
    for id in ids {
        assert_eq!(world.ended(&id).await.state(), OperationState::Succeeded);
    }
    assert_eq!(starts(world.data()), 70);
}

#[tokio::test]
async fn a_job_is_no_part_of_several_operations() {
    let world = World::up();
    let input = json!({"operations": [{"runJob": script(&world, "")}]});
    let refused = world.submit("several/1", "operations", &input).await;
    assert!(refused.unwrap_err().message().contains("operations[0]"));
}
