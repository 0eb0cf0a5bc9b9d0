//! Figures as an OTLP receiver gets them.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::net::TcpListener;

use crate::backend::Backend;
use crate::otlp_receiver::{Receiver, Request, Series, read};
use crate::stand::{Stand, config, eventually, group, instance};

fn sum(series: &Series, name: &str, key: &str, value: &str) -> i64 {
    let points = series.get(name).into_iter().flatten();
    let points = points.filter(|p| p.attributes.get(key).is_some_and(|v| v == value));
    points.map(|point| point.value).sum()
}

async fn serving(arguments: &[&str], a: &Backend) -> Stand {
    let stand = Stand::with(arguments, None).await;
    stand
        .serve(&config(&[group("g", 1, &[instance("a", a, "serve")])]))
        .await;
    stand
}

#[tokio::test]
async fn a_receiver_gets_all_figures_in_the_form_of_the_protocol_and_they_only_grow() {
    let a = Backend::start("a").await;
    let receiver = Receiver::start(&[]).await;
    let url = receiver.url();
    let arguments = ["--otlp-endpoint", &url, "--otlp-interval-ms", "100"];
    let mut stand = serving(&arguments, &a).await;
    let epoch = stand.state().await["epoch"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        stand.get("/x").await;
    }
    stand.get("/500").await;
    let name = "balancer_requests_total";
    eventually("they are told", async || {
        let requests = receiver.requests();
        let Some(last) = requests.last() else {
            return Err("nothing".to_owned());
        };
        let (_, series) = read(&last.body)?;
        if sum(&series, name, "server_group", "g") == 6 {
            Ok(())
        } else {
            Err(format!("{series:?}"))
        }
    })
    .await;
    // Told within the last second, when no round was due any more.
    stand.get("/x").await;
    stand.process.terminate();
    assert!(stand.process.ended().await.success());
    let requests = receiver.requests();
    let mut before = BTreeMap::new();
    for request in &requests {
        let lower = request.head.to_ascii_lowercase();
        assert!(request.head.starts_with("POST /v1/metrics HTTP/1.1\r\n"));
        assert!(
            lower.contains("content-type: application/json\r\n"),
            "{lower}"
        );
        let (resource, series) = read(&request.body).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(resource["service.name"], "balancer");
        assert_eq!(resource["service.instance.id"], epoch);
        for (name, points) in series {
            for point in points.into_iter().filter(|point| point.since.is_some()) {
                let key = (name.clone(), point.attributes.clone());
                if let Some((since, value)) = before.insert(key, (point.since, point.value)) {
                    assert_eq!(since, point.since, "{name} did not begin anew");
                    assert!(value <= point.value, "{name} fell");
                }
            }
        }
    }
    let (_, series) = read(&requests.last().unwrap().body).unwrap();
    assert_eq!(
        sum(&series, name, "server_group", "g"),
        7,
        "the last ones too"
    );
    assert_eq!(sum(&series, name, "code", "5xx"), 1);
    let name = "balancer_route_request_seconds";
    assert_eq!(sum(&series, name, "route", "*/"), 7);
    assert_eq!(series["balancer_config_generation"][0].value, 1);
}

#[tokio::test]
async fn what_may_be_taken_later_is_sent_again_after_the_time_that_was_asked_for() {
    let a = Backend::start("a").await;
    let answers = [
        "503 X\r\ncontent-length: 0\r\n\r\n",
        "429 X\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
    ];
    let receiver = Receiver::start(&answers).await;
    let url = receiver.url();
    let arguments = ["--otlp-endpoint", &url, "--otlp-interval-ms", "4000"];
    let stand = serving(&arguments, &a).await;
    let requests = receiver.wait(3).await;
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].body, requests[2].body);
    let pause = |at: usize| {
        requests[at + 1]
            .at
            .duration_since(requests[at].at)
            .as_millis()
    };
    assert!(pause(0) >= 400, "{}", pause(0));
    assert!(pause(1) >= 1_000, "{}", pause(1));
    eventually("it is counted", async || {
        let figures = stand.figures().await;
        let taken = figures.sum("balancer_otlp_exports_total", &[("result", "taken")]);
        if taken > 0.5 { Ok(()) } else { Err(taken) }
    })
    .await;
    let figures = stand.figures().await;
    let failed = figures.sum("balancer_otlp_exports_total", &[("result", "failed")]);
    assert!(failed < 0.5, "{failed}");
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again_and_what_was_rejected_is_counted() {
    let a = Backend::start("a").await;
    let rejected = r#"{"partialSuccess":{"rejectedDataPoints":"12345"}}"#;
    let partly = format!(
        "200 OK\r\ncontent-length: {}\r\n\r\n{rejected}",
        rejected.len()
    );
    let receiver = Receiver::start(&["400 X\r\ncontent-length: 0\r\n\r\n", &partly]).await;
    let url = receiver.url();
    let arguments = ["--otlp-endpoint", &url, "--otlp-interval-ms", "1500"];
    let stand = serving(&arguments, &a).await;
    let requests = receiver.wait(2).await;
    let pause = requests[1].at.duration_since(requests[0].at);
    assert!(pause.as_millis() >= 1_200, "the next round: {pause:?}");
    let at = |request: &Request| {
        let (_, series) = read(&request.body).unwrap();
        series["balancer_clients"][0].at
    };
    assert!(at(&requests[0]) < at(&requests[1]), "it is told anew");
    eventually("it is counted", async || {
        let figures = stand.figures().await;
        let rejected = figures.sum("balancer_otlp_rejected_total", &[]);
        let failed = figures.sum("balancer_otlp_exports_total", &[("result", "failed")]);
        if (rejected - 12_345.0).abs() < 0.5 && (failed - 1.0).abs() < 0.5 {
            Ok(())
        } else {
            Err((rejected, failed))
        }
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_is_not_there_or_never_answers_delays_nothing() {
    let a = Backend::start("a").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for url in ["http://127.0.0.1:1", &url] {
        let arguments = ["--otlp-endpoint", url, "--otlp-interval-ms", "200"];
        let mut stand = serving(&arguments, &a).await;
        eventually("rounds have failed", async || {
            let figures = stand.figures().await;
            let failed = figures.sum("balancer_otlp_exports_total", &[("result", "failed")]);
            if failed > 1.5 { Ok(()) } else { Err(failed) }
        })
        .await;
        assert_eq!(stand.get("/x").await.status, 200);
        let begun = Instant::now();
        stand.process.terminate();
        assert!(stand.process.ended().await.success());
        assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
    }
}
