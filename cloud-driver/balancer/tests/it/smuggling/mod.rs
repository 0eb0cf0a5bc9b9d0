//! Nothing is smuggled through the balancer: bytes made to be read in two ways are sent to it and to
//! nginx. What arrives behind it must have one reading for the strictest reader there is, and what it
//! accepts and nginx does not must stand in `allowed.rs`, with the reason.
//!
//! `SMUGGLING_CASES` says how many cases are made by chance, `SMUGGLING_SEED` from which seed.

mod allowed;
mod cases;
mod compare;
mod framings;
mod heads;
mod judge;
mod mutate;
mod naive;
mod nginx;
mod recorder;
mod strict;
mod trial;

use std::sync::Arc;

use serde_json::json;

use crate::stand::{Stand, config};
use allowed::ALLOWED;
use cases::Case;
use compare::{Difference, Kind};
use judge::{Both, Judged};
use mutate::Chance;
use naive::Naive;
use recorder::{Recorder, SMUGGLED};
use trial::Side;

/// Cases by chance, unless it is said otherwise.
const CASES: u64 = 6_000;

/// Cases tried before what they showed is looked at.
const BATCH: u64 = 2_000;

/// Findings that are made smaller and shown.
const SHOWN: usize = 5;

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| {
        let number = text.parse();
        number.unwrap_or_else(|e| panic!("{name}: \"{text}\" is no number: {e}"))
    })
}

/// A balancer with a recorder behind it, and the side of it.
async fn balancer(control: Option<&str>) -> (Stand, Side) {
    let recorder = Recorder::start().await;
    // One worker: what it answers somebody else tells that it has come by.
    let stand = Stand::with(&["--workers", "1"], control).await;
    let instance = json!({"id": "i", "address": recorder.address.to_string(), "role": "serve"});
    let group = json!({"name": "g", "weight": 1, "instances": [instance]});
    stand.serve(&config(&[group])).await;
    let proxy = stand.address;
    (stand, Side { proxy, recorder })
}

fn raws(cases: &[Case]) -> Vec<Arc<[u8]>> {
    cases.iter().map(|case| case.raw.clone()).collect()
}

/// Fails when something was found, with the least that shows it.
async fn none_found(both: &Both, found: Vec<Difference>, cases: &[Case]) {
    if found.is_empty() {
        return;
    }
    let mut text = format!("{} findings that nothing explains\n", found.len());
    for difference in found.into_iter().take(SHOWN) {
        let case = cases.iter().find(|case| case.raw == difference.raw);
        let name = case.map_or("by chance", |case| case.name.as_str());
        let least = both.least(difference).await;
        text.push_str(&format!("--- {name}\n{least}\n"));
    }
    panic!("{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_known_way_of_smuggling_works_and_every_leniency_has_a_reason() {
    let (_stand, ours) = balancer(None).await;
    let both = Both::start(ours).await;
    let cases = cases::all();
    let Judged {
        explained,
        found,
        agreed,
    } = both.judge(&raws(&cases)).await;
    none_found(&both, found, &cases).await;
    // Or the test would be content with a balancer that answers nobody.
    assert!(agreed > cases.len() / 5, "{agreed} of {}", cases.len());
    if both.has_nginx() {
        for (entry, met) in ALLOWED.iter().zip(explained) {
            println!("{met:4} {}: {}", entry.what, entry.reason);
            assert!(met > 0, "no case needs the entry any more: {}", entry.what);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chance_finds_no_way_of_smuggling() {
    let (_stand, ours) = balancer(None).await;
    let both = Both::start(ours).await;
    let cases = cases::all();
    let seed = number("SMUGGLING_SEED", 1);
    let mut left = number("SMUGGLING_CASES", CASES);
    println!("SMUGGLING_SEED={seed} SMUGGLING_CASES={left}");
    let (mut chance, mut tried) = (Chance::new(seed), 0);
    while left > 0 {
        let count = left.min(BATCH);
        let batch: Vec<_> = (0..count)
            .map(|_| mutate::next(&mut chance, &cases))
            .collect();
        let judged = both.judge(&batch).await;
        left -= count;
        tried += count;
        let explained: usize = judged.explained.iter().sum();
        println!(
            "{tried} cases, of the last {count}: {} agreed, {explained} explained",
            judged.agreed
        );
        none_found(&both, judged.found, &cases).await;
    }
}

/// Whether a case written by hand is among what was found.
fn is_found(found: &[Difference], name: &str, kind: fn(&Kind) -> bool) -> bool {
    let case = cases::all().into_iter().find(|case| case.name == name);
    let raw = case.unwrap_or_else(|| panic!("no such case: {name}")).raw;
    found.iter().any(|d| d.raw == raw && kind(&d.kind))
}

fn is_ambiguous(kind: &Kind) -> bool {
    matches!(kind, Kind::Ambiguous(_))
}

#[cfg(feature = "controls")]
fn is_accepted(kind: &Kind) -> bool {
    matches!(kind, Kind::Accepted(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_careless_proxy_is_found_out() {
    let recorder = Recorder::start().await;
    let naive = Naive::start(recorder.address).await;
    let proxy = naive.address;
    let both = Both::start(Side { proxy, recorder }).await;
    let found = both.judge_quickly(&raws(&cases::all())).await.found;
    for name in [
        "length: Content-Length: 40\\r\\nTransfer-Encoding: chunked",
        "length: Content-Length: 5\\r\\nContent-Length: 40",
        "length: Content-Length: 5\\r\\nTransfer-Encoding: xchunked",
        "line: X: 1\\r\\n 2",
        "line: X: 1\\rY: 2",
        "line: X: a\\x00b",
        "host: Host: t\\r\\nHost: u",
        "host: Host: a b",
        "first line: GET /case#part HTTP/1.1",
    ] {
        assert!(is_found(&found, name, is_ambiguous), "{name}");
    }
    let smuggled = |d: &&Difference| d.ours.faults.iter().any(|what| what.starts_with(SMUGGLED));
    let reached = found.iter().filter(smuggled).count();
    assert!(
        reached > 0,
        "nothing was smuggled through a proxy that smuggles"
    );
}

/// Without the balancer's own look at heads, each of its refusals is missed.
#[cfg(feature = "controls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_refusals_heads_with_two_readings_arrive() {
    let (_stand, ours) = balancer(Some("lenient-heads")).await;
    let both = Both::start(ours).await;
    let found = both.judge_quickly(&raws(&cases::all())).await.found;
    for name in [
        "first line: GET * HTTP/1.1",
        "first line: GET http://u@other/case HTTP/1.1",
        "host: Host: t\\r\\nHost: u",
        "host: Host: a b",
    ] {
        assert!(is_found(&found, name, is_ambiguous), "{name}");
    }
    if both.has_nginx() {
        for name in [
            "first line: GET t:80 HTTP/1.1",
            "host: X: no host",
            "host: Host: ..",
            "length: Transfer-Encoding: gzip, chunked",
            "length: Transfer-Encoding: chunked\\r\\nTransfer-Encoding: chunked",
        ] {
            assert!(is_found(&found, name, is_accepted), "{name}");
        }
    }
}
