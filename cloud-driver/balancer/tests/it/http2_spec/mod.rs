//! HTTP/2 as RFC 9113 and RFC 7541 want it: a client that writes frames byte by byte does what h2spec
//! does, and some more, over TCP and over TLS, and looks at what comes back.
//!
//! Cases are data: `script.rs` says what may be expected, the others list what is sent.

mod allowed;
mod definitions;
mod downgrade;
mod fields;
mod frames;
mod generic;
mod hpack;
mod messages;
mod program;
mod representations;
mod script;
mod starting;
mod streams;
mod windows;
mod wire;
mod wrong;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::stand::{self, config, group, with_listeners};
use crate::tls::Front;
use crate::tls_client::TlsClient;
use allowed::ALLOWED;
use script::{Case, Pace, Shows};
use wire::Wire;
use wrong::{Server, Wrong};

/// Longest wait for a frame of the balancer: what is expected comes at once, unless others are busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same of a server that is wrong: silence is what is expected.
const IMPATIENCE: Duration = Duration::from_millis(300);

/// Cases at the same time, so that each is over soon on a machine that has other things to do.
const BESIDE: usize = 16;

const NAME: &str = "spec.test";

/// Cases for whatever speaks HTTP/2, as h2spec has them under this name.
const GENERIC: &[&[Case]] = &[generic::CASES, representations::CASES];

/// Cases of RFC 9113.
const HTTP2: &[&[Case]] = &[
    starting::CASES,
    streams::CASES,
    definitions::CASES,
    windows::CASES,
    messages::CASES,
];

/// Cases of RFC 7541.
const HPACK: &[&[Case]] = &[hpack::CASES];

/// What h2spec does not ask: it knows of no instances.
const DOWNGRADE: &[&[Case]] = &[downgrade::CASES];

fn all() -> impl Iterator<Item = &'static Case> {
    let groups = [GENERIC, HTTP2, HPACK, DOWNGRADE].into_iter();
    groups.flatten().copied().flatten()
}

/// A balancer whose instance answers with a few bytes.
struct Target {
    front: Front,
    instance: Backend,
}

impl Target {
    async fn start() -> Self {
        let (front, _) = Front::start(&[&[NAME]], json!({})).await;
        // Bodies of several bytes: windows are tried with fewer.
        let instance = Backend::start("conformance").await;
        instance.read_chunks();
        let instances = [stand::instance("spec", &instance, "serve")];
        let groups = [group("g", 1, &instances)];
        let config = with_listeners(config(&groups), &[front.listener(1)]);
        front.stand.serve(&config).await;
        Self { front, instance }
    }

    fn plain(&self) -> SocketAddr {
        self.front.stand.address
    }

    fn secure(&self) -> SocketAddr {
        self.front.address
    }
}

/// A way to a server.
#[derive(Clone)]
struct Way {
    address: SocketAddr,
    tls: Option<TlsClient>,
    pace: Pace,
    patience: Duration,
    beside: usize,
}

