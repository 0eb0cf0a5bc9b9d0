//! Listeners that come and go with the configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::client::Connection;
use crate::stand::{
    Stand, config, eventually, free_address, group, instance, soon, with_listeners,
};
use crate::tls::Front;
use crate::tls_load::TlsLoad;

fn at(address: SocketAddr) -> Value {
    json!({"address": address.to_string()})
}

async fn stand(arguments: &[&str], control: Option<&str>) -> (Stand, Backend, Value) {
    let (stand, backend) = (
        Stand::with(arguments, control).await,
        Backend::start("a").await,
    );
    let config = config(&[group("g", 1, &[instance("i", &backend, "serve")])]);
    stand.serve(&config).await;
    (stand, backend, config)
}

async fn get(address: SocketAddr) -> Option<String> {
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let mut connection = Connection::over(stream);
    let answer = soon("an answer", connection.ask("GET /x", &[], b"")).await;
    Some(answer.unwrap().text())
}

/// Clients that open a connection for each request, refused ones counted apart, until told to stop.
struct Newcomers {
    refused: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<Vec<String>>,
}

impl Newcomers {
    fn start(address: SocketAddr, count: usize) -> Self {
        let mut all = Self {
            refused: Arc::default(),
            answered: Arc::default(),
            stop: Arc::default(),
            clients: JoinSet::new(),
        };
        for _ in 0..count {
            let (refused, answered) = (all.refused.clone(), all.answered.clone());
            let stop = all.stop.clone();
            all.clients.spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    match tokio::net::TcpStream::connect(address).await {
                        Ok(stream) => {
                            let mut connection = Connection::over(stream);
                            match connection.ask("GET /x", &[], b"").await {
                                Ok(answer) if answer.status == 200 => {
                                    answered.fetch_add(1, Ordering::SeqCst);
                                }
                                lost => failed.push(format!("{lost:?}")),
                            }
                        }
                        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                            refused.fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                        }
                        // It was in the kernel's hands when the socket closed.
                        Err(error) => failed.push(error.to_string()),
                    }
                }
                failed
            });
        }
        all
    }

    async fn more(&self, of: &AtomicU64, count: u64) {
        let wanted = of.load(Ordering::SeqCst) + count;
        eventually("the clients go on", async || {
            match of.load(Ordering::SeqCst) {
                enough if enough >= wanted => Ok(()),
                less => Err(less),
            }
        })
        .await;
    }

    async fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        let mut failed = Vec::new();
        while let Some(one) = soon("the clients end", self.clients.join_next()).await {
            failed.extend(one.unwrap());
        }
        failed
    }
}

