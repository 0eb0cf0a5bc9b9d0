//! The same by the program that others know, where it is installed.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::process::Command;

use super::Target;

/// Seconds it waits for a frame.
const PATIENCE: &str = "5";

/// Whether it can be started.
async fn is_installed() -> bool {
    let mut command = Command::new("h2spec");
    let command = command.arg("--version");
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok()
}

/// Runs all its cases, the strict ones too.
async fn run(address: SocketAddr, more: &[&str]) {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new("h2spec");
    command.args(["generic", "http2", "hpack", "--strict", "-P", "/"]);
    command.args(["-o", PATIENCE, "-h", &host, "-p", &port]);
    let output = command.args(more).kill_on_drop(true).output();
    let output = output.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    // Or an option that it does not know would do.
    assert!(text.contains(" 0 failed"), "{text}{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_finds_nothing() {
    if !is_installed().await {
        println!("skipped: h2spec is not installed");
        return;
    }
    let target = Target::start().await;
    run(target.plain(), &[]).await;
    run(target.secure(), &["-t", "-k"]).await;
}
