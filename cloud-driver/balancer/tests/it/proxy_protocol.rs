//! The PROXY protocol in front of connections, plain and with TLS.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::Connection;
use crate::http2_client::Http2;
use crate::stand::{eventually, free_address, soon};
use crate::tls::Front;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 whose count is that of what follows.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// 203.0.113.7 to 10.0.0.1, ports 5000 and 443.
const FOUR: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x13, 0x88, 1, 0xbb];

fn six() -> Vec<u8> {
    let client: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    [&client.octets()[..], &[0; 16], &[0x13, 0x88, 1, 0xbb]].concat()
}

/// A plain listener and one with TLS, both as `mode` says.
async fn front(mode: &str, more: Value) -> (Front, SocketAddr) {
    let mut all = json!({"proxyProtocol": mode});
    for (field, value) in more.as_object().unwrap() {
        all[field] = value.clone();
    }
    let (front, _) = Front::start(&[&["a.test"]], all.clone()).await;
    let plain = free_address();
    let mut secure = front.listener(1);
    let mut listener = json!({"address": plain.to_string()});
    for (field, value) in all.as_object().unwrap() {
        listener[field] = value.clone();
        secure[field] = value.clone();
    }
    front.stand.set(&front.config(&[secure, listener])).await;
    (front, plain)
}

