//! Requests written by hand: every known way to make two readers disagree about where a request ends,
//! whom it is for, or what a line is. Each is followed by two innocent requests on its connection.

use std::sync::Arc;

use super::framings::{ANNOUNCED, BODIES, CHUNKS, LENGTHS, SMUGGLED};
use super::heads::{HOSTS, LINES, REQUEST_LINES};

/// Bytes for a connection, and what they try.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) raw: Arc<[u8]>,
}

/// The innocent requests behind each case; the last ends the connection.
const TAIL: &[u8] = b"GET /second HTTP/1.1\r\nHost: t\r\n\r\n\
    GET /end HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |class: &str, what: &[u8], raw: &[&[u8]]| {
        let what = &what[..what.len().min(100)];
        let name = format!("{class}: {}", what.escape_ascii());
        let raw = [&raw.concat(), TAIL].concat().into();
        all.push(Case { name, raw });
    };
    const POST: &[u8] = b"POST /case HTTP/1.1\r\nHost: t\r\n";
    const END: &[u8] = b"\r\n\r\n";
    for lines in LENGTHS {
        for (body, more) in BODIES {
            add("length", lines, &[POST, lines, END, body, more]);
        }
        let get = b"GET /case HTTP/1.1\r\nHost: t\r\n";
        add(
            "length of a GET",
            lines,
            &[get, lines, END, BODIES[0].0, SMUGGLED],
        );
        let old = b"POST /case HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n";
        add(
            "length in 1.0",
            lines,
            &[old, lines, END, BODIES[0].0, SMUGGLED],
        );
    }
    for (method, body) in [
        ("GET", "5\r\nhello\r\n0\r\n\r\n"),
        ("HEAD", "0\r\n\r\n"),
        ("DELETE", "0\r\n\r\n"),
        ("OPTIONS", "1\r\nx\r\n0\r\n\r\n"),
    ] {
        let head =
            format!("{method} /case HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
        add(
            "chunks",
            method.as_bytes(),
            &[head.as_bytes(), body.as_bytes()],
        );
    }
    for body in CHUNKS {
        add(
            "chunks",
            body,
            &[POST, b"Transfer-Encoding: chunked\r\n\r\n", body],
        );
    }
    for both in ANNOUNCED {
        let at = both.iter().position(|&byte| byte == b'|').unwrap_or(0);
        let (head, trailers) = (&both[..at], &both[at + 1..]);
        add(
            "trailers",
            head,
            &[
                POST,
                head,
                b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
                trailers,
                END,
            ],
        );
    }
    for line in REQUEST_LINES {
        add("first line", line, &[line, b"\r\nHost: t\r\n\r\n"]);
        add("first line of old", line, &[line, b"\r\n\r\n"]);
    }
    for lines in LINES {
        let get = b"GET /case HTTP/1.1\r\n";
        add("line", lines, &[get, b"Host: t\r\n", lines, END]);
        add("first header", lines, &[get, lines, b"\r\nHost: t\r\n\r\n"]);
    }
    for lines in HOSTS {
        add("host", lines, &[b"GET /case HTTP/1.1\r\n", lines, END]);
        add(
            "host in 1.0",
            lines,
            &[
                b"GET /case HTTP/1.0\r\nConnection: keep-alive\r\n",
                lines,
                END,
            ],
        );
        add(
            "host beside a target's",
            lines,
            &[b"GET http://t/case HTTP/1.1\r\n", lines, END],
        );
    }
    for (name, ends) in [
        ("bare line feeds", "\n"),
        ("bare carriage returns", "\r"),
        ("LF CR", "\n\r"),
        ("CR CR LF", "\r\r\n"),
    ] {
        let text =
            format!("POST /case HTTP/1.1{ends}Host: t{ends}Content-Length: 5{ends}{ends}hello");
        add("line ends", name.as_bytes(), &[text.as_bytes()]);
        let text = format!("POST /case HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n{ends}hello");
        add("end of the head", name.as_bytes(), &[text.as_bytes()]);
    }
    for size in [60_000, 66_000, 140_000] {
        let long = "x".repeat(size);
        for text in [
            format!("GET /case HTTP/1.1\r\nHost: t\r\nX: {long}\r\n\r\n"),
            format!("GET /case HTTP/1.1\r\nHost: t\r\n{long}: 1\r\n\r\n"),
            format!("GET /case?{long} HTTP/1.1\r\nHost: t\r\n\r\n"),
            format!("{long} /case HTTP/1.1\r\nHost: t\r\n\r\n"),
            format!("GET /case HTTP/1.1\r\nHost: {long}\r\n\r\n"),
            format!(
                "POST /case HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1;{long}\r\nx\r\n0\r\n\r\n"
            ),
            format!(
                "POST /case HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: {long}\r\n\r\n"
            ),
        ] {
            add(
                &format!("{size} bytes"),
                text.as_bytes(),
                &[text.as_bytes()],
            );
        }
    }
    for count in [90, 100, 5_000] {
        let many = "X: 1\r\n".repeat(count);
        let text = format!("GET /case HTTP/1.1\r\nHost: t\r\n{many}\r\n");
        add(&format!("{count} headers"), b"", &[text.as_bytes()]);
        let text = format!(
            "POST /case HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{many}\r\n"
        );
        add(&format!("{count} trailers"), b"", &[text.as_bytes()]);
    }
    all
}
