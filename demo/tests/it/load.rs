//! The load generator counts right, and names what fails. The last tests are its controls: a service
//! that cuts, refuses or answers wrongly must be noticed.

use std::io::{BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tokio_tungstenite::tungstenite;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::process::{Server, line_with};

fn start(url: &str, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["--url", url])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs to the end; the lines it printed and whether it was content.
fn finish(mut child: Child) -> (Vec<Value>, bool) {
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (lines, child.wait().unwrap().success())
}

fn number(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
}

#[test]
fn every_kind_is_answered_and_the_sums_agree() {
    let server = Server::start(&[("VERSION", "5")]);
    let record = tempfile::NamedTempFile::new().unwrap();
    let path = record.path().to_str().unwrap();
    let load = start(
        &server.url(),
        &[
            "--rate",
            "100",
            "--duration",
            "2",
            "--mix",
            "get=30,new=10,post=20,slow=10,upload=10,http2=10,grpc=5,socket=5",
            "--slow-ms",
            "300",
            "--upload-ms",
            "200",
            "--stream-ms",
            "500",
            "--socket-ms",
            "500",
            "--record",
            path,
        ],
    );
    let (lines, content) = finish(load);
    assert!(content, "{lines:?}");
    let summary = lines.last().unwrap();
    assert_eq!(number(summary, "failed"), 0);
    assert_eq!(number(summary, "started"), number(summary, "answered"));
    assert_eq!(number(summary, "inFlight"), 0);
    assert_eq!(
        number(&summary["versions"], "5"),
        number(summary, "answered")
    );
    for (kind, counts) in summary["kinds"].as_object().unwrap() {
        assert!(number(counts, "answered") > 0 || kind == "big", "no {kind}");
    }
    assert!(number(&summary["kinds"]["slow"], "p50Us") >= 300_000);
    // 100 a second over the time it says it took; the ends may fall either way.
    let expected = number(summary, "milliseconds") / 10;
    let started = number(summary, "started");
    assert!(started.abs_diff(expected) <= 10, "not the rate: {summary}");
    let recorded = std::fs::read_to_string(record.path()).unwrap();
    assert_eq!(recorded.lines().count() as u64, number(summary, "finished"));
}

#[test]
fn fifty_mebibytes_are_one_request() {
    let server = Server::start(&[]);
    let load = start(
        &server.url(),
        &[
            "--rate",
            "1",
            "--mix",
            "big=1",
            "--duration",
            "1",
            "--big-ms",
            "700",
        ],
    );
    let (lines, content) = finish(load);
    assert!(content, "{lines:?}");
    let big = &lines.last().unwrap()["kinds"]["big"];
    assert!(number(big, "answered") > 0);
    assert!(number(big, "p50Us") >= 600_000, "{big}");
}

/// A service that leaves a conversation at its fourth message, with or without a word, and answers all
/// of the next. What it was asked, over both.
fn leaving(with_farewell: bool) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for is_first in [true, false] {
            let (stream, _) = listener.accept().unwrap();
            let mut socket = tungstenite::accept(stream).unwrap();
            while let Ok(message) = socket.read() {
                let Message::Text(text) = message else {
                    continue;
                };
                asked.push(text.to_string());
                if is_first && text == "4" {
                    if with_farewell {
                        let away = CloseFrame {
                            code: CloseCode::Away,
                            reason: "".into(),
                        };
                        socket.close(Some(away)).unwrap();
                        while socket.read().is_ok() {}
                    }
                    break;
                }
                socket.send(format!("7 {text}").into()).unwrap();
            }
            if !with_farewell {
                break;
            }
        }
        asked
    });
    (url, thread)
}

/// One conversation; the summary and whether it went well.
fn converse(url: &str) -> (Value, bool) {
    let arguments = [
        "--rate",
        "1",
        "--mix",
        "socket=1",
        "--socket-ms",
        "800",
        "--control",
        "--progress-ms",
        "20",
    ];
    let mut load = start(url, &arguments);
    let mut lines = BufReader::new(load.stdout.take().unwrap());
    line_with(&mut lines, "\"socket\":1");
    load.stdin.take().unwrap().write_all(b"stop\n").unwrap();
    let summary = serde_json::from_str(&line_with(&mut lines, "summary")).unwrap();
    (summary, load.wait().unwrap().success())
}