async fn connect(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

async fn counted(front: &Front, result: &str) -> u64 {
    let series = format!("balancer_proxy_protocol_total{{result=\"{result}\"}}");
    front.stand.sample(&series).await as u64
}

#[tokio::test]
async fn the_client_that_a_proxy_names_is_the_one_that_instances_are_told_of() {
    let (front, plain) = front("required", json!({})).await;
    let noted = v2(
        0x21,
        0x11,
        &[&FOUR[..], &[4, 0, 3, 1, 2, 3, 5, 0, 0]].concat(),
    );
    let good: [(&[u8], &str); 8] = [
        (
            b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n",
            "203.0.113.7",
        ),
        (b"PROXY TCP6 2001:db8::7 ::1 5000 443\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (&v2(0x21, 0x11, &FOUR), "203.0.113.7"),
        (&v2(0x21, 0x21, &six()), "2001:db8::7"),
        (&noted, "203.0.113.7"),
        (&v2(0x20, 0x00, b""), "127.0.0.1"),
        (&v2(0x20, 0x11, &FOUR), "127.0.0.1"),
    ];
    for (header, address) in good {
        let seen_of = |path: &str| {
            let seen = front.backend.seen().pop().unwrap();
            assert!(seen.line.contains(path), "{}", seen.line);
            let of = |name| seen.header(name).unwrap().to_owned();
            (of("x-forwarded-for"), of("x-forwarded-proto"))
        };
        let mut connection = Connection::over(connect(plain, header).await);
        for _ in 0..2 {
            assert_eq!(
                connection.ask("GET /plain", &[], b"").await.unwrap().status,
                200
            );
            assert_eq!(seen_of("/plain"), (address.to_owned(), "http".to_owned()));
        }
        let shared = Http2::over(connect(plain, header).await).await;
        assert_eq!(shared.get("/shared").await.unwrap().status, 200);
        assert_eq!(seen_of("/shared"), (address.to_owned(), "http".to_owned()));
        let client = front.authority.client().speaking(&["http/1.1"]);
        let secure = client
            .over(connect(front.address, header).await, "a.test")
            .await;
        let mut secure = Connection::over(secure.unwrap());
        // The client behind the proxy is not the proxy: what it says of itself is not believed.
        let said = [
            ("x-forwarded-proto", "http"),
            ("x-forwarded-for", "192.0.2.9"),
        ];
        assert_eq!(
            secure.ask("GET /secure", &said, b"").await.unwrap().status,
            200
        );
        let believed = address == "127.0.0.1";
        let proto = if believed { "http" } else { "https" };
        let list = format!("192.0.2.9, {address}");
        assert_eq!(seen_of("/secure"), (list, proto.to_owned()));
    }
    assert_eq!(counted(&front, "client").await, 15);
    assert_eq!(counted(&front, "sender").await, 9);
}

#[tokio::test]
async fn a_header_that_comes_byte_by_byte_is_read_whole_and_nothing_else_is() {
    let (front, plain) = front("optional", json!({})).await;
    let headers: [&[u8]; 3] = [
        b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n",
        &v2(0x21, 0x11, &FOUR),
        b"",
    ];
    for header in headers {
        let mut stream = connect(plain, b"").await;
        let request = b"PROPFIND /x HTTP/1.1\r\nhost: a\r\n\r\n";
        for byte in header.iter().chain(request) {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
        }
        let answer = soon("the answer", Connection::over(stream).receive(false)).await;
        assert_eq!(answer.unwrap().status, 200);
        let seen = front.backend.seen().pop().unwrap();
        assert_eq!(seen.line, "PROPFIND /x HTTP/1.1");
        let address = if header.is_empty() {
            "127.0.0.1"
        } else {
            "203.0.113.7"
        };
        assert_eq!(seen.header("x-forwarded-for"), Some(address));
    }
    assert_eq!(counted(&front, "absent").await, 1);
}

#[tokio::test]
async fn each_bad_form_closes_the_connection_and_is_counted() {
    let (front, plain) = front("required", json!({"greetingTimeoutMs": 300})).await;
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    let over = vec![0; 5_000];
    let lies = [SIGNATURE, &[0x21, 0x11, 0, 6], &FOUR[..]].concat();
    let said = v2(0x21, 0x11, &[&FOUR[..], &[4, 0, 9, 1]].concat());
    let bad: [(&[u8], &str); 14] = [
        (long.as_bytes(), "malformed"),
        (b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n", "malformed"),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 1\r\n", "malformed"),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 70000 2\r\n", "malformed"),
        (b"PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n", "malformed"),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\n", "malformed"),
        (&v2(0x21, 0x41, &FOUR), "malformed"),
        (&v2(0x31, 0x11, &FOUR), "malformed"),
        (&v2(0x21, 0x11, &FOUR[..11]), "malformed"),
        (&lies, "malformed"),
        (&said, "malformed"),
        (&v2(0x21, 0x11, &over), "malformed"),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "missing"),
        (b"\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "missing"),
    ];
    for (bytes, result) in bad {
        for address in [plain, front.address] {
            let before = counted(&front, result).await;
            let mut connection = Connection::over(connect(address, bytes).await);
            // A request behind it, for one that would let it through.
            let _closed = connection.send("GET /x", &[], b"").await;
            let rest = soon("the end", connection.rest()).await;
            assert_eq!(rest, b"", "{:?}", String::from_utf8_lossy(bytes));
            let now = counted(&front, result).await;
            assert_eq!(now, before + 1, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
    // Those that end early, and those that do not go on.
    let early: [&[u8]; 4] = [
        b"PRO",
        b"PROXY TCP4 203",
        &SIGNATURE[..5],
        &v2(0x21, 0x11, &FOUR)[..20],
    ];
    for bytes in early {
        let before = counted(&front, "malformed").await;
        let mut stream = connect(plain, bytes).await;
        stream.shutdown().await.unwrap();
        assert_eq!(soon("the end", Connection::over(stream).rest()).await, b"");
        assert_eq!(counted(&front, "malformed").await, before + 1);
        let before = counted(&front, "timeout").await;
        let waits = connect(plain, bytes).await;
        assert_eq!(soon("the end", Connection::over(waits).rest()).await, b"");
        assert_eq!(counted(&front, "timeout").await, before + 1);
    }
    assert_eq!(front.backend.seen().len(), 0);
}

#[tokio::test]
async fn who_is_not_trusted_names_nobody() {
    let (required, plain) = front("required", json!({"trusted": ["10.0.0.0/8"]})).await;
    let header = b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n";
    let mut connection = Connection::over(connect(plain, header).await);
    let _closed = connection.send("GET /x", &[], b"").await;
    assert_eq!(soon("the end", connection.rest()).await, b"");
    eventually("it is counted", async || {
        match counted(&required, "untrusted").await {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;

    let (optional, plain) = front("optional", json!({"trusted": ["10.0.0.0/8"]})).await;
    let mut without = Connection::over(connect(plain, b"").await);
    assert_eq!(without.ask("GET /x", &[], b"").await.unwrap().status, 200);
    // To HTTP it is no request, to TLS no hello.
    for address in [plain, optional.address] {
        let mut connection = Connection::over(connect(address, header).await);
        let answer = soon("an answer", connection.ask("GET /y", &[], b"")).await;
        assert_eq!(answer.unwrap().status, 400);
    }
    assert_eq!(optional.backend.seen().len(), 1);
    let seen = optional.backend.seen().pop().unwrap();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(counted(&optional, "client").await, 0);
}
