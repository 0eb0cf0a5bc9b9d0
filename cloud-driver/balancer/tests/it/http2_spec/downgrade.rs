//! What would be something else in HTTP/1.1, in which instances are asked (RFC 9113, section 10.3).

use super::fields::block;
use super::frames::{END_HEADERS, END_STREAM, WHOLE, data, headers};
use super::script::{Case, Expect, Peer, Step, after, case};

/// A request that is refused because of its fields.
fn refused(fields: &[(&str, &str)]) -> Vec<Step> {
    after([headers(1, WHOLE, &block(fields))], Expect::Malformed(1))
}

/// A GET that is refused because of a field behind those that it needs.
fn with(peer: &Peer, name: &str, value: &str) -> Vec<Step> {
    refused(&peer.fields("GET", &[(name, value)]))
}

/// A GET that is refused because one of the fields that it needs has another value.
fn changed(peer: &Peer, name: &str, value: &str) -> Vec<Step> {
    let fields = peer.fields("GET", &[]).into_iter();
    let changed = fields.map(|(n, v)| if n == name { (n, value) } else { (n, v) });
    refused(&changed.collect::<Vec<_>>())
}

pub(super) const CASES: &[Case] = &[
    case("8.2.1", "a line's end in a value", |p| {
        with(p, "x-spec", "1\r\nx-other: 2")
    }),
    case("8.2.1", "a line feed in a value", |p| {
        with(p, "x-spec", "1\nx-other: 2")
    }),
    case("8.2.1", "a carriage return in a value", |p| {
        with(p, "x-spec", "1\rx-other: 2")
    }),
    case("8.2.1", "a zero byte in a value", |p| {
        with(p, "x-spec", "1\x002")
    }),
    case("8.2.1", "a line's end in a name", |p| {
        with(p, "x-spec: 1\r\nx-other", "2")
    }),
    case("8.2.1", "a space in a name", |p| with(p, "x spec", "1")),
    case("8.2.1", "a colon in a name", |p| with(p, "x:spec", "1")),
    case("8.2.1", "a name without a letter", |p| with(p, "", "1")),
    case("8.2.2", "Transfer-Encoding", |p| {
        with(p, "transfer-encoding", "chunked")
    }),
    case("8.3.1", "a line's end in :path", |p| {
        changed(p, ":path", "/ HTTP/1.1\r\nx-other: 2")
    }),
    case("8.3.1", "a space in :path", |p| changed(p, ":path", "/a b")),
    case("8.3.1", "a :path that does not begin with a slash", |p| {
        changed(p, ":path", "a")
    }),
    case("8.3.1", "a space in :method", |p| {
        changed(p, ":method", "GET / HTTP/1.1\r\nx-other: 2\r\n\r\nGET")
    }),
    case("8.3.1", "a line's end in :authority", |p| {
        changed(p, ":authority", "spec.test\r\nx-other: 2")
    }),
    case("8.3.1", "a user in :authority", |p| {
        changed(p, ":authority", "somebody@spec.test")
    }),
    case("8.3.1", "Host that is not :authority is replaced", |p| {
        let block = p.head("GET", &[("host", "other.test")]);
        after([headers(1, WHOLE, &block)], Expect::Answer(1))
    }),
    case(
        "8.1",
        "a pseudo-field in trailers that end the stream",
        |p| {
            let trailers = headers(1, WHOLE, &block(&[(":path", "/other")]));
            let head = headers(1, END_HEADERS, &p.post());
            after([head, data(1, 0, b"body"), trailers], Expect::Malformed(1))
        },
    ),
    case("8.1.1", "two lengths", |p| {
        let more = [("content-length", "4"), ("content-length", "5")];
        let head = headers(1, END_HEADERS, &p.head("POST", &more));
        after([head, data(1, END_STREAM, b"body")], Expect::Malformed(1))
    }),
    case("8.1.1", "a length that is no number", |p| {
        let head = p.head("POST", &[("content-length", "+4")]);
        let frames = [headers(1, END_HEADERS, &head), data(1, END_STREAM, b"body")];
        after(frames, Expect::Malformed(1))
    }),
    case("8.1.1", "a body that is shorter than its length", |p| {
        let head = p.head("POST", &[("content-length", "5")]);
        let frames = [headers(1, END_HEADERS, &head), data(1, END_STREAM, b"body")];
        after(frames, Expect::Malformed(1))
    }),
    case("8.1.1", "a length without a body", |p| {
        with(p, "content-length", "4")
    }),
];
