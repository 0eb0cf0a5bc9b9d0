//! What the page computes, by its own tests, which need Node, and what it shows in a browser, which
//! needs Chromium too.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fake::Gate;

/// Whether there is a Node that can do what is asked of it; says why not.
fn has_node() -> bool {
    let Ok(version) = Command::new("node").arg("--version").output() else {
        println!("skipped: node is not installed");
        return false;
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
    }
    major >= 20
}

/// Where Chromium is; says that it is not there.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        println!("skipped: chromium is not installed");
    }
    found
}

#[test]
fn the_pages_own_tests_pass() {
    let web = concat!(env!("CARGO_MANIFEST_DIR"), "/web/");
    if !has_node() {
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

/// The page of application `a` in a browser, and what an expression becomes in it.
struct Browser {
    gate: Gate,
    url: String,
    program: PathBuf,
}

impl Browser {
    /// None where there is no browser.
    async fn open() -> Option<Self> {
        let program = chromium().filter(|_| has_node())?;
        let gate = Gate::up();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/ui/?application=a",
            listener.local_addr().unwrap()
        );
        let (http, shutdown) = (gate.router(), gate.shutdown.clone());
        tokio::spawn(gateway::serve(listener, http, None, shutdown));
        Some(Self { gate, url, program })
    }

    /// Opens the page, and waits until the expression is neither null nor undefined. With `PAGE_PICTURES`
    /// a picture of the page goes into that folder.
    async fn see(&self, name: &str, expression: &str) -> Value {
        let profile = tempfile::tempdir().unwrap();
        let mut node = tokio::process::Command::new("node");
        node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser.mjs"))
            .arg(&self.program)
            .arg(profile.path())
            .args([&self.url, expression]);
        if let Some(folder) = std::env::var_os("PAGE_PICTURES") {
            node.arg(PathBuf::from(folder).join(format!("{name}.png")));
        }
        let output = node.kill_on_drop(true).output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Two versions of a cluster: the old one and a canary, as they are told.
fn canary() -> Vec<Value> {
    let group = |number: u64, tag: &str, up: u64| {
        let name = format!("a-v{number:03}");
        let instances: Vec<Value> = (1..=up)
            .map(|n| {
                json!({"id": format!("{name}-{n}"), "healthState": "Up",
                       "availabilityZone": format!("host-{n}")})
            })
            .collect();
        json!({"name": name, "account": "k8s", "region": "local", "cluster": "a",
               "application": "a", "cloudProvider": "local", "createdTime": number,
               "instances": instances, "loadBalancers": ["lb"], "capacity": {"desired": up},
               "instanceCounts": {"up": up, "total": up}, "weight": if number == 0 { 90 } else { 10 },
               "buildInfo": {"docker": {"tag": tag}}})
    };
    vec![group(0, "1", 3), group(1, "2", 1)]
}

/// A minute of them: what each is sent in each second.
fn minute(sent: impl Fn(usize) -> (u64, u64)) -> Value {
    let seconds = |own: fn((u64, u64)) -> u64| -> Vec<Value> {
        let second = |at| {
            let (old, new) = sent(at);
            let (one, all) = (own((old, new)), old + new);
            let share = (one * 1000 + all / 2).checked_div(all).unwrap_or(0);
            json!({"sent": one, "share": share, "ok": one, "clientError": 0, "serverError": 0,
                   "ownError": 0, "retries": 0, "p50Us": 900, "p99Us": 4000, "inFlight": 0})
        };
        (0..60).map(second).collect()
    };
    let series = |group: &str, seconds: Vec<Value>| json!({"loadBalancer": "lb", "group": group, "seconds": seconds});
    json!({"live": null, "history": {"untilS": 1, "series": [
        series("a-v000", seconds(|(old, _)| old)), series("a-v001", seconds(|(_, new)| new)),
    ]}})
}

/// The versions' shares as they are written, and how high each is drawn in the band of 38.
const SHARES: &str = "const words = [...document.querySelectorAll('[data-testid=share]')].map((e) => e.textContent); \
     const heights = [...document.querySelectorAll('svg.shares path')].map((p) => Math.round(p.getBBox().height * 10) / 10);";

#[tokio::test]
async fn a_browser_shows_what_share_of_requests_each_version_gets_and_follows_it() {
    let Some(browser) = Browser::open().await else {
        return;
    };
    let peers = browser.gate.peers.clone();
    peers.deployed(
        canary(),
        minute(|at| if at % 2 == 0 { (92, 8) } else { (88, 12) }),
    );
    let follow = async {
        let end = Instant::now() + Duration::from_secs(50);
        // The page has drawn the first answers when it asks once more.
        while peers.calls("get_traffic").len() < 5 {
            assert!(Instant::now() < end, "the page does not ask for traffic");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        peers.deployed(canary(), minute(|_| (50, 50)));
    };
    let both = format!(
        "(() => {{ {SHARES} if (!words.length) return null; window.first ??= [words, heights]; \
         return words[0].endsWith('50 %') ? [window.first, [words, heights]] : null; }})()"
    );
    let (seen, ()) = tokio::join!(browser.see("shares", &both), follow);
    let words = |two: [&str; 2]| json!(two.map(|word| format!("version {word}")));
    assert_eq!(seen[0][0], words(["2: 10 %", "1: 90 %"]));
    let heights: Vec<f64> = serde_json::from_value(seen[0][1].clone()).unwrap();
    // Of a tenth, moved a little by the bars' own differences.
    assert!((3.0..5.5).contains(&heights[0]), "{heights:?}");
    assert!((33.5..36.5).contains(&heights[1]), "{heights:?}");
    assert_eq!(seen[1], json!([words(["2: 50 %", "1: 50 %"]), [19, 19]]));
}

#[tokio::test]
async fn a_browser_shows_no_share_of_nothing() {
    let Some(browser) = Browser::open().await else {
        return;
    };
    let shown = format!(
        "(() => {{ {SHARES} const box = document.querySelector('[data-testid=shares]'); \
         return box && {{ words, heights, text: box.textContent }}; }})()"
    );
    browser.gate.peers.deployed(canary(), minute(|_| (0, 0)));
    let seen = browser.see("no-shares", &shown).await;
    assert_eq!(seen["words"], json!([]));
    assert_eq!(seen["heights"], json!([]));
    let text = seen["text"].as_str().unwrap();
    assert!(
        text.contains("no request was sent") && !text.contains('%'),
        "{text}"
    );

    // One that was sent a while ago is told with its age, and drawn where it was.
    let once = minute(|at| if at == 29 { (3, 1) } else { (0, 0) });
    browser.gate.peers.deployed(canary(), once);
    let seen = browser.see("a-while-ago", &shown).await;
    assert_eq!(seen["words"], json!(["version 2: 25 %", "version 1: 75 %"]));
    let text = seen["text"].as_str().unwrap();
    assert!(text.ends_with("30 s ago"), "{text}");
}
