//! Certificates that are changed while they are in use.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::client::Connection;
use crate::stand::{Stand, config, eventually, free_address, with_listeners};
use crate::tls::Front;
use crate::tls_client::{Authority, Files, Pair, Valid, shown};
use crate::tls_load::TlsLoad;

/// Waits until new connections are shown a certificate.
async fn shows(front: &Front, pair: &Pair) {
    let client = front.authority.client().speaking(&["http/1.1"]);
    eventually("the certificate is shown", async || {
        let stream = client.connect(front.address, "a.test").await;
        match stream {
            Ok(stream) if shown(&stream) == pair.der => Ok(()),
            Ok(_) => Err("another one is".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

/// Waits for a certificate's fault; none: that there is none.
async fn fault(front: &Front, about: Option<&str>) -> Value {
    eventually(&format!("the fault is {about:?}"), async || {
        let state = front.stand.listening(front.address).await["certificates"][0].clone();
        let told = match (state["fault"].as_str(), about) {
            (None, None) => true,
            (Some(fault), Some(about)) => fault.contains(about),
            _ => false,
        };
        if told { Ok(state) } else { Err(state) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_shown_while_requests_flow_and_none_fails() {
    let (front, pairs) = Front::with(&["--workers", "2"], None, &[&["a.test"]], json!({})).await;
    let client = front.authority.client();
    let load = TlsLoad::start(&client, front.address, "a.test");
    load.more(50).await;
    let mut old = client.http1(front.address, "a.test").await;
    for _ in 0..3 {
        let new = front.authority.pair(&["a.test"], Valid::Now);
        front.files(0).write(&new);
        shows(&front, &new).await;
        load.more(50).await;
    }
    assert_eq!(shown(&old.stream), pairs[0].der);
    assert_eq!(
        old.ask("GET /x", &[], b"").await.unwrap().status,
        200,
        "it goes on"
    );
    assert_eq!(load.stop().await.failures(), Vec::<String>::new());
}

#[tokio::test]
async fn a_session_is_not_taken_up_again_under_a_new_certificate() {
    let (front, _) = Front::start(&[&["a.test"]], json!({})).await;
    let client = front.authority.client().resuming();
    let mut first = client.http1(front.address, "a.test").await;
    assert_eq!(first.ask("GET /x", &[], b"").await.unwrap().status, 200);
    let new = front.authority.pair(&["a.test"], Valid::Now);
    front.files(0).write(&new);
    shows(&front, &new).await;
    let again = client.http1(front.address, "a.test").await;
    assert_eq!(shown(&again.stream), new.der);
}

#[tokio::test]
async fn what_cannot_be_used_never_takes_the_place_of_what_is() {
    let (front, pairs) = Front::start(&[&["a.test"]], json!({})).await;
    let (files, other) = (
        front.files(0),
        front.authority.pair(&["a.test"], Valid::Now),
    );
    let secret: String = other.key.lines().skip(1).take(1).collect();
    let torn_key = other.key[..other.key.len() / 2].to_owned();
    let locked = other.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let cases = [
        (&pairs[0].certificate, &other.key, "it is not the key of"),
        (&other.certificate, &pairs[0].key, "it is not the key of"),
        (&pairs[0].certificate, &torn_key, "torn private key"),
        (&pairs[0].certificate, &locked, "encrypted"),
        (&other.key, &other.key, "no certificate in PEM"),
        (
            &other.certificate,
            &other.certificate,
            "no private key in PEM",
        ),
    ];
    for (certificate, key, about) in cases {
        files.write(&Pair {
            certificate: certificate.clone(),
            key: key.clone(),
            der: pairs[0].der.clone(),
        });
        let state = fault(&front, Some(about)).await;
        assert_eq!(
            state["names"],
            json!(["a.test"]),
            "the one before is known still"
        );
        assert!(!state.to_string().contains(&secret), "{state}");
        shows(&front, &pairs[0]).await;
    }
    std::fs::remove_file(&files.key).unwrap();
    fault(&front, Some("No such file")).await;
    shows(&front, &pairs[0]).await;
    let series = format!(
        "balancer_certificate_fault{{listener=\"{}\",certificate=\"{}\"}}",
        front.address,
        files.certificate.display()
    );
    assert_eq!(front.stand.sample(&series).await as u64, 1);
    // Other things can be changed meanwhile.
    let mut config = front.config(&[front.listener(1)]);
    config["loadBalancers"][0]["groups"][0]["weight"] = json!(7);
    front.stand.set(&config).await;
    shows(&front, &pairs[0]).await;
    files.write(&other);
    fault(&front, None).await;
    shows(&front, &other).await;
    assert_eq!(front.stand.sample(&series).await as u64, 0);
}

#[tokio::test]
async fn an_expired_certificate_does_not_replace_one_that_clients_accept() {
    let (front, pairs) = Front::start(&[&["a.test"]], json!({})).await;
    for (valid, about) in [
        (Valid::Past, "it has expired"),
        (Valid::Future, "not valid before"),
    ] {
        front
            .files(0)
            .write(&front.authority.pair(&["a.test"], valid));
        fault(&front, Some(about)).await;
        shows(&front, &pairs[0]).await;
    }
    // Alone it is shown, with a warning, and replaced as soon as there is a better one.
    let address = free_address();
    let expired = front.authority.pair(&["a.test"], Valid::Past);
    let files = Files::with(front.folder.path(), "expired", &expired);
    let mut listener = front.listener(0);
    listener["address"] = json!(address.to_string());
    listener["tls"]["certificates"] = json!([files.json()]);
    front
        .stand
        .set(&front.config(&[front.listener(1), listener]))
        .await;
    let state = front.stand.listening(address).await["certificates"][0].clone();
    assert!(
        state["fault"].as_str().unwrap().contains("it has expired"),
        "{state}"
    );
    let better = front.authority.pair(&["a.test"], Valid::Now);
    files.write(&better);
    let client = front.authority.client().speaking(&["http/1.1"]);
    eventually("the better one is shown", async || {
        client
            .connect(address, "a.test")
            .await
            .map(drop)
            .map_err(|e| e.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_configuration_with_certificates_that_cannot_be_used_is_refused_by_path() {
    let stand = Stand::start().await;
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let good = Files::with(
        folder.path(),
        "good",
        &authority.pair(&["a.test"], Valid::Now),
    );
    let other = Files::with(
        folder.path(),
        "other",
        &authority.pair(&["b.test"], Valid::Now),
    );
    let address = free_address();
    let folder = folder.path().to_str().unwrap();
    for (certificate, key, about) in [
        (
            json!("/nowhere.pem"),
            good.json()["key"].clone(),
            "certificate: \"/nowhere.pem\": No such file",
        ),
        (
            good.json()["certificate"].clone(),
            json!("/nowhere.key"),
            "key: \"/nowhere.key\": No such file",
        ),
        (
            good.json()["certificate"].clone(),
            other.json()["key"].clone(),
            "it is not the key of",
        ),
        (
            good.json()["certificate"].clone(),
            json!(folder),
            "it is no file",
        ),
        (
            good.json()["certificate"].clone(),
            json!("/dev/zero"),
            "it is no file",
        ),
    ] {
        let pair = json!({"certificate": certificate, "key": key});
        let listener = json!({"address": address.to_string(), "tls": {"certificates": [pair]}});
        let answer = stand
            .put("\"*\"", 1, &with_listeners(config(&[]), &[listener]))
            .await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        let fault = answer.json()["faults"][0].as_str().unwrap().to_owned();
        assert!(
            fault.starts_with("listeners[0].tls.certificates[0]."),
            "{fault}"
        );
        assert!(fault.contains(about), "{fault}");
        assert!(
            tokio::net::TcpStream::connect(address).await.is_err(),
            "nothing is bound"
        );
    }
    assert_eq!(stand.state().await["generation"], 0);
}

#[tokio::test]
async fn told_by_a_signal_it_reads_them_again() {
    let (front, _) = Front::start(&[&["a.test"]], json!({})).await;
    let client = front.authority.client();
    let mut connection = client.http1(front.address, "a.test").await;
    let pid = rustix::process::Pid::from_child(&front.stand.process.0);
    for _ in 0..3 {
        let new = front.authority.pair(&["a.test"], Valid::Now);
        front.files(0).write(&new);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        shows(&front, &new).await;
    }
    assert_eq!(
        connection.ask("GET /x", &[], b"").await.unwrap().status,
        200
    );
}

#[tokio::test]
async fn without_a_certificate_at_its_start_it_serves_the_rest_and_heals() {
    let (mut front, pairs) = Front::start(&[&["a.test"], &["b.test"]], json!({})).await;
    for n in 0..2 {
        std::fs::remove_file(front.files(n).certificate).unwrap();
    }
    front.stand.kill_and_restart().await;
    assert_eq!(front.stand.get("/x").await.text(), "a");
    let listening = front.stand.listening(front.address).await;
    assert_eq!(listening["fault"], "no certificate can be used");
    let client = front.authority.client();
    assert!(client.connect(front.address, "a.test").await.is_err());
    let mut plain = Connection::open(front.address).await;
    plain
        .stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let answer = plain.receive(false).await.unwrap();
    assert_eq!(
        answer.status, 400,
        "never does it serve plain what is to be secret"
    );
    // The second of them stands in for the first.
    front.files(1).write(&pairs[1]);
    eventually("the second one is shown", async || {
        client
            .connect(front.address, "b.test")
            .await
            .map(drop)
            .map_err(|e| e.to_string())
    })
    .await;
    front.files(0).write(&pairs[0]);
    shows(&front, &pairs[0]).await;
    assert_eq!(
        front.stand.listening(front.address).await["fault"],
        Value::Null
    );
}

#[tokio::test]
async fn a_successor_that_cannot_read_a_certificate_leaves_the_predecessor_in_place() {
    let (front, pairs) = Front::start(&[&["a.test"]], json!({})).await;
    std::fs::remove_file(front.files(0).key).unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--handover"];
    let mut successor = crate::stand::Process::start(front.stand.folder.path(), &arguments, None);
    assert_eq!(successor.ended().await.code(), Some(1));
    shows(&front, &pairs[0]).await;
    // And it accepts configurations again.
    let config = front.config(&[front.listener(1)]);
    eventually("it accepts configurations", async || {
        match front.stand.put("\"*\"", 1, &config).await.status {
            200 => Ok(()),
            other => Err(other),
        }
    })
    .await;
}
