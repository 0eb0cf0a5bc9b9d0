//! The shim with real processes.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use instance::{Answer, EXIT, Exit, Ids, LAUNCH, LOG, Launch, Request, SOCKET, STATE};

const SHIM: &str = env!("CARGO_BIN_EXE_instance");

fn order(command: &[&str]) -> Launch {
    Launch {
        token: "secret".into(),
        command: command.iter().map(ToString::to_string).collect(),
        environment: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        working_folder: None,
        root: None,
        user: None,
        grace_ms: 5_000,
        restart: false,
        max_files: None,
        time_limit_ms: None,
        log_bytes: None,
    }
}

fn launch(folder: &Path, launch: &Launch) -> (bool, String) {
    std::fs::write(folder.join(LAUNCH), serde_json::to_vec(launch).unwrap()).unwrap();
    run(folder)
}

fn run(folder: &Path) -> (bool, String) {
    let done = Command::new(SHIM).arg("run").arg(folder).output().unwrap();
    (
        done.status.success(),
        String::from_utf8_lossy(&done.stderr).into_owned(),
    )
}

fn ask(folder: &Path, request: &Request) -> Answer {
    let mut stream = UnixStream::connect(folder.join(SOCKET)).unwrap();
    writeln!(stream, "{}", serde_json::to_string(request).unwrap()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

fn state(folder: &Path) -> Answer {
    ask(
        folder,
        &Request::State {
            token: "secret".into(),
            port: None,
        },
    )
}

fn stop(folder: &Path, grace_ms: u64) {
    ask(
        folder,
        &Request::Stop {
            token: "secret".into(),
            grace_ms: Some(grace_ms),
        },
    );
}

/// Waits for a condition of the world outside, at most ten seconds.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within ten seconds: {what}");
        std::thread::yield_now();
    }
}

fn exit(folder: &Path) -> Exit {
    eventually("exit record", || {
        serde_json::from_slice(&std::fs::read(folder.join(EXIT)).ok()?).ok()
    })
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join(LOG)).unwrap_or_default()
}

fn is_alive(pid: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    !text[text.rfind(')').unwrap() + 1..]
        .trim_start()
        .starts_with(['Z', 'X'])
}

fn signal(folder: &Path, once: bool) -> Answer {
    ask(
        folder,
        &Request::Signal {
            token: "secret".into(),
            signal: 10,
            once,
        },
    )
}

#[test]
fn a_signal_that_is_asked_for_once_is_sent_once_however_often_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap 'echo got' USR1; echo ready; while :; do sleep 0.02; done";
    assert!(launch(folder.path(), &order(&["sh", "-c", script])).0);
    let got = |count: usize| {
        eventually("the signal", || {
            (log(folder.path()).matches("got").count() == count).then_some(())
        });
    };
    eventually("the trap", || {
        log(folder.path()).contains("ready").then_some(())
    });
    assert_eq!(signal(folder.path(), true).signals, [10]);
    got(1);
    assert_eq!(signal(folder.path(), true).signals, [10]);
    // One that may be repeated comes after it, and nothing else came before.
    signal(folder.path(), false);
    got(2);
    // As those who know nothing of `once` ask.
    let old: Request =
        serde_json::from_str(r#"{"ask":"signal","token":"secret","signal":10}"#).unwrap();
    assert_eq!(ask(folder.path(), &old).signals, [10]);
    got(3);
    stop(folder.path(), 100);
    exit(folder.path());
}

#[test]
fn an_instance_outlives_its_launcher_and_a_second_launch_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let order = order(&["sleep", "60"]);
    assert_eq!(launch(folder.path(), &order), (true, String::new()));
    let first = state(folder.path());
    assert!(first.alive);
    assert!(is_alive(first.ids.pid) && is_alive(first.ids.shim_pid));
    let kept: Ids =
        serde_json::from_slice(&std::fs::read(folder.path().join(STATE)).unwrap()).unwrap();
    assert_eq!(kept, first.ids);
    assert!(launch(folder.path(), &order).0);
    assert_eq!(state(folder.path()).ids, first.ids);
    stop(folder.path(), 5_000);
    let exit = exit(folder.path());
    assert_eq!((exit.signal, exit.asked), (Some(15), true));
    eventually("the shim's end", || {
        (!is_alive(first.ids.shim_pid)).then_some(())
    });
    assert!(
        launch(folder.path(), &order).0,
        "it ended; it is not started again"
    );
    assert!(!is_alive(first.ids.pid));
}