impl Way {
    /// Runs a case; what went wrong.
    async fn run(self, case: &'static Case) -> Result<(), String> {
        let is_expected = is_allowed(&case.to_string());
        let patience = if is_expected {
            IMPATIENCE
        } else {
            self.patience
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (wire, scheme) = match self.tls {
            Some(client) => {
                let stream = client.over(stream, NAME).await.unwrap();
                (Wire::new(stream, patience), "https")
            }
            None => (Wire::new(stream, patience), "http"),
        };
        case.run(wire, scheme, self.pace).await
    }
}

/// Those of some cases that fail, each with what was seen.
async fn failing(
    way: &Way,
    cases: impl IntoIterator<Item = &'static Case>,
) -> Vec<(&'static Case, String)> {
    let places = Arc::new(Semaphore::new(way.beside));
    let mut running = JoinSet::new();
    for case in cases {
        let (way, places) = (way.clone(), places.clone());
        running.spawn(async move {
            let _place = places.acquire().await.unwrap();
            (case, way.run(case).await)
        });
    }
    let ended = running.join_all().await.into_iter();
    ended
        .filter_map(|(case, result)| Some((case, result.err()?)))
        .collect()
}

/// Fails with a list of the cases that the balancer fails, but those that are allowed, and of those
/// that need not be allowed. The target, after all of them.
async fn none_fails(groups: &[&'static [Case]]) -> Target {
    let target = Target::start().await;
    let tls = target.front.authority.client().speaking(&["h2"]);
    let (plain, secure) = ((target.plain(), None), (target.secure(), Some(tls)));
    let mut text = String::new();
    for (address, tls) in [plain, secure] {
        for pace in [Pace::AtOnce, Pace::Apart] {
            let over = if tls.is_some() { "TLS" } else { "TCP" };
            let way = Way {
                address,
                tls: tls.clone(),
                pace,
                patience: PATIENCE,
                beside: BESIDE,
            };
            let failing = failing(&way, groups.iter().copied().flatten()).await;
            for case in groups.iter().copied().flatten() {
                let name = case.to_string();
                let seen = failing.iter().find(|(one, _)| std::ptr::eq(*one, case));
                let line = match (seen, is_allowed(&name)) {
                    (Some((_, seen)), false) => seen,
                    (None, true) => "need not be allowed any more",
                    (Some(_), true) | (None, false) => continue,
                };
                text.push_str(&format!("{name}, over {over}, {pace:?}: {line}\n"));
            }
        }
    }
    assert!(text.is_empty(), "these fail:\n{text}");
    target
}

fn is_allowed(name: &str) -> bool {
    ALLOWED.iter().any(|allowed| allowed.case == name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_server_takes_is_taken() {
    none_fails(GENERIC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_spoken_as_its_rfc_says() {
    none_fails(HTTP2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_cannot_be_decoded_end_the_connection() {
    none_fails(HPACK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_something_else_in_http1_is_refused_and_does_not_arrive() {
    let target = none_fails(DOWNGRADE).await;
    let seen = target.instance.seen();
    assert!(!seen.is_empty(), "two of the cases arrive");
    for request in seen {
        assert!(
            ["GET / HTTP/1.1", "POST / HTTP/1.1"].contains(&request.line.as_str()),
            "{request:?}"
        );
        assert_eq!(request.header("host"), Some(NAME), "{request:?}");
        assert_eq!(request.header("x-other"), None, "{request:?}");
    }
}

#[test]
fn what_is_allowed_names_a_case_and_a_reason() {
    for allowed in ALLOWED {
        println!("{}: {}", allowed.case, allowed.reason);
        let mut cases = all().map(ToString::to_string);
        assert!(cases.any(|case| case == allowed.case), "{}", allowed.case);
    }
}

#[test]
fn the_cases_are_as_many_as_h2spec_has_and_named_apart() {
    let count = |groups: &[&[Case]]| groups.iter().map(|cases| cases.len()).sum::<usize>();
    // Of ours, a field of the dynamic table and a preface that is nearly one are no cases of h2spec.
    assert_eq!(
        (count(GENERIC), count(HTTP2), count(HPACK)),
        (44 + 1, 95 + 1, 7)
    );
    for groups in [GENERIC, HTTP2, HPACK, DOWNGRADE] {
        let cases = groups.iter().copied().flatten();
        let mut names: Vec<_> = cases.map(ToString::to_string).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|two| two[0] == two[1]);
        assert_eq!(twice, None);
    }
}

/// Those of some cases that a wrong server fails.
async fn failing_of(
    wrong: Wrong,
    patience: Duration,
    cases: impl Iterator<Item = &'static Case>,
) -> Vec<String> {
    let server = Server::start(wrong).await;
    let way = Way {
        address: server.address,
        tls: None,
        pace: Pace::AtOnce,
        patience,
        beside: Semaphore::MAX_PERMITS,
    };
    let failing = failing(&way, cases).await;
    failing.iter().map(|(case, _)| case.to_string()).collect()
}

/// Fails unless all of these cases are among those that failed.
fn all_fail(failing: &[String], shows: impl Fn(Shows) -> bool) {
    let passed = all()
        .filter(|case| shows(case.shows()))
        .map(ToString::to_string)
        .filter(|name| !failing.contains(name));
    assert_eq!(passed.collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_server_that_takes_everything_fails_what_is_to_be_refused() {
    let failing = failing_of(Wrong::Lenient, IMPATIENCE, all()).await;
    all_fail(&failing, |shows| shows == Shows::Refusal);
    // Its answers are answers: it fails for what it does not refuse.
    let answered = ["8.1 GET", "6.7 PING", "6.5.3 SETTINGS are acknowledged"];
    let answered = all().filter(|case| answered.contains(&case.to_string().as_str()));
    let failing = failing_of(Wrong::Lenient, PATIENCE, answered).await;
    assert_eq!(failing, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_server_that_closes_at_once_fails_what_is_to_be_taken() {
    let failing = failing_of(Wrong::Closing, IMPATIENCE, all()).await;
    let first = "3.5 the first frame of a server is SETTINGS";
    let greets = ["3.5 the preface", first];
    let failing = [failing, greets.map(str::to_owned).to_vec()].concat();
    all_fail(&failing, |shows| shows == Shows::Acceptance);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_server_that_says_nothing_fails_everything() {
    let failing = failing_of(Wrong::Mute, IMPATIENCE, all()).await;
    all_fail(&failing, |_| true);
}
