//! The access log: what is written, what never is, and that it delays nothing.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::backend::Backend;
use crate::stand::{Process, Stand, config, eventually, group, instance, soon};

fn logged(log: Value, groups: &[Value]) -> Value {
    let mut config = config(groups);
    config["settings"] = json!({"accessLog": log});
    config
}

fn read_lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    lines.map(read).collect()
}

impl Stand {
    fn log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Waits for so many lines.
    async fn lines(&self, count: usize) -> Vec<Value> {
        let text = eventually("the lines are there", async || {
            let text = self.log_text();
            if text.matches('\n').count() >= count {
                Ok(text)
            } else {
                Err(text)
            }
        })
        .await;
        let lines = read_lines(&text);
        assert_eq!(lines.len(), count, "{text}");
        lines
    }
}

async fn started(log: Value, a: &Backend) -> Stand {
    let stand = Stand::with(&["--workers", "2"], None).await;
    stand
        .serve(&logged(log, &[group("g", 1, &[instance("a", a, "serve")])]))
        .await;
    stand
}

#[tokio::test]
async fn without_a_log_nothing_is_written_and_no_id_is_added() {
    let a = Backend::start("a").await;
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group("g", 1, &[instance("a", &a, "serve")])]))
        .await;
    let answer = stand.get("/x").await;
    assert_eq!(answer.header("x-request-id"), None);
    assert_eq!(a.seen()[0].header("x-request-id"), None);
    let given = [("x-request-id", "mine")];
    let answer = stand.ask("GET /x", &given, b"").await.unwrap();
    assert_eq!(answer.header("x-request-id"), None);
    assert_eq!(
        a.seen()[1].header("x-request-id"),
        Some("mine"),
        "passed on"
    );
    assert!(!stand.log().exists());
    // On, and off again.
    stand
        .serve(&logged(
            json!({}),
            &[group("g", 1, &[instance("a", &a, "serve")])],
        ))
        .await;
    stand.get("/x").await;
    stand.lines(1).await;
    stand
        .serve(&config(&[group("g", 1, &[instance("a", &a, "serve")])]))
        .await;
    assert_eq!(stand.get("/x").await.header("x-request-id"), None);
    stand.process.terminate();
    let mut stand = stand;
    stand.process.ended().await;
    stand.lines(1).await;
}

