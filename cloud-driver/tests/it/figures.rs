//! What the load balancer writes and shows of requests, as section `local` asks for it: access log,
//! figures at a port and at a receiver, and the share of each server group.

use std::path::Path;
use std::time::Duration;

use cloud_driver::config::AccessLog;
use cloud_driver::provider::local::upgrade::{Told, pending, upgrade_balancer};
use runtime::config::Span;
use serde_json::{Value, json};
use servers::port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{HOST, World, eventually};

const LIMIT: Duration = Duration::from_secs(20);

/// A request on a connection of its own: status and body.
async fn get(port: u16, host: &str, path: &str) -> Result<(u16, String), String> {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = asked.await.map_err(|error| error.to_string())?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    Ok((
        status.ok_or("no status")?,
        body.unwrap_or_default().to_owned(),
    ))
}

async fn visit(world: &World, host: &str, path: &str) {
    let answer = get(world.port, host, path).await;
    assert_eq!(answer.map(|(status, _)| status), Ok(200), "{host}{path}");
}

/// The whole lines of a log about a path.
fn lines(log: &Path, path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let (whole, _torn) = text.rsplit_once('\n').unwrap_or_default();
    let all = whole.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line
    });
    all.filter(|line| line["path"] == path).collect()
}

async fn logged(log: &Path, path: &str, wanted: usize) -> Vec<Value> {
    let what = format!("{wanted} lines about {path}");
    eventually(&what, LIMIT, async || {
        let found = lines(log, path);
        if found.len() == wanted {
            Ok(found)
        } else {
            Err(found.len())
        }
    })
    .await
}

/// What a figure's lines in Prometheus' text have in sum.
fn figure(text: &str, name: &str) -> Option<f64> {
    let of = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let named = series.split('{').next() == Some(name);
        value.parse::<f64>().ok().filter(|_| named)
    });
    of.reduce(|a, b| a + b)
}

#[tokio::test]
async fn a_configured_log_has_a_line_for_each_request_of_its_load_balancers() {
    let port = port::free();
    let world = World::configured(move |config| {
        config.local.access_log = Some(AccessLog {
            path: "shop.log".to_owned(),
            load_balancers: vec!["shop".to_owned(), "later".to_owned()],
            ..AccessLog::default()
        });
        config.local.metrics_listen = Some(format!("127.0.0.1:{port}"));
    });
    // "later" is not there, and yet everything is accepted.
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    let log = world.data().join("balancer/shop.log");
    for _ in 0..25 {
        visit(&world, HOST, "/version?secret=1").await;
    }
    // Answered by nobody, and by no load balancer of the log's.
    let (status, _) = get(world.port, "other.test", "/version").await.unwrap();
    assert_eq!(status, 404);
    for line in logged(&log, "/version", 25).await {
        assert_eq!(line["status"], 200);
        assert_eq!(line["loadBalancer"], "shop");
        assert_eq!(line["serverGroup"], "shop-v000");
        assert_eq!(line["host"], HOST);
        assert!(line.get("query").is_none(), "{line}");
    }

    // Once it is there its requests are logged too.
    let later = json!({"name": "later", "host": "later.test"});
    world.succeed("upsertLoadBalancer", later).await;
    let mut second = World::create("test/demo:2");
    second["loadBalancers"] = json!(["later"]);
    second["stack"] = json!("later");
    world.succeed("createServerGroup", second).await;
    for _ in 0..5 {
        visit(&world, "later.test", "/version.json").await;
    }
    let found = logged(&log, "/version.json", 5).await;
    assert!(found.iter().all(|line| line["loadBalancer"] == "later"));

    // The figures at the port are of the same requests.
    let text = eventually("figures are read", LIMIT, async || {
        get(port, "localhost", "/metrics").await
    })
    .await;
    assert_eq!(text.0, 200);
    let all = std::fs::read_to_string(&log).unwrap().lines().count();
    assert_eq!(
        figure(&text.1, "balancer_access_log_lines_total"),
        Some(all as f64)
    );
    assert_eq!(
        figure(&text.1, "balancer_access_log_dropped_total"),
        Some(0.0)
    );
    let answered = figure(&text.1, "balancer_requests_total").unwrap();
    assert!(answered >= 30.0, "{answered}");
}