/// What newcomers lose while a listener comes and goes; kept connections are used meanwhile.
pub(crate) async fn lost_by_coming_and_going(control: Option<&str>, rounds: u32) -> Vec<String> {
    let (stand, _backend, config) = stand(&["--workers", "2"], control).await;
    let address = free_address();
    let with = with_listeners(config.clone(), &[at(address)]);
    let newcomers = Newcomers::start(address, 16);
    let mut failed = Vec::new();
    for _ in 0..rounds {
        stand.set(&with).await;
        newcomers.more(&newcomers.answered, 200).await;
        let mut kept = Connection::open(address).await;
        kept.ask("GET /x", &[], b"").await.unwrap();
        stand.set(&config).await;
        assert_eq!(stand.listening(address).await, Value::Null);
        newcomers.more(&newcomers.refused, 20).await;
        if !kept
            .ask("GET /x", &[], b"")
            .await
            .is_ok_and(|answer| answer.status == 200)
        {
            failed.push("a kept connection".to_owned());
        }
    }
    failed.extend(newcomers.stop().await);
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_comes_and_goes_and_loses_nobody_who_was_let_in() {
    assert_eq!(
        lost_by_coming_and_going(None, 4).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn listeners_of_the_command_line_stay_whatever_the_configuration_says() {
    let (stand, _backend, config) = stand(&[], None).await;
    let other = free_address();
    stand
        .set(&with_listeners(
            config.clone(),
            &[at(stand.address), at(other)],
        ))
        .await;
    for (address, by_command_line) in [(stand.address, true), (other, false)] {
        assert_eq!(get(address).await.as_deref(), Some("a"));
        let listening = stand.listening(address).await;
        assert_eq!(listening["byCommandLine"], by_command_line);
    }
    assert_eq!(
        stand.state().await["listeners"].as_array().unwrap().len(),
        2
    );
    stand.set(&config).await;
    assert_eq!(get(stand.address).await.as_deref(), Some("a"));
    assert_eq!(get(other).await, None);
    assert_eq!(
        stand.state().await["listeners"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn tls_on_a_listener_of_the_command_line_comes_and_goes_too() {
    let (front, _) = Front::start(&[&["a.test"]], json!({})).await;
    let mut listener = front.listener(1);
    listener["address"] = json!(front.stand.address.to_string());
    front.stand.set(&front.config(&[listener])).await;
    let client = front.authority.client();
    let mut secure = client.http1(front.stand.address, "a.test").await;
    assert_eq!(secure.ask("GET /x", &[], b"").await.unwrap().status, 200);
    assert_eq!(front.stand.get("/x").await.status, 400);
    front.stand.set(&front.config(&[])).await;
    assert_eq!(front.stand.get("/x").await.status, 200);
    assert_eq!(
        secure.ask("GET /x", &[], b"").await.unwrap().status,
        200,
        "it goes on"
    );
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_refused_with_the_reason() {
    let (stand, _backend, config) = stand(&[], None).await;
    let taken = std::net::TcpListener::bind(free_address()).unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let (free, elsewhere) = (free_address(), "192.0.2.1:8443".parse().unwrap());
    for (address, reason) in [(taken.1, "in use"), (elsewhere, "assign")] {
        let wanted = with_listeners(config.clone(), &[at(free), at(address)]);
        let answer = stand.put("\"*\"", 1, &wanted).await;
        assert_eq!(answer.status, 422);
        let fault = answer.json()["faults"][0].as_str().unwrap().to_owned();
        assert!(
            fault.starts_with("listeners[1].address: ") && fault.contains(reason),
            "{fault}"
        );
        assert_eq!(get(free).await, None, "nothing of it holds");
    }
    assert_eq!(stand.state().await["generation"], 1);
}

#[tokio::test]
async fn a_listener_survives_a_kill_and_waits_for_its_address() {
    let (mut stand, _backend, config) = stand(&[], None).await;
    let address = free_address();
    let wanted = with_listeners(config, &[at(address)]);
    stand.set(&wanted).await;
    stand.kill_and_restart().await;
    assert_eq!(get(address).await.as_deref(), Some("a"));
    // While it is down, another one takes the address.
    let _ = stand.process.0.kill();
    let _ = stand.process.0.wait();
    let thief = std::net::TcpListener::bind(address).unwrap();
    stand.kill_and_restart().await;
    assert_eq!(stand.get("/x").await.text(), "a");
    let fault = stand.listening(address).await["fault"].clone();
    assert!(fault.as_str().unwrap().contains("in use"), "{fault}");
    let up = format!("balancer_listener_up{{listener=\"{address}\"}}");
    assert_eq!(stand.sample(&up).await as u64, 0);
    let same = stand.set(&wanted).await;
    assert_eq!(same, 2, "the same again is no fault");
    drop(thief);
    eventually("it listens again", async || {
        let listening = stand.listening(address).await;
        if listening["fault"].is_null() {
            Ok(())
        } else {
            Err(listening)
        }
    })
    .await;
    assert_eq!(get(address).await.as_deref(), Some("a"));
    assert_eq!(stand.sample(&up).await as u64, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_over_tls_fails_while_the_process_is_replaced() {
    let (mut front, _) = Front::with(&["--workers", "2"], None, &[&["a.test"]], json!({})).await;
    let client = front.authority.client();
    let load = TlsLoad::start(&client, front.address, "a.test");
    load.more(50).await;
    for _ in 0..3 {
        let mut old = front.stand.replace().await;
        load.more(50).await;
        assert_eq!(old.ended().await.code(), Some(0));
    }
    assert_eq!(load.stop().await.failures(), Vec::<String>::new());
    // It is still the configuration's, and goes with it.
    let plain = front.config(&[]);
    front.stand.set(&plain).await;
    assert!(tokio::net::TcpStream::connect(front.address).await.is_err());
    assert_eq!(front.stand.get("/x").await.text(), "a");
    assert_eq!(front.stand.metric("balancer_retries_total").await as u64, 0);
}

#[tokio::test]
async fn tls_is_there_again_after_a_kill() {
    let (mut front, pairs) = Front::start(&[&["a.test"]], json!({})).await;
    for _ in 0..2 {
        front.stand.kill_and_restart().await;
        let client = front.authority.client();
        let mut connection = client.http1(front.address, "a.test").await;
        assert_eq!(crate::tls_client::shown(&connection.stream), pairs[0].der);
        assert_eq!(
            connection.ask("GET /x", &[], b"").await.unwrap().status,
            200
        );
    }
}

#[tokio::test]
async fn a_predecessor_is_sent_the_rest_of_a_configuration_with_listeners() {
    let (mut stand, backend, config) = stand(&[], None).await;
    let mut held = stand.connect().await;
    held.send("GET /hold", &[], b"").await.unwrap();
    eventually("it has arrived", async || match backend.count("/hold") {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    let mut old = stand.replace().await;
    let address = free_address();
    stand
        .set(&with_listeners(config.clone(), &[at(address)]))
        .await;
    assert_eq!(get(address).await.as_deref(), Some("a"));
    backend.release(1);
    assert_eq!(
        soon("the answer", held.receive(false))
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(old.ended().await.code(), Some(0));
}
