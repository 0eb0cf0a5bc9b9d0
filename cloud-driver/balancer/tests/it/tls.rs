//! TLS towards clients.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion};

use crate::backend::Backend;
use crate::client::Connection;
use crate::http2_client::Http2;
use crate::stand::{
    Stand, config, eventually, free_address, group, instance, soon, with_listeners,
};
use crate::tls_client::{Authority, Files, Pair, Valid, shown};

/// A balancer with one instance and a listener that speaks TLS.
pub(crate) struct Front {
    pub(crate) stand: Stand,
    pub(crate) backend: Backend,
    pub(crate) authority: Authority,
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
}

impl Front {
    /// `certificates`: names of each.
    pub(crate) async fn start(certificates: &[&[&str]], more: Value) -> (Self, Vec<Pair>) {
        Self::with(&[], None, certificates, more).await
    }

    pub(crate) async fn with(
        arguments: &[&str],
        control: Option<&str>,
        certificates: &[&[&str]],
        more: Value,
    ) -> (Self, Vec<Pair>) {
        let front = Self {
            stand: Stand::with(arguments, control).await,
            backend: Backend::start("a").await,
            authority: Authority::new(),
            folder: tempfile::tempdir().unwrap(),
            address: free_address(),
        };
        let pairs: Vec<_> = certificates
            .iter()
            .map(|n| front.authority.pair(n, Valid::Now))
            .collect();
        for (n, pair) in pairs.iter().enumerate() {
            front.files(n).write(pair);
        }
        let mut listener = front.listener(pairs.len());
        for (field, value) in more.as_object().unwrap() {
            listener[field] = value.clone();
        }
        front.stand.serve(&front.config(&[listener])).await;
        (front, pairs)
    }

    pub(crate) fn files(&self, n: usize) -> Files {
        Files::new(self.folder.path(), &n.to_string())
    }

    /// The listener with its first certificates.
    pub(crate) fn listener(&self, certificates: usize) -> Value {
        let certificates: Vec<_> = (0..certificates).map(|n| self.files(n).json()).collect();
        json!({"address": self.address.to_string(), "tls": {"certificates": certificates}})
    }