#[tokio::test]
async fn a_line_says_all_of_a_request_and_nothing_secret() {
    let a = Backend::start("a").await;
    let stand = started(json!({}), &a).await;
    let headers = [
        ("host", "Shop.test:80"),
        ("authorization", "secret-2"),
        ("cookie", "session=secret-3"),
        ("x-request-id", "7f-\"'}{"),
        ("referer", "http://secret-4/"),
        ("user-agent", "secret-5"),
    ];
    let line = "POST /length?token=secret-6";
    let answer = stand.ask(line, &headers, b"secret-7").await.unwrap();
    assert_eq!((answer.text().as_str(), answer.status), ("a", 200));
    assert_eq!(answer.header("x-request-id"), Some("7f-\"'}{"));
    assert_eq!(a.seen()[0].header("x-request-id"), Some("7f-\"'}{"));
    let line = &stand.lines(1).await[0];
    let mut fields = line.as_object().unwrap().clone();
    let mut number = |name: &str| fields.remove(name).and_then(|v| v.as_u64()).unwrap();
    let (first, total) = (number("firstByteUs"), number("durationUs"));
    assert!(0 < first && first <= total && total < 20_000_000, "{line}");
    let time = fields.remove("time").unwrap();
    let time = time.as_str().unwrap();
    assert!(
        time.starts_with("20") && time.ends_with('Z') && time.len() == 24,
        "{time}"
    );
    let expected = json!({
        "requestId": "7f-\"'}{", "client": "127.0.0.1", "method": "POST",
        "host": "Shop.test:80", "path": "/length", "protocol": "HTTP/1.1", "status": 200,
        "bytesIn": 8, "bytesOut": 1, "route": "*/", "loadBalancer": "all", "serverGroup": "g",
        "instance": "a", "retries": 0,
    });
    assert_eq!(Value::Object(fields), expected);
    assert!(!stand.log_text().contains("secret"), "{line}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(stand.log()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // One that is not well formed is replaced, for everybody.
    let headers = [("x-request-id", "two words")];
    let answer = stand.ask("GET /x", &headers, b"").await.unwrap();
    let made = answer.header("x-request-id").unwrap();
    assert!(
        made.len() == 32 && made.bytes().all(|b| b.is_ascii_hexdigit()),
        "{made}"
    );
    assert_eq!(a.seen()[1].header("x-request-id"), Some(made));
    assert_eq!(stand.lines(2).await[1]["requestId"], made);
}

#[tokio::test]
async fn a_client_cannot_write_lines_of_its_own() {
    let a = Backend::start("a").await;
    let stand = started(json!({"query": true}), &a).await;
    let mut connection = stand.connect().await;
    let mut head =
        b"GET /x\"},{\"?a={}\\|%0a HTTP/1.1\r\nhost: h\xff\"\\\t\xc2\x9b\xe2\x80\xa8\r\n".to_vec();
    head.extend(b"x-request-id: \",\"status\":500,\"\r\n\r\n");
    connection.stream.write_all(&head).await.unwrap();
    let answer = soon("an answer", connection.receive(false)).await.unwrap();
    // Refused for its host, and told of all the same.
    assert_eq!(answer.status, 400);
    let line = &stand.lines(1).await[0];
    assert_eq!(
        (&line["status"], &line["requestId"]),
        (&json!(400), &json!("\",\"status\":500,\""))
    );
    assert_eq!(
        (&line["path"], &line["query"]),
        (&json!("/x\"},{\""), &json!("a={}\\|%0a"))
    );
    assert_eq!(line["host"], "h\u{fffd}\"\\\u{fffd}\u{fffd}\u{2028}");
    let text = stand.log_text();
    assert!(text.trim_end().bytes().all(|byte| byte >= b' '), "{text}");
}

#[tokio::test]
async fn whatever_becomes_of_a_request_its_line_says_so() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "1"], None).await;
    let mut all = logged(json!({}), &[group("g", 1, &[instance("a", &a, "serve")])]);
    all["loadBalancers"].as_array_mut().unwrap().extend([
        json!({"name": "empty", "groups": []}),
        json!({"name": "two", "groups": [group("two", 1, &[instance("b", &b, "serve")])]}),
    ]);
    all["routes"] = json!([
        {"host": "a.test", "path": "/", "loadBalancer": "all"},
        {"host": "two.test", "path": "/", "loadBalancer": "two"},
        {"host": "empty.test", "path": "/", "loadBalancer": "empty"},
    ]);
    stand.serve(&all).await;
    let mut count = 0;
    let mut next = async |what: &str| {
        count += 1;
        let line = stand.lines(count).await.pop().unwrap();
        assert!(line["durationUs"].as_u64().is_some(), "{what}: {line}");
        line
    };
    let a_test = [("host", "a.test")];
    for (line, host, status, error, group) in [
        ("GET /x", "nowhere.test", 404, "no_route", Value::Null),
        ("CONNECT x:1", "a.test", 501, "connect_refused", Value::Null),
        ("GET /x", "empty.test", 503, "no_instance", Value::Null),
        ("GET /break", "a.test", 502, "instance_lost", json!("g")),
    ] {
        let answer = stand.ask(line, &[("host", host)], b"").await.unwrap();
        assert_eq!(answer.status, status, "{line}");
        assert!(answer.header("x-request-id").is_some(), "{line}");
        let told = next(line).await;
        assert_eq!(
            (&told["status"], &told["error"]),
            (&json!(status), &json!(error)),
            "{told}"
        );
        assert_eq!(
            (&told["serverGroup"], told.get("firstByteUs")),
            (&group, None),
            "{told}"
        );
        assert_eq!(told["bytesOut"], answer.body.len());
    }

    b.end().await;
    let answer = stand
        .ask("GET /x", &[("host", "two.test")], b"")
        .await
        .unwrap();
    assert_eq!(answer.status, 502);
    let told = next("nobody there").await;
    assert_eq!(
        (&told["error"], &told["retries"]),
        (&json!("no_connection"), &json!(2))
    );
    assert_eq!(
        (&told["instance"], &told["route"]),
        (&json!("b"), &json!("two.test/"))
    );

    // Before the head, and within the body.
    for (path, status) in [("GET /hold", Value::Null), ("GET /half", json!(200))] {
        let mut connection = stand.connect().await;
        connection.send(path, &a_test, b"").await.unwrap();
        let there = path.replace("GET ", "");
        eventually("it has arrived", async || {
            (a.count(&there) == 1).then_some(()).ok_or("no")
        })
        .await;
        if !status.is_null() {
            connection.until(b"half").await.unwrap();
        }
        drop(connection);
        let told = next(path).await;
        assert_eq!(
            (&told["status"], &told["error"]),
            (&status, &json!("client_gone")),
            "{told}"
        );
        a.release(1);
    }
    let mut connection = stand.connect().await;
    connection.send("GET /half", &a_test, b"").await.unwrap();
    connection.until(b"half").await.unwrap();
    a.release(1);
    connection.rest().await;
    let told = next("broken off").await;
    assert_eq!(
        (&told["error"], &told["bytesOut"]),
        (&json!("broken"), &json!(4)),
        "{told}"
    );

    let mut tunnel = stand.connect().await;
    let upgrade = [
        ("host", "a.test"),
        ("connection", "upgrade"),
        ("upgrade", "echo"),
    ];
    let answer = tunnel.ask("GET /tunnel", &upgrade, b"").await.unwrap();
    assert_eq!(answer.status, 101);
    assert!(answer.header("x-request-id").is_some());
    tunnel.stream.write_all(b"hello").await.unwrap();
    assert_eq!(tunnel.exactly(5).await.unwrap(), b"hello");
    tunnel.stream.shutdown().await.unwrap();
    tunnel.rest().await;
    let told = next("tunnel").await;
    assert_eq!(
        (&told["status"], &told["tunnel"]),
        (&json!(101), &json!(true))
    );
    assert_eq!(
        (&told["bytesIn"], &told["bytesOut"]),
        (&json!(5), &json!(5)),
        "{told}"
    );
    assert_eq!(told.get("error"), None);

    // Cut on purpose.
    let mut held = stand.connect().await;
    held.send("GET /hold", &a_test, b"").await.unwrap();
    eventually("it has arrived", async || {
        (a.count("/hold") == 2).then_some(()).ok_or("no")
    })
    .await;
    all["loadBalancers"][0]["groups"][0]["instances"][0]["role"] = json!("drain");
    stand.set(&all).await;
    assert_eq!(
        stand.admin("POST /v1/drain/a/cut", &[], b"").await.status,
        200
    );
    held.rest().await;
    let told = next("cut").await;
    assert_eq!(
        (&told["status"], &told["error"]),
        (&Value::Null, &json!("cut")),
        "{told}"
    );
}

