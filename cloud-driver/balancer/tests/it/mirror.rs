//! Copies of requests for another load balancer.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::backend::Backend;
use crate::http2_backend::Http2Backend;
use crate::http2_client::Http2;
use crate::stand::{Stand, eventually, group, instance};

/// A route to `a` with a mirror, with these groups behind it.
fn mirrored(a: &Backend, copies: Value, mirror: Value) -> Value {
    json!({
        "routes": [{"path": "/", "loadBalancer": "a", "mirror": mirror}],
        "loadBalancers": [
            {"name": "a", "groups": [group("g", 1, &[instance("a", a, "serve")])]},
            {"name": "b", "groups": [copies]},
        ],
    })
}

fn of(b: &Backend) -> Value {
    group("h", 1, &[instance("b", b, "serve")])
}

fn all() -> Value {
    json!({"loadBalancer": "b", "percent": 100})
}

async fn until(stand: &Stand, figures: &[(&str, u64)]) {
    eventually("the copies are counted", async || {
        let route = stand.state().await["routes"][0].clone();
        match figures.iter().all(|(name, count)| route[*name] == *count) {
            true => Ok(()),
            false => Err(route),
        }
    })
    .await;
}

async fn arrived(backend: &Backend, path: &str, count: usize) {
    eventually("they have arrived", async || match backend.count(path) {
        seen if seen == count => Ok(()),
        seen => Err(seen),
    })
    .await;
}

/// What went wrong with requests, of which copies are none.
async fn is_clean(stand: &Stand) {
    let state = stand.state().await;
    for name in ["retries", "notRepeated", "ownErrors"] {
        assert_eq!(state[name], 0, "{name}");
    }
}

#[tokio::test]
async fn the_other_load_balancer_gets_a_copy_and_its_answer_goes_nowhere() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::start().await;
    stand.serve(&mirrored(&a, of(&b), all())).await;
    let body = vec![7; 100_000];
    let headers = [("host", "shop.test"), ("x-mine", "1")];
    assert_eq!(
        stand.ask("GET /x?y=1", &headers, b"").await.unwrap().text(),
        "a"
    );
    let answer = stand.ask("POST /length", &headers, &body).await.unwrap();
    assert_eq!(answer.text(), "100000");
    let client = Http2::open(stand.address).await;
    let headers = [("content-length", "5")];
    let answer = client
        .ask("PUT", "/length", &headers, b"hello")
        .await
        .unwrap();
    assert_eq!(answer.text(), "5");
    until(&stand, &[("mirrored", 3), ("mirrorFailed", 0)]).await;
    let (own, copies) = (a.seen(), b.seen());
    assert_eq!(own.len(), 3);
    for seen in &own {
        assert_eq!(seen.header("x-mirrored"), None);
        let copy = copies.iter().find(|copy| copy.line == seen.line).unwrap();
        assert_eq!(copy.header("x-mirrored"), Some("1"));
        for name in [
            "host",
            "x-mine",
            "content-length",
            "x-forwarded-for",
            "x-forwarded-host",
        ] {
            assert_eq!(copy.header(name), seen.header(name), "{name}");
        }
    }
    // A copy is not copied again.
    let headers = [("x-mirrored", "1")];
    stand.ask("GET /x", &headers, b"").await.unwrap();
    is_clean(&stand).await;
    assert!((stand.metric("balancer_mirrored_total").await - 3.0).abs() < 0.1);
    let counted = stand.metric("balancer_requests_total").await;
    assert!(
        (counted - 4.0).abs() < 0.1,
        "copies are no requests: {counted}"
    );
    assert_eq!(b.seen().len(), 3);
}

#[tokio::test]
async fn as_many_are_copied_as_the_percentage_says() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "1"], None).await;
    let some = json!({"loadBalancer": "b", "percent": 30});
    stand.serve(&mirrored(&a, of(&b), some)).await;
    for _ in 0..40 {
        stand.get("/x").await;
    }
    until(&stand, &[("mirrored", 12)]).await;
}

