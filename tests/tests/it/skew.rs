//! Two versions on one store, one after the other and both at once: whatever one began ends under the other as
//! if nobody had changed anything, and nothing outside happens twice.
//!
//! The other version is the product of the commit that `tests/fixtures/previous` names; `make skew` builds it.
//! Without `GENNAKER_PREVIOUS_DIR` the stories are skipped.

mod work;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tests::redis::Fsync;
use tests::replicas;
use tests::sink::Sink;
use tests::{Backend, Setup, Stack, gate, program};
use tokio::sync::watch;

use crate::processes::{patient, require_once};
use work::{Outcome, Work};

/// Anything ends within this time.
const DEADLINE: Duration = Duration::from_secs(120);

/// The folder of the other version's programs.
fn previous() -> Option<PathBuf> {
    let folder = std::env::var_os("GENNAKER_PREVIOUS_DIR").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: GENNAKER_PREVIOUS_DIR names no previous version; make skew builds it");
    }
    folder
}

/// How a version is taken away.
#[derive(Debug, Clone, Copy)]
enum End {
    /// By SIGTERM, as an upgrade does it.
    Stopped,
    /// By `kill -9`.
    Killed,
}

/// Replaces the control plane by another version.
async fn change(stack: &mut Stack, end: End, to: &Path) {
    match end {
        End::Stopped => {
            stack.stop().await.unwrap();
        }
        End::Killed => stack.kill().await.unwrap(),
    }
    stack.programs(to);
    stack.start().await.unwrap();
}

/// Everything that runs and waits is begun under one version and ended under the next, three changes long:
/// so each of the two takes over from the other.
async fn one_after_the_other(end: End) {
    let Some(previous) = previous() else { return };
    let current = program::folder().unwrap();
    let sink = Sink::start().await.unwrap();
    let mut stack = Stack::up(Setup {
        backend: Backend::Redis(Fsync::Always),
        configuration: Some("orchestrator: {archive: {after: 2s, within: 3s}}\n".to_owned()),
        arguments: vec!["--egress-allow".to_owned(), sink.address()],
        programs: Some(previous.clone()),
        ..Setup::default()
    })
    .await
    .unwrap();
    stack
        .gate
        .save_application(work::APPLICATION)
        .await
        .unwrap();
    let work = Work::define(&stack, &sink).await;
    let undisturbed = work.begin(&stack, "undisturbed").await;
    let expected: Outcome = work.finish(&stack, &undisturbed).await;
    work::require_expected(&expected);
    let mut begun = vec![undisturbed];
    for (number, version) in [&current, &previous, &current].into_iter().enumerate() {
        let tag = format!("change-{}", number + 1);
        let open = work.begin(&stack, &tag).await;
        change(&mut stack, end, version).await;
        let outcome = work.finish(&stack, &open).await;
        assert_eq!(outcome, expected, "{tag}");
        begun.push(open);
        work.require_definitions(&stack, &tag).await;
        // What either version began and ended, logged and archived is read by this one.
        for begun in &begun {
            begun.require_readable(&stack).await;
        }
    }
    let (executions, effects) = work.require_once(&begun);
    println!(
        "{end:?}: {executions} executions over 3 changes of version, {effects} effects, each under one key"
    );
    stack.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_version_began_ends_under_the_other_that_was_started_after_it() {
    one_after_the_other(End::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_version_began_ends_under_the_other_that_was_started_after_its_kill() {
    one_after_the_other(End::Killed).await;
}

/// Starts an execution now and then until told to end.
async fn start_many(port: u16, ending: watch::Receiver<bool>) -> (Vec<String>, Vec<String>) {
    let gate = gate::Gate::port(port);
    let (mut started, mut failures) = (Vec::new(), Vec::new());
    while !*ending.borrow() {
        match gate
            .start("shop", "patient", &json!({"type": "manual"}))
            .await
        {
            Ok(id) => started.push(id),
            Err(error) => failures.push(format!("{error:#}")),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    (started, failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_both_versions_work_side_by_side_while_one_replaces_the_other() {
    let Some(previous) = previous() else { return };
    let current = program::folder().unwrap();
    let sink = Sink::start().await.unwrap();
    let installed = tempfile::tempdir().unwrap();
    program::install(&current, installed.path()).unwrap();
    let arguments = ["--processes", "--replicas", "2", "--egress-allow"];
    let mut arguments: Vec<String> = arguments.map(ToOwned::to_owned).to_vec();
    arguments.push(sink.address());
    let mut stack = Stack::up(Setup {
        backend: Backend::Redis(Fsync::Always),
        arguments,
        programs: Some(installed.path().to_owned()),
        ..Setup::default()
    })
    .await
    .unwrap();
    stack.gate.save_application("shop").await.unwrap();
    stack.gate.save_pipeline(&patient(&sink)).await.unwrap();
    let (stop, ending) = watch::channel(false);
    let starter = tokio::spawn(start_many(stack.port, ending));
    let data = stack.data.display().to_string();
    let supervisor = stack.pid().unwrap();
    let running = || -> Vec<i32> { replicas::of(supervisor).into_values().flatten().collect() };
    for version in [&previous, &current, &previous, &current] {
        let before = running();
        program::install(version, installed.path()).unwrap();
        let printed = program::run(&current.join("gennaker"), ["restart", "--data", &data])
            .await
            .unwrap();
        assert!(printed.contains("every process was replaced"), "{printed}");
        // Each runs what was installed last.
        let wanted = std::fs::metadata(installed.path().join("gennaker")).unwrap();
        let after = running();
        assert!(after.iter().all(|pid| !before.contains(pid)));
        for pid in &after {
            let runs = std::fs::metadata(format!("/proc/{pid}/exe")).unwrap();
            assert_eq!(
                runs.len(),
                wanted.len(),
                "process {pid} is of another version"
            );
        }
    }
    stop.send(true).unwrap();
    let (ids, failures) = starter.await.unwrap();
    assert_eq!(failures, [""; 0]);
    for id in &ids {
        let execution = stack.gate.wait_for_execution(id, DEADLINE).await.unwrap();
        let outline = gate::outline(&execution);
        assert_eq!(execution["status"], "SUCCEEDED", "{outline}");
    }
    require_once(&sink, ids.len(), 4);
    println!(
        "{} executions while 2 replicas of each service were replaced 4 times",
        ids.len()
    );
    assert!(ids.len() > 10);
    stack.down().await.unwrap();
}