#[tokio::test]
async fn only_what_was_asked_for_is_written() {
    let a = Backend::start("a").await;
    let log = json!({"sample": 4, "loadBalancers": ["all"]});
    let stand = Stand::with(&["--workers", "1"], None).await;
    let mut all = logged(log, &[group("g", 1, &[instance("a", &a, "serve")])]);
    all["routes"] = json!([
        {"host": "a.test", "path": "/", "loadBalancer": "all"},
        {"host": "b.test", "path": "/", "loadBalancer": "other"},
    ]);
    let other = json!({"name": "other", "groups": []});
    all["loadBalancers"].as_array_mut().unwrap().push(other);
    stand.serve(&all).await;
    for host in ["b.test", "c.test"] {
        let answer = stand.ask("GET /x", &[("host", host)], b"").await.unwrap();
        assert_eq!(answer.header("x-request-id"), None, "{host}");
    }
    for n in 0..9 {
        let path = format!("GET /{n}");
        let answer = stand.ask(&path, &[("host", "a.test")], b"").await.unwrap();
        assert!(answer.header("x-request-id").is_some(), "written or not");
    }
    let lines = stand.lines(3).await;
    let paths: Vec<_> = lines
        .iter()
        .map(|line| line["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["/0", "/4", "/8"]);
    assert!(lines.iter().all(|line| line["sample"] == 4));

    for (log, path) in [
        (json!({"path": "config.json"}), "settings.accessLog.path"),
        (
            json!({"path": "none/access.log"}),
            "settings.accessLog.path",
        ),
        (
            json!({"path": "/dev/null.log/x.log"}),
            "settings.accessLog.path",
        ),
        (json!({"sample": 0}), "settings.accessLog.sample"),
        (
            json!({"loadBalancers": ["x"]}),
            "settings.accessLog.loadBalancers[0]",
        ),
        (json!({"headers": true}), "body: unknown field `headers`"),
    ] {
        all["settings"]["accessLog"] = log;
        let answer = stand.put("\"*\"", 1, &all).await;
        assert_eq!(answer.status, 422, "{path}");
        let faults = answer.json()["faults"].clone();
        let first = faults[0].as_str().unwrap();
        assert!(first.starts_with(path), "{path}: {faults}");
    }
}

#[tokio::test]
async fn a_moved_file_is_opened_anew_and_lines_of_all_processes_are_kept_to_the_end() {
    let a = Backend::start("a").await;
    let mut stand = started(json!({}), &a).await;
    stand.get("/1").await;
    stand.lines(1).await;
    let moved = stand.folder.path().join("moved");
    std::fs::rename(stand.log(), &moved).unwrap();
    let pid = Pid::from_child(&stand.process.0);
    kill_process(pid, Signal::HUP).unwrap();
    eventually("it is there again", async || {
        stand.log().exists().then_some(()).ok_or("no")
    })
    .await;
    stand.get("/2").await;
    stand.lines(1).await;

    // A process that hands over and its successor write to the same file.
    let mut held = stand.connect().await;
    held.send("GET /hold", &[], b"").await.unwrap();
    eventually("it has arrived", async || {
        (a.count("/hold") == 1).then_some(()).ok_or("no")
    })
    .await;
    let mut old = stand.replace().await;
    for _ in 0..3 {
        stand.get("/3").await;
    }
    a.release(1);
    soon("the answer", held.receive(false)).await.unwrap();
    assert_eq!(old.ended().await.code(), Some(0));
    // What is not written yet is written before the end.
    for _ in 0..200 {
        stand.get("/4").await;
    }
    stand.process.terminate();
    assert!(stand.process.ended().await.success());
    let lines = stand.lines(205).await;
    let of = |path: &str| lines.iter().filter(|line| line["path"] == path).count();
    assert_eq!((of("/2"), of("/hold"), of("/3"), of("/4")), (1, 1, 3, 200));
    let mut ids: Vec<_> = lines
        .iter()
        .map(|line| line["requestId"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 205);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_delays_no_request_and_missing_lines_are_counted() {
    let a = Backend::start("a").await;
    let mut stand = Stand::start().await;
    let log = json!({"path": "stdout"});
    let config = logged(log, &[group("g", 1, &[instance("a", &a, "serve")])]);
    stand.serve(&config).await;
    // The same again, with an output that nobody reads.
    let _ = stand.process.0.kill();
    let _ = stand.process.0.wait();
    let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
    command
        .arg("--data")
        .arg(stand.folder.path())
        .args(["--listen", &stand.address.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut output = process.stdout.take().unwrap();
    stand.process = Process(process);
    eventually("it answers", async || {
        let connection = crate::client::Connection::admin(&stand.socket()).await;
        connection.map(drop)
    })
    .await;
    stand.wait("a", "serving").await;
    let mut connection = stand.connect().await;
    let mut asked = 0;
    let name = "balancer_access_log_dropped_total";
    while asked < 20_000 && stand.figures().await.sum(name, &[("reason", "full")]) < 0.5 {
        for _ in 0..500 {
            let answer = soon("an answer", connection.ask("GET /x", &[], b"")).await;
            assert_eq!(answer.unwrap().status, 200);
        }
        asked += 500;
    }
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        text
    });
    stand.get("/last").await;
    eventually("all that waited is written", async || {
        let figures = stand.figures().await;
        let lines = figures.sum("balancer_access_log_lines_total", &[]);
        let dropped = figures.sum(name, &[]);
        if lines + dropped > f64::from(asked) + 0.5 {
            Ok(())
        } else {
            Err((lines, dropped))
        }
    })
    .await;
    let dropped = stand.figures().await.sum(name, &[("reason", "full")]);
    stand.process.terminate();
    assert!(stand.process.ended().await.success());
    let lines = read_lines(&reading.join().unwrap());
    assert!(dropped > 0.5);
    let there = u32::try_from(lines.len()).unwrap();
    assert!((f64::from(there) + dropped - f64::from(asked + 1)).abs() < 0.5);
}