#[tokio::test]
async fn a_log_is_off_by_default_and_one_that_cannot_be_written_holds_up_nothing() {
    let mut world = World::configured(|_| {});
    let folder = world.data().join("balancer");
    let logs = || {
        let files = std::fs::read_dir(&folder).unwrap().flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        names
            .filter(|name| name.contains("log"))
            .collect::<Vec<_>>()
    };
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    visit(&world, HOST, "/version").await;
    assert_eq!(logs(), Vec::<String>::new());

    // What stands there is no file.
    std::fs::create_dir(folder.join("access.log")).unwrap();
    world.configure(|config| config.local.access_log = Some(AccessLog::default()));
    world.stop().await;
    world.start();
    world
        .succeed(
            "cloneServerGroup",
            json!({"application": "shop", "imageId": "test/demo:2"}),
        )
        .await;
    visit(&world, HOST, "/version").await;
    assert!(folder.join("access.log").is_dir());

    // It is asked for again with the next change.
    std::fs::remove_dir(folder.join("access.log")).unwrap();
    let weights = json!({"weights": {"shop-v000": 1, "shop-v001": 3}});
    world.succeed("shiftTraffic", weights).await;
    let before = lines(&folder.join("access.log"), "/content").len();
    for _ in 0..4 {
        visit(&world, HOST, "/content").await;
    }
    logged(&folder.join("access.log"), "/content", before + 4).await;
}

