//! Replacing the process under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::client::Connection;
use crate::stand::{Process, Stand, config, eventually, group, instance, soon};

/// What a load saw.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) answered: AtomicU64,
    pub(crate) reconnected: AtomicU64,
    pub(crate) tunnels: AtomicU64,
    pub(crate) failed: std::sync::Mutex<Vec<String>>,
}

/// Clients of every kind, until told to stop.
pub(crate) struct Load {
    pub(crate) findings: Arc<Findings>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let findings = Arc::new(Findings::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for (line, body, keep, count) in [
            ("GET /x", 0, true, 3),
            ("POST /length", 10, true, 2),
            ("GET /x", 0, false, 2),
            ("POST /length", 200_000, true, 1),
        ] {
            for _ in 0..count {
                clients.spawn(ask(
                    address,
                    findings.clone(),
                    stop.clone(),
                    line,
                    body,
                    keep,
                ));
            }
        }
        for _ in 0..2 {
            clients.spawn(tunnel(address, findings.clone(), stop.clone()));
        }
        Self {
            findings,
            stop,
            clients,
        }
    }

    pub(crate) async fn more(&self, count: u64) {
        let wanted = self.findings.answered.load(Ordering::SeqCst) + count;
        eventually("the load goes on", async || {
            let answered = self.findings.answered.load(Ordering::SeqCst);
            if answered >= wanted {
                Ok(())
            } else {
                Err(answered)
            }
        })
        .await;
    }

    pub(crate) async fn stop(mut self) -> Arc<Findings> {
        self.stop.store(true, Ordering::SeqCst);
        soon("the clients end", async {
            while self.clients.join_next().await.is_some() {}
        })
        .await;
        self.findings
    }
}

async fn ask(
    address: SocketAddr,
    findings: Arc<Findings>,
    stop: Arc<AtomicBool>,
    line: &'static str,
    body: usize,
    keep: bool,
) {
    let body = vec![b'x'; body];
    let mut kept = None;
    while !stop.load(Ordering::SeqCst) {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(address).await,
        };
        match connection.ask(line, &[], &body).await {
            Ok(answer) if answer.status == 200 => {
                findings.answered.fetch_add(1, Ordering::SeqCst);
                // A connection that was announced to end is not used again: that is no failure.
                if answer.closes() {
                    findings.reconnected.fetch_add(1, Ordering::SeqCst);
                } else if keep {
                    kept = Some(connection);
                }
            }
            failed => findings
                .failed
                .lock()
                .unwrap()
                .push(format!("{line}: {failed:?}")),
        }
        tokio::task::yield_now().await;
    }
}

async fn tunnel(address: SocketAddr, findings: Arc<Findings>, stop: Arc<AtomicBool>) {
    let headers = [("connection", "upgrade"), ("upgrade", "echo")];
    while !stop.load(Ordering::SeqCst) {
        let mut connection = Connection::open(address).await;
        let mut whole = connection.ask("GET /tunnel", &headers, b"").await.is_ok();
        for _ in 0..50 {
            if !whole {
                break;
            }
            whole = connection.stream.write_all(b"ping").await.is_ok()
                && connection
                    .exactly(4)
                    .await
                    .is_ok_and(|echo| echo == b"ping");
            tokio::task::yield_now().await;
        }
        if whole {
            findings.tunnels.fetch_add(1, Ordering::SeqCst);
        } else {
            findings.failed.lock().unwrap().push("tunnel".to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_process_is_replaced_three_times() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut stand = Stand::with(&["--workers", "2"], None).await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("a", &a, "serve"), instance("b", &b, "serve")],
        )]))
        .await;
    let load = Load::start(stand.address);
    load.more(200).await;
    for held in 1..=3 {
        let mut slow = stand.connect().await;
        slow.send("GET /hold", &[], b"").await.unwrap();
        eventually("it has arrived", async || {
            if a.count("/hold") + b.count("/hold") == held {
                Ok(())
            } else {
                Err("not yet")
            }
        })
        .await;
        let mut old = stand.replace().await;
        load.more(200).await;
        a.release(a.count("/hold") - a.released());
        b.release(b.count("/hold") - b.released());
        let answer = soon("the slow answer", slow.receive(false)).await.unwrap();
        assert_eq!((answer.status, answer.closes()), (200, true));
        assert_eq!(old.ended().await.code(), Some(0));
        assert_eq!(stand.state().await["generation"], 1);
    }
    let findings = load.stop().await;
    let failed = findings.failed.lock().unwrap().clone();
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    assert!(findings.tunnels.load(Ordering::SeqCst) > 0);
    assert!(
        findings.reconnected.load(Ordering::SeqCst) > 0,
        "kept connections were told to end"
    );
    for name in [
        "balancer_retries_total",
        "balancer_not_repeated_total",
        "balancer_own_errors_total",
    ] {
        assert!(stand.metric(name).await < 0.5, "{name}");
    }
    eventually("predecessors are forgotten", async || {
        let state = stand.state().await["predecessors"].clone();
        if state.as_array().is_some_and(Vec::is_empty) {
            Ok(())
        } else {
            Err(state)
        }
    })
    .await;
}

