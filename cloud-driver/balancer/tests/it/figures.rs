//! What is counted, by server group, by route and by reason, and how it is told.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::client::Connection;
use crate::prometheus::{Figures, read};
use crate::stand::{Stand, config, eventually, group, instance, soon};

impl Stand {
    /// All figures, read strictly.
    pub(crate) async fn figures(&self) -> Figures {
        let text = self.admin("GET /metrics", &[], b"").await.text();
        read(&text).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Waits until a figure has a value.
    async fn figure(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        eventually(&format!("{name} {labels:?} is {value}"), async || {
            let sum = self.figures().await.sum(name, labels);
            if (sum - value).abs() < 0.5 {
                Ok(())
            } else {
                Err(sum)
            }
        })
        .await;
    }
}

fn is(figures: &Figures, name: &str, labels: &[(&str, &str)], value: f64) {
    let sum = figures.sum(name, labels);
    assert!((sum - value).abs() < 0.5, "{name} {labels:?} is {sum}");
}

/// Two routes to one load balancer, and one to another that has no instance.
fn routed(groups: &[Value]) -> Value {
    json!({
        "routes": [
            {"host": "Shop.test", "path": "/", "loadBalancer": "all"},
            {"path": "/sub", "loadBalancer": "all"},
            {"path": "/none", "loadBalancer": "empty"},
        ],
        "loadBalancers": [
            {"name": "all", "groups": groups},
            {"name": "empty", "groups": []},
        ],
    })
}

const REQUESTS: &str = "balancer_route_requests_total";

#[tokio::test]
async fn requests_are_counted_by_route_class_and_who_answered() {
    let a = Backend::start("a").await;
    let stand = Stand::with(&["--workers", "2"], None).await;
    // Names that could break the text.
    let odd = "g\"\\\n{}";
    stand
        .serve(&routed(&[group(odd, 1, &[instance("a", &a, "serve")])]))
        .await;
    let shop = [("host", "shop.test")];
    for (line, headers, status) in [
        ("GET /x", &shop[..], 200),
        ("GET /sub/x", &[], 200),
        ("POST /sub/length", &[], 200),
        ("GET /sub/x", &[], 200),
        ("GET /500", &shop, 500),
        ("GET /none", &[], 503),
        ("GET /nowhere", &[], 404),
    ] {
        let answer = stand.ask(line, headers, b"").await.unwrap();
        assert_eq!(answer.status, status, "{line}");
    }
    let figures = stand.figures().await;
    let (shop, sub, none) = ("shop.test/", "*/sub", "*/none");
    for (route, code, method, by, value) in [
        (shop, "2xx", "read", "instance", 1.0),
        (shop, "5xx", "read", "instance", 1.0),
        (sub, "2xx", "read", "instance", 2.0),
        (sub, "2xx", "write", "instance", 1.0),
        (none, "5xx", "read", "balancer", 1.0),
    ] {
        let labels = [
            ("route", route),
            ("code", code),
            ("method", method),
            ("by", by),
        ];
        is(&figures, REQUESTS, &labels, value);
    }
    is(&figures, REQUESTS, &[], 6.0);
    is(&figures, REQUESTS, &[("load_balancer", "empty")], 1.0);
    let name = "balancer_route_request_seconds_count";
    for (route, value) in [(shop, 2.0), (sub, 3.0), (none, 0.0)] {
        is(&figures, name, &[("route", route)], value);
    }
    let of_group = [("load_balancer", "all"), ("server_group", odd)];
    is(&figures, "balancer_requests_total", &of_group, 5.0);
    is(&figures, "balancer_requests_total", &[], 7.0);
    is(&figures, "balancer_sent_total", &of_group, 5.0);
    let name = "balancer_errors_total";
    is(&figures, name, &[("error", "no_instance")], 1.0);
    is(&figures, name, &[("error", "no_route")], 1.0);
    is(&figures, name, &[], 2.0);
    is(&figures, "balancer_no_instance_total", &[], 1.0);

    // Series go with what they are about; what is left goes on.
    let mut less = routed(&[group("h", 1, &[])]);
    less["routes"].as_array_mut().unwrap().remove(0);
    stand.set(&less).await;
    let figures = stand.figures().await;
    assert_eq!(figures.of(REQUESTS, &[("route", shop)]).count(), 0);
    is(&figures, REQUESTS, &[("route", sub)], 3.0);
    let mut all = figures.samples.iter();
    assert!(all.all(|s| s.labels.get("server_group").is_none_or(|g| g != odd)));
}

#[tokio::test]
async fn what_is_under_way_is_told_by_route_to_its_very_end() {
    let a = Backend::start("a").await;
    let stand = Stand::with(&["--workers", "2"], None).await;
    stand
        .serve(&routed(&[group("g", 1, &[instance("a", &a, "serve")])]))
        .await;
    let name = "balancer_route_inflight";
    let shop = [("host", "shop.test")];
    let mut held = Vec::new();
    for path in ["GET /hold", "GET /half"] {
        let mut connection = stand.connect().await;
        connection.send(path, &shop, b"").await.unwrap();
        held.push(connection);
    }
    let mut tunnel = stand.connect().await;
    let upgrade = [
        ("host", "shop.test"),
        ("connection", "upgrade"),
        ("upgrade", "echo"),
    ];
    let answer = tunnel.ask("GET /tunnel", &upgrade, b"").await.unwrap();
    assert_eq!(answer.status, 101);
    stand.figure(name, &[("route", "shop.test/")], 3.0).await;
    stand.figure(name, &[], 3.0).await;
    let gone = "balancer_client_gone_total";
    stand.figure(gone, &[], 0.0).await;
    // One leaves before the head of its answer, one within its body.
    drop(held);
    stand.figure(name, &[], 1.0).await;
    stand.figure(gone, &[], 2.0).await;
    drop(tunnel);
    stand.figure(name, &[], 0.0).await;
    let figures = stand.figures().await;
    is(&figures, REQUESTS, &[("code", "1xx")], 1.0);
}

#[tokio::test]
async fn repeats_and_ejections_are_counted_by_reason_and_group() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "1"], None).await;
    let mut slow = group(
        "g",
        1,
        &[instance("a", &a, "serve"), instance("b", &b, "serve")],
    );
    slow["health"]["intervalMs"] = 3_600_000.into();
    stand.serve(&config(&[slow])).await;
    let figures = stand.figures().await;
    let of_group = [("load_balancer", "all"), ("server_group", "g")];
    let suspensions = "balancer_suspensions_total";
    is(&figures, suspensions, &of_group, 0.0);
    b.end().await;
    for _ in 0..20 {
        assert_eq!(stand.get("/x").await.text(), "a");
    }
    stand.wait("b", "suspended").await;
    let figures = stand.figures().await;
    let by = |reason| [of_group[0], of_group[1], ("reason", reason)];
    is(&figures, suspensions, &by("requests"), 1.0);
    is(&figures, suspensions, &by("probes"), 0.0);
    let all = figures.sum("balancer_retries_total", &[]);
    assert!(all > 2.5, "{all}");
    is(
        &figures,
        "balancer_group_retries_total",
        &by("connect"),
        all,
    );
    is(&figures, "balancer_group_retries_total", &[], all);
    is(
        &figures,
        "balancer_route_retries_total",
        &[("route", "*/")],
        all,
    );
    let sent = figures.sum("balancer_sent_total", &of_group);
    assert!((sent - 20.0).abs() < 0.5, "connected, not tried: {sent}");

    let sick = Stand::start().await;
    sick.serve(&config(&[group("g", 1, &[instance("a", &a, "serve")])]))
        .await;
    a.set_sick(true);
    sick.wait("a", "suspended").await;
    let figures = sick.figures().await;
    is(&figures, suspensions, &by("probes"), 1.0);
    is(&figures, suspensions, &by("requests"), 0.0);
}