#[tokio::test]
async fn a_copy_that_hangs_or_fails_changes_nothing_and_no_more_hang_than_may() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "2"], None).await;
    let two = json!({"loadBalancer": "b", "percent": 100, "maxInFlight": 2});
    stand.serve(&mirrored(&a, of(&b), two.clone())).await;
    a.release(5);
    for _ in 0..5 {
        assert_eq!(stand.get("/hold").await.text(), "a", "while its copy hangs");
    }
    until(&stand, &[("mirrorFull", 3), ("mirrored", 0)]).await;
    arrived(&b, "/hold", 2).await;
    // It is in flight, and a drain waits for it.
    let draining = group("h", 1, &[instance("b", &b, "drain")]);
    stand.set(&mirrored(&a, draining, two.clone())).await;
    let state = stand.instance("b").await;
    assert_eq!(
        (&state["state"], &state["inFlight"]["requests"]),
        (&json!("draining"), &json!(2))
    );
    b.release(2);
    stand.wait("b", "drained").await;
    until(&stand, &[("mirrored", 2), ("mirrorFailed", 0)]).await;
    // Nobody is there.
    assert_eq!(stand.get("/x").await.text(), "a");
    until(&stand, &[("mirrorFailed", 1)]).await;
    let dead = group(
        "h",
        1,
        &[json!({"id": "c", "address": "127.0.0.1:1", "role": "serve"})],
    );
    stand.set(&mirrored(&a, dead, two)).await;
    assert_eq!(
        stand.ask("POST /x", &[], b"body").await.unwrap().text(),
        "a"
    );
    until(&stand, &[("mirrorFailed", 2)]).await;
    is_clean(&stand).await;
}

#[tokio::test]
async fn bodies_that_are_long_or_of_unknown_length_are_not_copied() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::start().await;
    stand.serve(&mirrored(&a, of(&b), all())).await;
    let most = 1024 * 1024;
    let answer = stand
        .ask("POST /length", &[], &vec![7; most])
        .await
        .unwrap();
    assert_eq!(answer.text(), most.to_string());
    let answer = stand
        .ask("POST /length", &[], &vec![7; most + 1])
        .await
        .unwrap();
    assert_eq!(answer.text(), (most + 1).to_string());
    let mut chunked = stand.connect().await;
    let headers = [("transfer-encoding", "chunked")];
    chunked.send("POST /x", &headers, b"").await.unwrap();
    chunked
        .stream
        .write_all(b"1\r\nx\r\n0\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(chunked.receive(false).await.unwrap().text(), "a");
    until(&stand, &[("mirrored", 1), ("mirrorTooLong", 2)]).await;
    // A client that goes away within its body takes the copy with it.
    let mut torn = stand.connect().await;
    torn.send("POST /length", &[("content-length", "10")], b"")
        .await
        .unwrap();
    torn.stream.write_all(b"x").await.unwrap();
    arrived(&b, "/length", 2).await;
    drop(torn);
    until(&stand, &[("mirrorFailed", 1)]).await;
    eventually("nothing is in flight", async || {
        let state = stand.instance("b").await["inFlight"]["requests"].clone();
        if state == 0 { Ok(()) } else { Err(state) }
    })
    .await;
}

#[tokio::test]
async fn copies_are_spoken_in_what_their_group_speaks() {
    let (a, b) = (Backend::start("a").await, Http2Backend::start("b").await);
    let stand = Stand::start().await;
    let address = b.address.to_string();
    let copies = json!({
        "name": "h", "weight": 1, "protocol": "http2",
        "instances": [{"id": "b", "address": address, "role": "serve"}],
        "health": {"intervalMs": 50, "warmIntervalMs": 10},
    });
    stand.serve(&mirrored(&a, copies, all())).await;
    let headers = [("host", "shop.test")];
    let answer = stand.ask("POST /x", &headers, b"hello").await.unwrap();
    assert_eq!(answer.text(), "a");
    until(&stand, &[("mirrored", 1)]).await;
    let seen = b.seen().remove(0);
    assert_eq!(
        (seen.method.as_str(), seen.uri.as_str()),
        ("POST", "http://shop.test/x")
    );
    assert_eq!(seen.headers["x-mirrored"], "1");
}
