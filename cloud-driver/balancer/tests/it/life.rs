//! Stopping, and being idle.

use crate::backend::Backend;
use crate::stand::{Stand, config, eventually, group, instance, soon};

#[tokio::test]
async fn told_to_stop_it_answers_what_it_has_and_ends_with_0() {
    let backend = Backend::start("a").await;
    let mut stand = Stand::start().await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("i", &backend, "serve")],
        )]))
        .await;
    let mut idle = stand.connect().await;
    idle.ask("GET /x", &[], b"").await.unwrap();
    let mut held = stand.connect().await;
    held.send("GET /hold", &[], b"").await.unwrap();
    eventually("it has arrived", async || {
        if backend.count("/hold") == 1 {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
    stand.process.terminate();
    // Idle connections end; so it has heard.
    assert_eq!(soon("the end", idle.rest()).await, b"");
    assert!(
        tokio::net::TcpStream::connect(stand.address).await.is_err(),
        "accepts nobody any more"
    );
    backend.release(1);
    assert_eq!(
        soon("the held answer", held.receive(false))
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(stand.process.ended().await.code(), Some(0));
    assert!(!stand.socket().exists());
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    stand
        .serve(&config(&[group(
            "g",
            1,
            &[instance("i", &backend, "serve")],
        )]))
        .await;
    let mut half = stand.connect().await;
    half.send("GET /half", &[], b"").await.unwrap();
    half.until(b"half").await.unwrap();
    drop(half);
    eventually("the instance sees its connection closed", async || {
        let counts = stand.instance("i").await;
        if counts["inFlight"]["requests"] == 0 && counts["connections"]["open"] == 0 {
            Ok(())
        } else {
            Err(counts)
        }
    })
    .await;
    assert!((stand.metric("balancer_client_gone_total").await - 1.0).abs() < 0.1);
}
