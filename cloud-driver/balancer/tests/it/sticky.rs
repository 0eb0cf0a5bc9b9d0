//! Clients that stay with an instance.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::client::Answer;
use crate::http2_client::Http2;
use crate::stand::{Stand, config, group, instance};

fn sticky(groups: &[Value]) -> Value {
    let mut config = config(groups);
    config["loadBalancers"][0]["sticky"] = json!({"cookie": "sid", "ttlSeconds": 60});
    config
}

/// One group of `a` and `b` with these roles.
fn pair(a: (&Backend, &str), b: (&Backend, &str)) -> Value {
    let instances = [instance("a", a.0, a.1), instance("b", b.0, b.1)];
    sticky(&[group("g", 1, &instances)])
}

/// `sid=…` of an answer that sets it.
fn cookie(answer: &Answer) -> Option<String> {
    let line = answer.header("set-cookie")?;
    let (cookie, attributes) = line.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
    let value = cookie.strip_prefix("sid=").unwrap();
    let is_opaque = value.len() == 16 && value.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(is_opaque, "{value}");
    Some(cookie.to_owned())
}

async fn ask(stand: &Stand, cookie: &str) -> Answer {
    let cookies = format!("theme=dark; {cookie}");
    stand
        .ask("GET /x", &[("cookie", &cookies)], b"")
        .await
        .unwrap()
}

/// Gets a cookie of this instance.
async fn cookie_of(stand: &Stand, name: &str) -> String {
    for _ in 0..50 {
        let answer = stand.get("/x").await;
        if answer.text() == name {
            return cookie(&answer).unwrap();
        }
    }
    panic!("{name} was never chosen");
}

#[tokio::test]
async fn a_client_stays_with_its_instance_whichever_worker_or_process_answers() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut stand = Stand::with(&["--workers", "4"], None).await;
    stand.serve(&pair((&a, "serve"), (&b, "serve"))).await;
    let (of_a, of_b) = (cookie_of(&stand, "a").await, cookie_of(&stand, "b").await);
    assert_ne!(of_a, of_b);
    for step in ["at first", "handed over", "killed"] {
        match step {
            "handed over" => drop(stand.replace().await),
            "killed" => stand.kill_and_restart().await,
            _ => {}
        }
        for _ in 0..12 {
            for (cookies, name) in [(&of_a, "a"), (&of_b, "b")] {
                let answer = ask(&stand, cookies).await;
                assert_eq!(answer.text(), name, "{step}");
                assert_eq!(cookie(&answer), None, "it knows");
            }
        }
        let client = Http2::open(stand.address).await;
        for _ in 0..4 {
            let headers = [("cookie", "theme=dark"), ("cookie", of_b.as_str())];
            let answer = client.ask("POST", "/x", &headers, b"body").await.unwrap();
            assert_eq!(answer.text(), "b", "{step}");
            assert!(answer.headers.get("set-cookie").is_none());
        }
    }
    // Tunnels stay too, and are told.
    let upgrade = [("connection", "upgrade"), ("upgrade", "echo")];
    let tunnel = stand.ask("GET /tunnel", &upgrade, b"").await.unwrap();
    assert_eq!(tunnel.status, 101);
    let of_tunnel = cookie(&tunnel).unwrap();
    let before = (a.count("/tunnel"), b.count("/tunnel"));
    let headers = [upgrade[0], upgrade[1], ("cookie", &of_tunnel)];
    for _ in 0..4 {
        let tunnel = stand.ask("GET /tunnel", &headers, b"").await.unwrap();
        assert_eq!((tunnel.status, cookie(&tunnel)), (101, None));
    }
    let after = (a.count("/tunnel"), b.count("/tunnel"));
    assert_eq!(
        (after.0 - before.0) * (after.1 - before.1),
        0,
        "one got all four"
    );
}

#[tokio::test]
async fn an_instance_that_does_not_serve_is_left_for_another_and_a_new_cookie() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::start().await;
    let serving = pair((&a, "serve"), (&b, "serve"));
    stand.serve(&serving).await;
    let of_a = cookie_of(&stand, "a").await;
    let of_b = cookie_of(&stand, "b").await;
    // Suspended.
    a.set_sick(true);
    stand.wait("a", "suspended").await;
    let answer = ask(&stand, &of_a).await;
    assert_eq!(
        (answer.text(), cookie(&answer)),
        ("b".into(), Some(of_b.clone()))
    );
    // All of them are: then each keeps its own.
    b.set_sick(true);
    stand.wait("b", "suspended").await;
    for _ in 0..4 {
        assert_eq!(ask(&stand, &of_a).await.text(), "a");
        assert_eq!(ask(&stand, &of_b).await.text(), "b");
    }
    a.set_sick(false);
    b.set_sick(false);
    stand.wait("a", "serving").await;
    stand.wait("b", "serving").await;
    // Draining: the clients that come all the time do not hold it up.
    stand.set(&pair((&a, "drain"), (&b, "serve"))).await;
    let before = a.count("/x");
    for _ in 0..4 {
        let answer = ask(&stand, &of_a).await;
        assert_eq!(
            (answer.text(), cookie(&answer)),
            ("b".into(), Some(of_b.clone()))
        );
    }
    stand.wait("a", "drained").await;
    assert_eq!(a.count("/x"), before);
    // Gone, or nonsense.
    let alone = sticky(&[group("g", 1, &[instance("b", &b, "serve")])]);
    stand.set(&alone).await;
    for cookies in [of_a.as_str(), "sid=zz", "sid=", "sid=0123456789abcdef"] {
        let answer = ask(&stand, cookies).await;
        assert_eq!(
            (answer.text(), cookie(&answer)),
            ("b".into(), Some(of_b.clone()))
        );
    }
    // A group without a share keeps nobody.
    let c = Backend::start("c").await;
    let groups = [
        group("g", 0, &[instance("b", &b, "serve")]),
        group("h", 1, &[instance("c", &c, "serve")]),
    ];
    stand.serve(&sticky(&groups)).await;
    assert_eq!(ask(&stand, &of_b).await.text(), "c");
}

#[tokio::test]
async fn clients_that_stay_do_not_disturb_how_new_ones_are_divided() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "2"], None).await;
    let groups = [
        group("g", 9, &[instance("a", &a, "serve")]),
        group("h", 1, &[instance("b", &b, "serve")]),
    ];
    stand.serve(&sticky(&groups)).await;
    let of_b = cookie_of(&stand, "b").await;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..40 {
        *counts.entry(stand.get("/x").await.text()).or_default() += 1;
        for _ in 0..3 {
            assert_eq!(ask(&stand, &of_b).await.text(), "b");
        }
    }
    assert_eq!(counts, BTreeMap::from([("a".into(), 36), ("b".into(), 4)]));
}

/// Who answers a client of an instance that drains.
pub(crate) async fn answers_for_draining(control: Option<&str>) -> String {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "1"], control).await;
    stand.serve(&pair((&a, "serve"), (&b, "serve"))).await;
    let of_a = cookie_of(&stand, "a").await;
    stand.set(&pair((&a, "drain"), (&b, "serve"))).await;
    ask(&stand, &of_a).await.text()
}

#[tokio::test]
async fn a_draining_instance_gets_nothing_from_its_clients() {
    assert_eq!(answers_for_draining(None).await, "b");
}
