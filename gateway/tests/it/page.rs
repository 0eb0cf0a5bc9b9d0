//! What the page computes, by its own tests; they need Node.

use std::process::Command;

#[test]
fn the_pages_own_tests_pass() {
    let web = concat!(env!("CARGO_MANIFEST_DIR"), "/web/");
    let Ok(version) = Command::new("node").arg("--version").output() else {
        println!("skipped: node is not installed");
        return;
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let major: u32 = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0);
    if major < 20 {
        println!("skipped: node {version} has no test runner of ours, 20 or later has");
        return;
    }
    // Node takes the page's scripts for modules only when it is told so.
    let output = Command::new("node")
        .args(["--test", "--experimental-default-type=module"])
        .arg(format!("{web}view.test.mjs"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
}

#[tokio::test]
async fn metrics_are_shown_to_who_is_logged_in() {
    let gate = crate::fake::Gate::up();
    let shown = gate.get("/metrics").await;
    assert_eq!(shown.text(), "executions 1\n");
    let guarded = crate::identity::Guarded::with(&[("ann", "dev")]);
    assert_eq!(guarded.gate.get("/metrics").await.status, 401);
    assert_eq!(
        guarded.asked("ann", "GET", "/metrics", "").await.status,
        200
    );
}