#[tokio::test]
async fn a_repeated_request_says_why_and_a_lost_one_that_it_was() {
    let a = Backend::start("a").await;
    let stand = Stand::with(&["--workers", "1"], None).await;
    stand
        .serve(&config(&[group("g", 1, &[instance("a", &a, "serve")])]))
        .await;
    stand.get("/x").await;
    a.break_reused();
    assert_eq!(stand.get("/x").await.status, 200, "on a new connection");
    let figures = stand.figures().await;
    let closed = [("server_group", "g"), ("reason", "closed")];
    is(&figures, "balancer_group_retries_total", &closed, 1.0);
    assert_eq!(stand.get("/break").await.status, 502);
    let figures = stand.figures().await;
    let lost = [("server_group", "g"), ("error", "instance_lost")];
    is(&figures, "balancer_errors_total", &lost, 1.0);
    let own = [("server_group", "g"), ("by", "balancer"), ("code", "5xx")];
    is(&figures, "balancer_requests_total", &own, 1.0);
}

#[tokio::test]
async fn figures_can_be_read_on_a_port_of_loopback_which_the_successor_takes() {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], servers::port::free()));
    let text = address.to_string();
    let mut stand = Stand::with(&["--metrics-listen", &text], None).await;
    let ask = async |line: &'static str| {
        let stream = tokio::net::TcpStream::connect(address).await;
        drop(stream.map_err(|e| e.to_string())?);
        let mut connection = Connection::open(address).await;
        let answer = soon(line, connection.ask(line, &[], b"")).await;
        answer.map_err(|e| format!("{e:?}"))
    };
    eventually("it can be read", async || ask("GET /metrics").await).await;
    let answer = ask("GET /metrics").await.unwrap();
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    read(&answer.text()).unwrap();
    assert_eq!(ask("GET /health").await.unwrap().text(), "UP");
    for line in ["GET /v1/state", "PUT /v1/config", "POST /metrics"] {
        assert_eq!(ask(line).await.unwrap().status, 404, "{line}");
    }
    stand.set(&config(&[])).await;
    let mut old = stand.replace().await;
    assert_eq!(old.ended().await.code(), Some(0));
    stand.set(&config(&[group("g", 1, &[])])).await;
    eventually("the successor's can be read", async || {
        let text = ask("GET /metrics").await?.text();
        let generation = read(&text)?.sum("balancer_config_generation", &[]);
        if generation > 1.5 {
            Ok(())
        } else {
            Err(generation.to_string())
        }
    })
    .await;
}