    pub(crate) fn config(&self, listeners: &[Value]) -> Value {
        let groups = [group("g", 1, &[instance("i", &self.backend, "serve")])];
        with_listeners(config(&groups), listeners)
    }
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_protocols_by_agreement() {
    let names: [&[&str]; 3] = [
        &["first.test"],
        &["shop.test", "*.shop.test"],
        &["pay.shop.test"],
    ];
    let (front, pairs) = Front::start(&names, json!({})).await;
    let client = front.authority.client();
    for (name, nth) in [
        ("first.test", 0),
        ("shop.test", 1),
        ("www.shop.test", 1),
        ("pay.shop.test", 2),
    ] {
        let mut connection = client.http1(front.address, name).await;
        assert_eq!(shown(&connection.stream), pairs[nth].der, "{name}");
        for _ in 0..2 {
            let answer = connection.ask("GET /x", &[], b"").await.unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "a"));
        }
        let shared = client.http2(front.address, name).await;
        assert_eq!(shared.get("/y").await.unwrap().text(), "a");
    }
    // A name that nobody has gets the first certificate, which its client then refuses.
    for name in ["other.test", "a.b.shop.test", "127.0.0.1"] {
        assert!(client.connect(front.address, name).await.is_err(), "{name}");
    }
    for seen in front.backend.seen() {
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    }
    assert_eq!(
        (front.backend.count("/x"), front.backend.count("/y")),
        (8, 4)
    );
    let listening = front.stand.listening(front.address).await;
    assert_eq!(
        (&listening["tls"], &listening["fault"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(
        listening["certificates"][1]["names"],
        json!(["shop.test", "*.shop.test"])
    );
    let end = rcgen::date_time_ymd(2100, 1, 1).unix_timestamp();
    assert_eq!(
        listening["certificates"][1]["notAfterMs"],
        json!(end * 1_000)
    );
    let series = format!(
        "balancer_certificate_not_after_seconds{{listener=\"{}\",certificate=\"{}\"}}",
        front.address,
        front.files(1).certificate.display()
    );
    assert_eq!(front.stand.sample(&series).await as i64, end);
}

#[tokio::test]
async fn without_agreement_the_first_bytes_tell_the_protocol() {
    let (front, _) = Front::start(&[&["a.test"]], json!({})).await;
    let client = front.authority.client();
    let silent = client.connect(front.address, "a.test").await.unwrap();
    assert_eq!(silent.get_ref().1.alpn_protocol(), None);
    let mut connection = Connection::over(silent);
    assert_eq!(
        connection.ask("GET /x", &[], b"").await.unwrap().text(),
        "a"
    );
    // Begins as HTTP/2 would.
    let mut slow = Connection::over(client.connect(front.address, "a.test").await.unwrap());
    slow.stream.write_all(b"P").await.unwrap();
    slow.stream.flush().await.unwrap();
    tokio::task::yield_now().await;
    slow.stream
        .write_all(b"OST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nxy")
        .await
        .unwrap();
    slow.stream.flush().await.unwrap();
    assert_eq!(soon("it", slow.receive(false)).await.unwrap().text(), "2");
    let shared = Http2::over(client.connect(front.address, "a.test").await.unwrap()).await;
    assert_eq!(shared.get("/y").await.unwrap().text(), "a");
    // One that speaks nothing we do is told so in the handshake.
    assert!(
        client
            .speaking(&["smtp"])
            .connect(front.address, "a.test")
            .await
            .is_err()
    );
    eventually("it is counted", async || {
        match front
            .stand
            .sample("balancer_tls_handshakes_total{result=\"failed\"}")
            .await
        {
            failed if failed > 0.5 => Ok(()),
            failed => Err(failed),
        }
    })
    .await;
}

#[tokio::test]
async fn versions_are_spoken_from_the_least_on_and_sessions_are_taken_up_again() {
    let (front, _) = Front::start(&[&["a.test"]], json!({})).await;
    for (version, protocol) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let client = front.authority.client_of(&[version]).resuming();
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut connection = client.http1(front.address, "a.test").await;
            // Tickets come with the first answer.
            assert_eq!(
                connection.ask("GET /x", &[], b"").await.unwrap().status,
                200
            );
            let (_, session) = connection.stream.get_ref();
            assert_eq!(session.protocol_version(), Some(protocol));
            assert_eq!(session.handshake_kind(), Some(kind), "{protocol:?}");
        }
    }
    let handshakes = |result: &str| format!("balancer_tls_handshakes_total{{result=\"{result}\"}}");
    assert_eq!(front.stand.sample(&handshakes("full")).await as u64, 2);
    assert_eq!(front.stand.sample(&handshakes("resumed")).await as u64, 2);

    let mut listener = front.listener(1);
    listener["tls"]["minVersion"] = json!("1.3");
    front.stand.set(&front.config(&[listener])).await;
    let older = front.authority.client_of(&[&TLS12]);
    assert!(older.connect(front.address, "a.test").await.is_err());
    let newer = front.authority.client_of(&[&TLS13]);
    assert!(newer.connect(front.address, "a.test").await.is_ok());
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_so() {
    let (front, _) = Front::start(&[&["a.test"]], json!({})).await;
    let long = "x".repeat(30_000);
    for path in ["/", long.as_str()] {
        let mut plain = Connection::open(front.address).await;
        plain.send(&format!("GET {path}"), &[], b"").await.unwrap();
        let answer = soon("the answer", plain.receive(false)).await.unwrap();
        assert_eq!((answer.status, answer.closes()), (400, true));
        assert_eq!(answer.header("x-balancer-error"), Some("plain_http"));
        assert!(answer.text().contains("https://"), "{}", answer.text());
        assert_eq!(soon("the end", plain.rest()).await, b"");
    }
    // Neither does this, and it goes on for ever.
    let mut noise = TcpStream::connect(front.address).await.unwrap();
    let begun = Instant::now();
    while noise.write_all(&[b'x'; 4096]).await.is_ok() {}
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(front.backend.seen().len(), 0);
    let plain = "balancer_tls_handshakes_total{result=\"plain_http\"}";
    assert_eq!(front.stand.sample(plain).await as u64, 3);
}

#[tokio::test]
async fn slow_handshakes_hold_up_nobody_and_end_in_time() {
    let more = json!({"greetingTimeoutMs": 5_000});
    let (front, _) = Front::with(&["--workers", "1"], None, &[&["a.test"]], more).await;
    let mut slow = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        // Nothing, the first byte, or the beginning of a long hello.
        let said: &[u8] = [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"][n % 3];
        stream.write_all(said).await.unwrap();
        slow.push(stream);
    }
    let client = front.authority.client();
    let begun = Instant::now();
    let mut connection = client.http1(front.address, "a.test").await;
    assert_eq!(
        connection.ask("GET /x", &[], b"").await.unwrap().status,
        200
    );
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    for stream in &mut slow {
        let mut rest = Vec::new();
        let _reset = soon("the end", stream.read_to_end(&mut rest)).await;
    }
    let timeout = "balancer_tls_handshakes_total{result=\"timeout\"}";
    assert_eq!(front.stand.sample(timeout).await as u64, 300);
    assert_eq!(
        connection.ask("GET /x", &[], b"").await.unwrap().status,
        200,
        "it goes on"
    );
}

#[tokio::test]
async fn tunnels_pass_over_tls_and_are_closed_with_a_word() {
    let (mut front, _) = Front::with(
        &["--drain-timeout-ms", "100"],
        None,
        &[&["a.test"]],
        json!({}),
    )
    .await;
    let client = front.authority.client();
    let mut tunnel = client.http1(front.address, "a.test").await;
    let headers = [("connection", "Upgrade"), ("upgrade", "websocket")];
    let answer = tunnel.ask("GET /tunnel", &headers, b"").await.unwrap();
    assert_eq!(answer.status, 101);
    let sent: Vec<u8> = (0..300_000)
        .map(|i| u8::try_from(i % 251).unwrap())
        .collect();
    // A frame of a WebSocket, so that its end is one for whoever closes it.
    let mut frame = vec![0x82, 127];
    frame.extend((sent.len() as u64).to_be_bytes());
    frame.extend(&sent);
    let (mut reads, mut writes) = tokio::io::split(&mut tunnel.stream);
    let mut echo = vec![0; frame.len()];
    let both = async {
        let write = async {
            writes.write_all(&frame).await.unwrap();
            writes.flush().await.unwrap();
        };
        tokio::join!(write, reads.read_exact(&mut echo)).1
    };
    soon("the echo", both).await.unwrap();
    assert_eq!(echo, frame);
    let mut old = front.stand.replace().await;
    assert_eq!(
        soon("the close frame", tunnel.rest()).await,
        [0x88, 2, 0x03, 0xe9]
    );
    assert_eq!(old.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_a_client_says_of_its_protocol_counts_only_when_it_is_trusted() {
    let (front, _) = Front::start(&[&["a.test"]], json!({})).await;
    let client = front.authority.client();
    for (trusted, proto) in [
        (json!(["10.0.0.0/8"]), "https"),
        (json!(["127.0.0.1"]), "http"),
    ] {
        let mut listener = front.listener(1);
        listener["trusted"] = trusted;
        front.stand.set(&front.config(&[listener])).await;
        let mut connection = client.http1(front.address, "a.test").await;
        let said = [("x-forwarded-proto", "http")];
        assert_eq!(
            connection.ask("GET /x", &said, b"").await.unwrap().status,
            200
        );
        let seen = front.backend.seen().pop().unwrap();
        assert_eq!(seen.header("x-forwarded-proto"), Some(proto));
    }
}

#[tokio::test]
async fn plain_requests_are_sent_to_https_where_it_is_asked_for() {
    let (front, _) = Front::start(&[&["a.test"]], json!({})).await;
    let plain = free_address();
    let port = front.address.port();
    let redirect = json!({"address": plain.to_string(), "redirectToHttps": port});
    front
        .stand
        .set(&front.config(&[front.listener(1), redirect]))
        .await;
    let mut connection = Connection::open(plain).await;
    for host in ["a.test", "a.test:80"] {
        let answer = connection
            .ask("POST /x?y=1", &[("host", host)], b"body")
            .await
            .unwrap();
        let location = format!("https://a.test:{port}/x?y=1");
        assert_eq!(
            (answer.status, answer.header("location")),
            (308, Some(location.as_str()))
        );
    }
    let shared = Http2::open(plain).await;
    let answer = shared.get("/z").await.unwrap();
    let location = format!("https://shop.test:{port}/z");
    assert_eq!(
        (answer.status, &answer.headers["location"]),
        (308, &location.parse().unwrap())
    );
    assert_eq!(front.backend.seen().len(), 0);
}

/// Resident memory of a process, bytes.
#[cfg(target_os = "linux")]
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib = line.trim().strip_suffix(" kB").unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

/// Bytes resident for each idle connection that has been used once.
#[cfg(target_os = "linux")]
async fn cost_of_idle(protocol: &str, count: usize) -> usize {
    // What the first ones cost once for all is not counted.
    const FIRST: usize = 50;
    let (front, _) = Front::start(&[&["a.test"]], json!({})).await;
    let client = front.authority.client().speaking(&[protocol]);
    let pid = front.stand.process.0.id();
    let (mut shared, mut kept, mut before) = (Vec::new(), Vec::new(), 0);
    for n in 0..FIRST + count {
        if n == FIRST {
            before = resident(pid);
        }
        let stream = client.connect(front.address, "a.test").await.unwrap();
        if protocol == "h2" {
            let connection = Http2::over(stream).await;
            assert_eq!(connection.get("/x").await.unwrap().status, 200);
            shared.push(connection);
        } else {
            let mut connection = Connection::over(stream);
            let answer = connection.ask("POST /length", &[], &[b'x'; 1000]).await;
            assert_eq!(answer.unwrap().status, 200);
            kept.push(connection);
        }
    }
    resident(pid).saturating_sub(before) / count
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_idle_connection_costs_little_memory() {
    const MOST: usize = 48 * 1024;
    for protocol in ["http/1.1", "h2"] {
        let each = cost_of_idle(protocol, 250).await;
        println!("{protocol}: {each} bytes resident for each idle connection");
        assert!(
            (1..=MOST).contains(&each),
            "{protocol}: {each} bytes for each idle connection"
        );
    }
}
