//! Routes by host pattern, path, method and headers.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::http2_client::Http2;
use crate::stand::{Stand, config, group, instance};

/// Load balancers `a`, `b`, …, one instance each.
fn balancers(backends: &[(&str, &Backend)]) -> Vec<Value> {
    let one = |(name, backend): &(&str, &Backend)| json!({"name": name, "groups": [group("g", 1, &[instance(name, backend, "serve")])]});
    backends.iter().map(one).collect()
}

#[tokio::test]
async fn the_route_that_says_most_about_a_request_gets_it() {
    let (a, b, c) = (
        Backend::start("any").await,
        Backend::start("pattern").await,
        Backend::start("beta").await,
    );
    let stand = Stand::start().await;
    let beta = json!([{"name": "X-Beta", "prefix": "yes"}]);
    let config = json!({
        "routes": [
            {"path": "/", "loadBalancer": "any"},
            {"host": "*.shop.test", "path": "/", "loadBalancer": "pattern"},
            {"host": "*.shop.test", "path": "/", "methods": ["GET"], "headers": beta,
             "loadBalancer": "beta", "name": "beta"},
        ],
        "loadBalancers": balancers(&[("any", &a), ("pattern", &b), ("beta", &c)]),
    });
    stand.serve(&config).await;
    for (line, headers, expected) in [
        ("GET /x", &[("host", "other.test")][..], "any"),
        ("GET /x", &[("host", "shop.test")], "any"),
        ("GET /x", &[("host", "De.Shop.Test:81")], "pattern"),
        (
            "GET /x",
            &[("host", "de.shop.test"), ("x-beta", "yes, please")],
            "beta",
        ),
        (
            "POST /x",
            &[("host", "de.shop.test"), ("x-beta", "yes")],
            "pattern",
        ),
        (
            "GET /x",
            &[("host", "de.shop.test"), ("x-beta", "no")],
            "pattern",
        ),
    ] {
        let answer = stand.ask(line, headers, b"").await.unwrap();
        assert_eq!(answer.text(), expected, "{line} {headers:?}");
    }
    // The client's host is shop.test itself: no pattern stands for it.
    let client = Http2::open(stand.address).await;
    let answer = client.ask("GET", "/x", &[("x-beta", "yes")], b"").await;
    assert_eq!(answer.unwrap().text(), "any");
}

#[tokio::test]
async fn faults_of_routes_are_told_with_their_paths() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    let mut faulty = config(&[group("g", 1, &[instance("a", &backend, "serve")])]);
    faulty["routes"][0]["headers"] = json!([{"name": "x", "exact": "1", "present": true}]);
    faulty["routes"][0]["limits"] = json!({"maxInFlight": 0});
    let answer = stand.put("\"*\"", 1, &faulty).await;
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.json()["faults"],
        json!([
            "routes[0].headers[0]: 2 of exact, prefix, present and absent are given; give one",
            "routes[0].limits.maxInFlight: 0 lets nothing through; leave it out for no limit",
        ])
    );
}