#[test]
fn a_conversation_goes_on_after_a_farewell_with_the_message_that_has_no_answer() {
    let (url, service) = leaving(true);
    let (summary, content) = converse(&url);
    assert!(content, "{summary}");
    assert_eq!(number(&summary["kinds"]["socket"], "farewells"), 1);
    let asked = service.join().unwrap();
    assert_eq!(asked, ["1", "2", "3", "4", "4", "5", "6", "7", "8"]);
}

#[test]
fn control_a_conversation_that_ends_without_a_word_has_failed() {
    let (url, service) = leaving(false);
    let (summary, content) = converse(&url);
    assert!(!content, "{summary}");
    assert_eq!(number(&summary["kinds"]["socket"], "failed"), 1);
    service.join().unwrap();
}

#[test]
fn stop_on_the_control_pipe_ends_the_run_and_waits_for_answers() {
    let server = Server::start(&[]);
    let mut load = start(
        &server.url(),
        &[
            "--rate",
            "20",
            "--mix",
            "slow=1",
            "--slow-ms",
            "800",
            "--control",
            "--progress-ms",
            "100",
        ],
    );
    let mut lines = BufReader::new(load.stdout.take().unwrap());
    loop {
        let line: Value = serde_json::from_str(&line_with(&mut lines, "progress")).unwrap();
        if number(&line["inFlight"], "slow") > 2 {
            break;
        }
    }
    load.stdin.take().unwrap().write_all(b"stop\n").unwrap();
    let summary: Value = serde_json::from_str(&line_with(&mut lines, "summary")).unwrap();
    assert!(number(&summary, "answered") > 2);
    assert_eq!(number(&summary, "inFlight"), 0);
    assert!(load.wait().unwrap().success());
}

#[test]
fn control_a_killed_server_fails_requests_and_each_is_named() {
    let mut server = Server::start(&[]);
    let mut load = start(
        &server.url(),
        &[
            "--rate",
            "100",
            "--mix",
            "get=8,slow=2",
            "--control",
            "--progress-ms",
            "50",
        ],
    );
    let mut lines = BufReader::new(load.stdout.take().unwrap());
    loop {
        let line: Value = serde_json::from_str(&line_with(&mut lines, "progress")).unwrap();
        if number(&line["inFlight"], "slow") > 2 {
            break;
        }
    }
    server.child.kill().unwrap();
    let cut: Value = serde_json::from_str(&line_with(&mut lines, "was cut")).unwrap();
    assert_eq!(
        (cut["event"].as_str(), cut["kind"].as_str()),
        (Some("failed"), Some("slow"))
    );
    let refused: Value = serde_json::from_str(&line_with(&mut lines, "cannot connect")).unwrap();
    assert!(refused["number"].as_u64().is_some() && number(&refused, "start") > 0);
    load.stdin.take().unwrap().write_all(b"stop\n").unwrap();
    let summary: Value = serde_json::from_str(&line_with(&mut lines, "summary")).unwrap();
    assert!(number(&summary, "failed") >= 4);
    assert_eq!(
        number(&summary, "started"),
        number(&summary, "answered") + number(&summary, "failed")
    );
    assert!(!load.wait().unwrap().success());
}

#[test]
fn control_an_error_status_is_a_failure() {
    let server = Server::start(&[("ERROR_RATE", "0.5")]);
    let (lines, content) = finish(start(
        &server.url(),
        &["--rate", "40", "--duration", "1", "--mix", "get=1"],
    ));
    assert!(!content);
    let summary = lines.last().unwrap();
    assert_eq!(number(summary, "failed"), lines.len() as u64 - 1);
    assert!(number(summary, "failed") >= 18, "{summary}");
    assert!(lines[0]["error"].as_str().unwrap().contains("500"));
}

/// The first request of a connection is answered; the second is read and then the connection closed
/// without a word. A client that repeats would report nothing.
#[test]
fn control_a_request_lost_on_a_kept_connection_is_never_repeated() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut requests = 0;
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 2048];
            for answer in [true, false] {
                let read = stream.read(&mut buffer).unwrap();
                requests += usize::from(read > 0);
                if answer && read > 0 {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .unwrap();
                }
            }
        }
        requests
    });
    let (lines, _) = finish(start(
        &url,
        &[
            "--rate",
            "10",
            "--duration",
            "2",
            "--mix",
            "get=1",
            "--timeout",
            "1",
        ],
    ));
    assert_eq!(server.join().unwrap(), 6, "every request arrived once");
    let lost = lines
        .iter()
        .filter(|line| {
            line["error"]
                .as_str()
                .is_some_and(|error| error.contains("no answer"))
        })
        .count();
    assert_eq!(lost, 3, "{lines:?}");
}