#[test]
fn what_it_writes_is_in_its_log_and_its_exit_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    launch(
        folder.path(),
        &order(&["sh", "-c", "echo out; echo err >&2; exit 7"]),
    );
    let exit = exit(folder.path());
    assert_eq!((exit.code, exit.signal, exit.asked), (Some(7), None, false));
    eventually("both lines", || {
        let log = log(folder.path());
        (log.contains("out") && log.contains("err")).then_some(())
    });
}

#[test]
fn one_that_ignores_sigterm_is_killed_after_the_grace_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; sleep 61 & setsid sleep 62 & echo $! > /proc/self/cwd/stray; echo ready; wait; wait; wait";
    let mut order = order(&["sh", "-c", script]);
    order.working_folder = Some(folder.path().to_string_lossy().into_owned());
    launch(folder.path(), &order);
    eventually("ready", || {
        log(folder.path()).contains("ready").then_some(())
    });
    let stray = std::fs::read_to_string(folder.path().join("stray")).unwrap();
    stop(folder.path(), 200);
    let exit = exit(folder.path());
    assert_eq!((exit.signal, exit.asked), (Some(9), true));
    eventually("the end of what left its group", || {
        (!is_alive(stray.trim().parse().unwrap())).then_some(())
    });
}

#[test]
fn the_stop_order_completes_although_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    launch(
        folder.path(),
        &order(&[
            "sh",
            "-c",
            "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done",
        ]),
    );
    eventually("ready", || {
        log(folder.path()).contains("ready").then_some(())
    });
    stop(folder.path(), 60_000);
    assert_eq!(exit(folder.path()).code, Some(3));
}

#[test]
fn a_program_that_is_not_there_is_an_exit_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (ok, said) = launch(folder.path(), &order(&["/no/such/program"]));
    assert!(!ok && said.contains("/no/such/program"), "{said}");
    assert!(
        exit(folder.path())
            .failure
            .unwrap()
            .contains("/no/such/program")
    );
}

#[test]
fn a_wrong_token_and_nonsense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    launch(folder.path(), &order(&["sleep", "60"]));
    let answer = ask(
        folder.path(),
        &Request::Stop {
            token: "x".into(),
            grace_ms: None,
        },
    );
    assert!(answer.error.unwrap().contains("token"));
    let mut stream = UnixStream::connect(folder.path().join(SOCKET)).unwrap();
    writeln!(stream, "hello").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.contains("not understood"));
    assert!(state(folder.path()).alive);
    stop(folder.path(), 1_000);
    exit(folder.path());
}

#[test]
fn one_to_be_kept_up_is_started_again_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut order = order(&["sleep", "60"]);
    order.restart = true;
    launch(folder.path(), &order);
    let first = state(folder.path()).ids;
    let pid = rustix::process::Pid::from_raw(i32::try_from(first.pid).unwrap()).unwrap();
    // Alive for a moment only, so the second start waits a second.
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let second = eventually("a second life", || {
        let answer = state(folder.path());
        (answer.restarts == 1 && answer.alive).then_some(answer)
    });
    assert_ne!(second.ids.pid, first.pid);
    assert!(!folder.path().join(EXIT).exists());
    stop(folder.path(), 1_000);
    assert!(exit(folder.path()).asked);
}

#[test]
fn one_to_be_kept_up_that_left_with_0_meant_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut order = order(&["sleep", "0.2"]);
    order.restart = true;
    launch(folder.path(), &order);
    let exit = exit(folder.path());
    assert_eq!((exit.code, exit.asked), (Some(0), false));
}

