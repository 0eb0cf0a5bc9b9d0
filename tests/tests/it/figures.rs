//! What the load balancer writes and shows of requests follows `gennaker.yml`: refused where it does not
//! fit, told where a balancer that runs has something else, kept and changed by an upgrade.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use servers::port;
use tests::http::Client;
use tests::{Setup, Stack, eventually, program};

const SOON: Duration = Duration::from_secs(20);

fn local(fields: &str) -> String {
    format!("local: {{{fields}}}\n")
}

async fn gennaker(stack: &Stack, words: &[&str]) -> Result<String> {
    let program = stack.program("gennaker")?;
    let data = stack.data.display().to_string();
    program::run(&program, words.iter().copied().chain(["--data", &data])).await
}

async fn shows_figures(port: u16) -> bool {
    let answer = Client::port(port).get("/metrics").await;
    answer.is_ok_and(|answer| answer.text().contains("balancer_requests_total"))
}

async fn only(shows: u16, not: u16) {
    eventually("figures are at one port alone", SOON, async || {
        match (shows_figures(shows).await, shows_figures(not).await) {
            (true, false) => Ok(()),
            other => Err(other),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn settings_that_do_not_fit_are_refused_before_a_port_is_bound() {
    for (fields, told) in [
        ("access-log: {sample: 0}", "local.access-log.sample"),
        ("access-log: {path: config.json}", "local.access-log.path"),
        ("metrics-listen: '0.0.0.0:9090'", "local.metrics-listen"),
        ("otlp-endpoint: 'https://a:4318'", "local.otlp-endpoint"),
        ("access-log: {header: true}", "local.access-log.header"),
        ("access-log: {sample: -1}", "local.access-log.sample"),
    ] {
        let mut stack = Stack::prepare(Setup::default()).await.unwrap();
        std::fs::write(stack.data.join("gennaker.yml"), local(fields)).unwrap();
        let mut up = stack.spawn().unwrap();
        let status = up.wait(SOON).await.unwrap();
        let said = up.tail();
        assert_eq!(status.code(), Some(64), "{fields}: {said}");
        assert!(
            said.contains(told) && said.contains("gennaker.yml"),
            "{said}"
        );
        assert!(!said.contains(" up"), "it came up: {said}");
        TcpListener::bind(("127.0.0.1", stack.balancer_port)).unwrap();
        assert!(!stack.data.join("balancer").exists());
        stack.stop().await.unwrap_err();
    }
}

#[tokio::test]
async fn an_upgrade_takes_over_what_the_configuration_says() {
    let (first, second) = (port::free(), port::free());
    let metrics = |port: u16| {
        local(&format!(
            "metrics-listen: '127.0.0.1:{port}', access-log: {{}}"
        ))
    };
    let mut stack = Stack::prepare(Setup::default()).await.unwrap();
    // Given by name: an upgrade finds it all the same.
    let file = stack.folder().unwrap().join("given.yml");
    std::fs::write(&file, metrics(first)).unwrap();
    let given = file.display().to_string();
    let mut up = stack.arguments();
    up.extend(["--config".to_owned(), given.clone()]);
    let (program, log) = (
        stack.program("gennaker").unwrap(),
        file.with_extension("log"),
    );
    let _up = program::Program::start(&program, up, &[], &log).unwrap();
    only(first, second).await;
    let said = gennaker(&stack, &["balancer", "upgrade"]).await.unwrap();
    assert!(!said.contains("local."), "nothing has changed: {said}");
    only(first, second).await;

    std::fs::write(&file, metrics(second)).unwrap();
    let change = format!("local.metrics-listen: 127.0.0.1:{second} instead of 127.0.0.1:{first}");
    // What else a machine lacks is no matter here.
    let doctor = gennaker(&stack, &["doctor", "--config", &given]).await;
    let doctor = doctor.unwrap_or_else(|error| format!("{error:#}"));
    assert!(doctor.contains(&change), "{doctor}");
    only(first, second).await;
    let said = gennaker(&stack, &["balancer", "upgrade"]).await.unwrap();
    assert!(said.contains(&change), "{said}");
    only(second, first).await;

    // One that does not fit changes nothing.
    std::fs::write(&file, local("metrics-listen: nowhere")).unwrap();
    let refused = gennaker(&stack, &["balancer", "upgrade"])
        .await
        .unwrap_err();
    let refused = format!("{refused:#}");
    assert!(refused.contains("local.metrics-listen"), "{refused}");
    only(second, first).await;
    has_log(&stack.data).await;
    stack.down().await.unwrap();
}

/// The file is made when the log begins.
async fn has_log(data: &Path) {
    let log = data.join("balancer/access.log");
    eventually("there is an access log", SOON, async || {
        if log.is_file() {
            Ok(())
        } else {
            Err("no file")
        }
    })
    .await
    .unwrap();
}
