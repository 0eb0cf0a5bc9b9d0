//! What the server does, path by path and setting by setting.

use std::io::Read;

use crate::process::{Server, spawn};

#[test]
fn every_answer_names_the_version() {
    let server = Server::start(&[("VERSION", "7")]);
    for path in ["/", "/version", "/health", "/content", "/nowhere"] {
        assert!(server.get(path).contains("x-version: 7\r\n"), "{path}");
    }
    assert!(server.get("/").contains("<h1>Version 7</h1>"));
    assert!(server.get("/version").ends_with("\r\n\r\n7"));
}

#[test]
fn a_base_path_may_be_in_front_of_every_path() {
    let server = Server::start(&[("BASE_PATH", "/staging"), ("VERSION", "7")]);
    for path in [
        "/staging",
        "/staging/",
        "/staging/version",
        "/staging/health",
        "/health",
    ] {
        assert!(server.get(path).starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(server.get("/stagingversion").starts_with("HTTP/1.1 404"));
    assert!(
        server
            .get("/staging/version.json")
            .ends_with("\r\n\r\n{\"version\":\"7\"}\n")
    );
}

#[test]
fn content_is_the_files_bytes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "one byte differs: a").unwrap();
    let server = Server::start(&[("CONTENT_FILE", file.path().to_str().unwrap())]);
    assert!(
        server
            .get("/content")
            .ends_with("\r\n\r\none byte differs: a")
    );
}

#[test]
fn errors_come_at_the_configured_rate_and_never_on_health() {
    let server = Server::start(&[("ERROR_RATE", "0.25")]);
    let failed = (0..40)
        .filter(|_| server.get("/").starts_with("HTTP/1.1 500"))
        .count();
    assert_eq!(failed, 10);
    assert!((0..8).all(|_| server.get("/health").starts_with("HTTP/1.1 200")));
}

#[test]
fn health_is_refused_when_asked_for() {
    let server = Server::start(&[("REFUSE_HEALTH", "1")]);
    assert!(server.get("/health").starts_with("HTTP/1.1 503"));
    assert!(server.get("/").starts_with("HTTP/1.1 200"));
}

#[test]
fn sigterm_finishes_what_is_in_flight_and_accepts_nothing_new() {
    let mut server = Server::start(&[("VERSION", "1")]);
    let mut slow = server.open("/slow?ms=700");
    let mut first = [0; 12];
    slow.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    server.signal("TERM");
    server.wait_for("drains 1 connections");
    let refused = std::net::TcpStream::connect(("127.0.0.1", server.port));
    assert!(refused.is_err(), "a draining server accepted a connection");

    let mut rest = String::new();
    slow.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.matches("a piece of a slow answer").count(), 16);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_server_that_exits_on_sigterm_cuts_its_answers() {
    let mut server = Server::start(&[("ON_SIGTERM", "exit")]);
    let mut slow = server.open("/slow?ms=5000");
    let mut first = [0; 12];
    slow.read_exact(&mut first).unwrap();
    server.signal("TERM");
    server.child.wait().unwrap();
    let mut rest = Vec::new();
    let _reset = slow.read_to_end(&mut rest);
    assert!(
        String::from_utf8_lossy(&rest)
            .matches("a piece of a slow answer")
            .count()
            < 16
    );
}

#[test]
fn a_server_that_ignores_sigterm_serves_on() {
    let mut server = Server::start(&[("ON_SIGTERM", "ignore")]);
    server.signal("TERM");
    server.wait_for("ignores SIGTERM");
    assert!(server.get("/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_server_dies_at_once_with_the_configured_code() {
    let mut child = spawn(&[("EXIT_AFTER_MS", "0"), ("EXIT_CODE", "3")]);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_start_is_announced_from_outside_countable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let counter = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 512];
        let length = stream.read(&mut request).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let server = Server::start(&[("ANNOUNCE", &address), ("VERSION", "8")]);
    let expected = format!(
        "POST /started?version=8&port=0&pid={} HTTP/1.1",
        server.child.id()
    );
    assert!(counter.join().unwrap().starts_with(&expected));
}

#[test]
fn a_missing_port_is_named() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_demo-server"))
        .env_clear()
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("PORT is not set"));
}
