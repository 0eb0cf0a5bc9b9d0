//! Upgraded connections.

use tokio::io::AsyncWriteExt;

use crate::backend::Backend;
use crate::stand::{Stand, config, group, instance, soon};

const UPGRADE: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "echo")];

#[tokio::test]
async fn bytes_pass_both_ways_and_each_side_may_end_first() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("i", &backend, "serve")],
        )]))
        .await;
    let mut tunnel = stand.connect().await;
    let answer = tunnel.ask("GET /tunnel", &UPGRADE, b"").await.unwrap();
    assert_eq!(
        (answer.status, answer.header("upgrade")),
        (101, Some("echo"))
    );
    for size in [1, 1_000, 500_000] {
        let sent: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let (mut reads, mut writes) = tokio::io::split(&mut tunnel.stream);
        let write = async {
            writes.write_all(&sent).await.unwrap();
        };
        let mut got = vec![0; size];
        let read = tokio::io::AsyncReadExt::read_exact(&mut reads, &mut got);
        let (_, read) = soon("the echo", async { tokio::join!(write, read) }).await;
        read.unwrap();
        assert_eq!(got, sent);
    }
    // Half closed: what is still on its way comes.
    tunnel.stream.write_all(b"last").await.unwrap();
    tunnel.stream.shutdown().await.unwrap();
    assert_eq!(soon("the rest", tunnel.rest()).await, b"last");
}

#[tokio::test]
async fn an_instance_that_does_not_agree_answers_as_usual() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("i", &backend, "serve")],
        )]))
        .await;
    let mut connection = stand.connect().await;
    for _ in 0..2 {
        let answer = connection.ask("GET /x", &UPGRADE, b"").await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "a"));
    }
    assert_eq!(
        connection.ask("GET /x", &[], b"").await.unwrap().text(),
        "a"
    );
}

#[tokio::test]
async fn a_tunnel_goes_to_an_instance_that_accepts() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::start().await;
    let mut group = group(
        "g",
        1,
        &[instance("a", &a, "serve"), instance("b", &b, "serve")],
    );
    group["health"]["intervalMs"] = 3_600_000.into();
    stand.serve(&config(&[group])).await;
    drop(b);
    for _ in 0..4 {
        let mut tunnel = stand.connect().await;
        assert_eq!(
            tunnel
                .ask("GET /tunnel", &UPGRADE, b"")
                .await
                .unwrap()
                .status,
            101
        );
    }
}