#[test]
fn what_began_a_session_of_its_own_ends_too_and_nothing_is_left_unreaped() {
    let folder = tempfile::tempdir().unwrap();
    // Two generations that left the group, and one that is nobody's child but the shim's when it ends.
    let script = "setsid sh -c 'sleep 1000 & wait' & (setsid true &); exec sleep 1000";
    launch(folder.path(), &order(&["sh", "-c", script]));
    let shim = state(folder.path()).ids.shim_pid;
    let sleepers = || -> Vec<u32> {
        let of = |pid: &u32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            text.starts_with("sleep\u{0}1000") && is_below(*pid, shim)
        };
        processes().filter(of).collect()
    };
    let both = eventually("both sleep", || {
        Some(sleepers()).filter(|found| found.len() == 2)
    });
    eventually("nothing is left unreaped", || {
        let zombie = |pid: &u32| is_below(*pid, shim) && !is_alive(*pid);
        (!processes().any(|pid| zombie(&pid))).then_some(())
    });
    stop(folder.path(), 1_000);
    exit(folder.path());
    eventually("all have ended", || {
        both.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
}

#[test]
fn the_last_lines_are_there_when_the_exit_is() {
    for _ in 0..50 {
        let folder = tempfile::tempdir().unwrap();
        launch(folder.path(), &order(&["sh", "-c", "echo last; exit 3"]));
        assert_eq!(exit(folder.path()).code, Some(3));
        assert_eq!(log(folder.path()), "last\n");
    }
}

#[test]
fn an_instance_may_open_as_many_files_as_its_order_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut order = order(&["sh", "-c", "ulimit -n"]);
    order.max_files = Some(333);
    launch(folder.path(), &order);
    exit(folder.path());
    eventually("the limit is told", || {
        (log(folder.path()) == "333\n").then_some(())
    });
}

/// Ids of all processes.
fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether a process descends from another.
fn is_below(pid: u32, ancestor: u32) -> bool {
    let parent = |pid: u32| -> Option<u32> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let rest = &text[text.rfind(')')? + 1..];
        rest.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    std::iter::successors(parent(pid), |pid| parent(*pid)).any(|pid| pid == ancestor)
}

#[test]
fn many_launches_at_once_start_one_instance() {
    let folder = tempfile::tempdir().unwrap();
    let order = order(&["sh", "-c", "echo started; exec sleep 60"]);
    let order = serde_json::to_vec(&order).unwrap();
    std::fs::write(folder.path().join(LAUNCH), order).unwrap();
    std::thread::scope(|scope| {
        let launches: Vec<_> = (0..8).map(|_| scope.spawn(|| run(folder.path()))).collect();
        for launch in launches {
            assert_eq!(launch.join().unwrap(), (true, String::new()));
        }
    });
    assert!(state(folder.path()).alive);
    stop(folder.path(), 1_000);
    exit(folder.path());
    assert_eq!(log(folder.path()), "started\n");
}

#[test]
fn a_port_counts_only_for_the_process_that_listens_on_it() {
    let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = foreign.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    launch(folder.path(), &order(&["sleep", "60"]));
    let request = Request::State {
        token: "secret".into(),
        port: Some(port),
    };
    assert_eq!(ask(folder.path(), &request).listens, Some(false));
    stop(folder.path(), 1_000);
    exit(folder.path());
}

#[test]
fn a_root_folder_is_entered_where_that_is_allowed() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: entering a root folder needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("hello"), "from inside").unwrap();
    for file in ["usr/bin", "bin", "lib", "lib64"] {
        std::fs::create_dir_all(root.path().join(file)).unwrap();
    }
    // busybox is one static file where it is installed; without it this says so.
    let Some(busybox) = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|p| Path::new(p).exists())
    else {
        println!("skipped: busybox is not installed");
        return;
    };
    std::fs::copy(busybox, root.path().join("bin/busybox")).unwrap();
    let mut order = order(&["/bin/busybox", "cat", "/hello"]);
    order.root = Some(root.path().to_owned());
    assert!(launch(folder.path(), &order).0);
    assert_eq!(exit(folder.path()).code, Some(0));
    assert_eq!(log(folder.path()), "from inside");
}

#[test]
fn one_that_runs_too_long_is_ended_with_its_group_and_the_record_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let order = Launch {
        time_limit_ms: Some(100),
        grace_ms: 100,
        ..order(&[
            "sh",
            "-c",
            "trap '' TERM; sleep 61 & echo child $!; wait; wait",
        ])
    };
    assert!(launch(folder.path(), &order).0);
    let exit = exit(folder.path());
    assert!(exit.timed_out && !exit.asked, "{exit:?}");
    let child = log(folder.path()).trim()["child ".len()..].parse().unwrap();
    eventually("the group's end", || (!is_alive(child)).then_some(()));
}

#[test]
fn one_that_ends_in_time_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let order = Launch {
        time_limit_ms: Some(60_000),
        ..order(&["sh", "-c", "exit 3"])
    };
    assert!(launch(folder.path(), &order).0);
    let exit = exit(folder.path());
    assert_eq!(
        (exit.code, exit.timed_out, exit.asked),
        (Some(3), false, false)
    );
}