#[tokio::test]
async fn an_instance_has_drained_only_when_the_predecessor_has_nothing_of_it_either() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut stand = Stand::start().await;
    let role = |role: &str| {
        config(&[group(
            "g",
            1,
            &[instance("a", &a, role), instance("b", &b, "serve")],
        )])
    };
    stand.serve(&role("serve")).await;
    let mut idle = stand.connect().await;
    assert_eq!(idle.ask("GET /x", &[], b"").await.unwrap().status, 200);
    let mut held = Vec::new();
    for sent in 1..=2 {
        let mut connection = stand.connect().await;
        connection.send("GET /hold", &[], b"").await.unwrap();
        held.push(connection);
        eventually("it has arrived", async || {
            if a.count("/hold") + b.count("/hold") == sent {
                Ok(())
            } else {
                Err("not yet")
            }
        })
        .await;
    }
    assert_eq!((a.count("/hold"), b.count("/hold")), (1, 1));
    let mut old = stand.replace().await;
    let state = stand.state().await;
    assert_eq!(state["predecessors"][0], old.0.id());
    for id in ["a", "b"] {
        assert_eq!(
            stand.instance(id).await["state"],
            "serving",
            "health was handed over"
        );
    }

    stand.set(&role("drain")).await;
    eventually("the predecessor's request is counted", async || {
        let counts = stand.instance("a").await;
        if counts["inFlight"]["requests"] == 1 {
            Ok(())
        } else {
            Err(counts)
        }
    })
    .await;
    assert_eq!(stand.instance("a").await["state"], "draining");
    // The predecessor knows of it too: a connection it kept open asks once more, of the other one.
    let before = a.seen().len();
    let answer = idle.ask("GET /x", &[], b"").await.unwrap();
    assert_eq!((answer.text().as_str(), answer.closes()), ("b", true));
    assert_eq!(a.seen().len(), before);

    a.release(1);
    stand.wait("a", "drained").await;
    b.release(1);
    for connection in &mut held {
        assert_eq!(
            soon("the held answer", connection.receive(false))
                .await
                .unwrap()
                .status,
            200
        );
    }
    assert_eq!(old.ended().await.code(), Some(0));
}

#[tokio::test]
async fn tunnels_of_a_predecessor_are_closed_after_their_time() {
    let a = Backend::start("a").await;
    let mut stand = Stand::with(&["--drain-timeout-ms", "100"], None).await;
    stand
        .serve(&config(&[group("g", 1, &[instance("a", &a, "serve")])]))
        .await;
    let mut tunnel = stand.connect().await;
    let headers = [("connection", "upgrade"), ("upgrade", "websocket")];
    assert_eq!(
        tunnel
            .ask("GET /tunnel", &headers, b"")
            .await
            .unwrap()
            .status,
        101
    );
    let mut old = stand.replace().await;
    assert_eq!(
        soon("the close frame", tunnel.rest()).await,
        [0x88, 2, 0x03, 0xe9]
    );
    assert_eq!(old.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_successor_that_gives_up_changes_nothing() {
    let a = Backend::start("a").await;
    let stand = Stand::start().await;
    let weight = |weight| config(&[group("g", weight, &[instance("a", &a, "serve")])]);
    stand.serve(&weight(1)).await;
    let mut successor = Connection::admin(&stand.socket()).await.unwrap();
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", balancer::handover::PROTOCOL),
    ];
    let answer = successor
        .ask("POST /v1/handover", &headers, b"")
        .await
        .unwrap();
    assert_eq!(answer.status, 101);
    assert_eq!(
        stand.put("\"1\"", 1, &weight(2)).await.status,
        409,
        "frozen meanwhile"
    );
    drop(successor);
    eventually("configurations are accepted again", async || {
        let answer = stand.put("\"1\"", 1, &weight(2)).await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await;
    assert_eq!(stand.get("/x").await.text(), "a");
}

#[tokio::test]
async fn with_nobody_to_take_over_from_it_begins_as_usual() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--handover"];
    let _process = Process::start(folder.path(), &arguments, None);
    eventually("it answers", async || {
        Connection::admin(&folder.path().join(balancer::ADMIN_SOCKET))
            .await
            .map(|_| ())
    })
    .await;
}