#[tokio::test]
async fn an_upgrade_follows_the_configuration_and_nothing_else_does() {
    let (first, second) = (port::free(), port::free());
    let listening = |port: u16| async move {
        let answer = get(port, "localhost", "/health").await;
        matches!(answer, Ok((200, _)))
    };
    let mut world = World::configured(move |config| {
        config.local.metrics_listen = Some(format!("127.0.0.1:{first}"));
    });
    world
        .succeed("createServerGroup", World::create("test/demo:1"))
        .await;
    eventually("figures are read", LIMIT, async || {
        if listening(first).await {
            Ok(())
        } else {
            Err(first)
        }
    })
    .await;
    assert_eq!(pending(&world.config()).await, []);

    // A control plane with another configuration changes nothing of a balancer that runs.
    world.configure(move |config| {
        config.local.metrics_listen = Some(format!("127.0.0.1:{second}"));
    });
    world.stop().await;
    world.start();
    world
        .succeed(
            "cloneServerGroup",
            json!({"application": "shop", "imageId": "test/demo:2"}),
        )
        .await;
    assert!(listening(first).await && !listening(second).await);
    let told: Vec<_> = pending(&world.config())
        .await
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = format!("local.metrics-listen: 127.0.0.1:{second} instead of 127.0.0.1:{first}");
    assert_eq!(told, [expected]);

    // Nor does an upgrade that knows of no configuration.
    let upgraded = upgrade_balancer(&world.config(), Told::Again)
        .await
        .unwrap();
    assert_eq!(upgraded.changes, []);
    eventually("the successor has the port", LIMIT, async || {
        let served = get(first, "localhost", "/health").await;
        let alone = world.processes("balancer").len() == 1;
        if alone { served } else { Err("two".to_owned()) }
    })
    .await;

    let upgraded = upgrade_balancer(&world.config(), Told::Configured)
        .await
        .unwrap();
    assert_eq!(upgraded.changes.len(), 1, "{upgraded:?}");
    eventually("the port is the second", LIMIT, async || {
        if listening(second).await && !listening(first).await {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
    assert_eq!(pending(&world.config()).await, []);
    visit(&world, HOST, "/version").await;
}

#[tokio::test]
async fn figures_are_sent_to_the_receiver_that_is_configured() {
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/base", receiver.local_addr().unwrap());
    let world = World::configured(move |config| {
        config.local.otlp_endpoint = Some(endpoint.clone());
        config.local.otlp_interval = Span(Duration::from_millis(200));
    });
    let accepted = tokio::time::timeout(LIMIT, receiver.accept()).await;
    let (mut stream, _) = accepted.unwrap().unwrap();
    let mut read = Vec::new();
    let head = loop {
        let mut bytes = [0; 4096];
        let got = tokio::time::timeout(LIMIT, stream.read(&mut bytes)).await;
        let got = got.unwrap().unwrap();
        assert_ne!(got, 0, "ended early");
        read.extend_from_slice(&bytes[..got]);
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            break head.to_lowercase();
        }
    };
    assert!(head.starts_with("post /base/v1/metrics "), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    drop(world);
}

/// The seconds of a group, as the page reads them; none before the first second of the group is
/// over.
fn seconds<'a>(traffic: &'a Value, group: &str) -> &'a [Value] {
    let series = traffic["history"]["series"].as_array();
    let of = series.and_then(|all| all.iter().find(|one| one["group"] == group));
    of.and_then(|one| one["seconds"].as_array())
        .map_or(&[], Vec::as_slice)
}

fn sum(seconds: &[Value], key: &str) -> u64 {
    seconds
        .iter()
        .filter_map(|second| second[key].as_u64())
        .sum()
}

#[tokio::test]
async fn a_canary_of_a_tenth_has_a_tenth_and_nobody_has_any_of_nothing() {
    let world = World::with_slots(2);
    let made = World::create("test/demo:1");
    world.succeed("createServerGroup", made).await;
    let canary =
        json!({"application": "shop", "imageId": "test/demo:2", "capacity": {"desired": 1}});
    world.succeed("cloneServerGroup", canary).await;
    let weights = json!({"weights": {"shop-v000": 90, "shop-v001": 10}});
    world.succeed("shiftTraffic", weights).await;
    // What was sent to prove the instances is over once a second without anything follows it: one
    // that began after the weights were seen to hold.
    let shifted = world.traffic().await["history"]["untilS"]
        .as_i64()
        .unwrap_or(0);
    let idle = eventually("a second is quiet", LIMIT, async || {
        let traffic = world.traffic().await;
        let last = ["shop-v000", "shop-v001"].map(|group| seconds(&traffic, group).last().cloned());
        let later = traffic["history"]["untilS"].as_i64().unwrap_or(0) >= shifted + 2;
        match last.clone() {
            [Some(old), Some(new)] if later && old["sent"].is_null() && new["sent"].is_null() => {
                Ok([old, new])
            }
            _ => Err(last),
        }
    })
    .await;
    assert!(
        idle.iter().all(|second| second.get("share").is_none()),
        "{idle:?}"
    );

    let until = world.traffic().await["history"]["untilS"].as_i64().unwrap();
    for _ in 0..400 {
        visit(&world, HOST, "/version").await;
    }
    let after = |traffic: &Value, group: &str| {
        let new = traffic["history"]["untilS"].as_i64().unwrap() - until;
        let all = seconds(traffic, group);
        all[all.len().saturating_sub(usize::try_from(new).unwrap())..].to_vec()
    };
    let traffic = eventually("all are counted", LIMIT, async || {
        let traffic = world.traffic().await;
        let sent =
            sum(&after(&traffic, "shop-v000"), "sent") + sum(&after(&traffic, "shop-v001"), "sent");
        if sent == 400 { Ok(traffic) } else { Err(sent) }
    })
    .await;
    let (old, new) = (after(&traffic, "shop-v000"), after(&traffic, "shop-v001"));
    let sent = sum(&new, "sent");
    assert!(
        (24..=56).contains(&sent),
        "{sent} of 400 is not about a tenth"
    );
    for (old, new) in old.iter().zip(&new) {
        let shares = [old, new].map(|second| second["share"].as_u64().unwrap_or(0));
        let sent = [old, new].map(|second| second["sent"].as_u64().unwrap_or(0));
        let all: u64 = sent.iter().sum();
        let expected = sent.map(|n| (n * 1000 + all / 2).checked_div(all).unwrap_or(0));
        assert_eq!(shares, expected);
    }
}
