//! Error codes, and what a request may not be (RFC 9113, sections 7 and 8).

use super::fields::block;
use super::frames::{
    Code, END_HEADERS, END_STREAM, PUSH_PROMISE, WHOLE, data, frame, goaway, headers, ping, reset,
};
use super::script::{Case, Expect, Peer, Step, after, case};

const MALFORMED: Expect = Expect::StreamError(1, &[Code::PROTOCOL_ERROR]);

const WORD: [u8; 8] = *b"are you?";

/// A code that nothing means.
const UNKNOWN: Code = Code(0xff);

/// A GET that is refused because of its fields.
fn refused(fields: &[(&str, &str)]) -> Vec<Step> {
    after([headers(1, WHOLE, &block(fields))], MALFORMED)
}

/// A GET that is refused because of a field behind those that it needs.
fn with(peer: &Peer, more: &[(&str, &str)]) -> Vec<Step> {
    refused(&peer.fields("GET", more))
}

/// A GET that lacks a field.
fn without(peer: &Peer, name: &str) -> Vec<Step> {
    let mut fields = peer.fields("GET", &[]);
    fields.retain(|(n, _)| *n != name);
    refused(&fields)
}

/// A POST, up to its body.
fn post(peer: &Peer) -> Vec<u8> {
    headers(1, END_HEADERS, &peer.post())
}

/// A POST whose length is told as one byte.
fn post_of_one(peer: &Peer) -> Vec<u8> {
    let block = peer.head("POST", &[("content-length", "1")]);
    headers(1, END_HEADERS, &block)
}

pub(super) const CASES: &[Case] = &[
    case("7", "GOAWAY with an unknown code", |_| {
        let frames = [goaway(UNKNOWN, b""), ping(0, WORD)];
        after(frames, Expect::PingOrClosed(WORD))
    }),
    case("7", "RST_STREAM with an unknown code", |p| {
        let frames = [post(p), reset(1, UNKNOWN), ping(0, WORD)];
        after(frames, Expect::Ping(WORD))
    }),
    case(
        "8.1",
        "a second HEADERS that does not end the stream",
        |p| {
            let trailers = headers(1, END_HEADERS, &block(&[("x-sum", "4")]));
            after([post(p), data(1, 0, b"body"), trailers], MALFORMED)
        },
    ),
    case("8.1.2", "a name with capitals", |p| {
        with(p, &[("X-SPEC", "yes")])
    }),
    case("8.1.2.1", "a pseudo-field that is not defined", |p| {
        with(p, &[(":spec", "yes")])
    }),
    case("8.1.2.1", "a pseudo-field of answers", |p| {
        with(p, &[(":status", "200")])
    }),
    case("8.1.2.1", "a pseudo-field in trailers", |p| {
        let trailers = headers(1, END_HEADERS, &block(&[(":method", "POST")]));
        after([post(p), data(1, 0, b"body"), trailers], MALFORMED)
    }),
    case("8.1.2.1", "a pseudo-field behind a field", |p| {
        let fields = [vec![("x-spec", "yes")], p.fields("GET", &[])].concat();
        refused(&fields)
    }),
    case("8.1.2.2", "a field of the connection", |p| {
        with(p, &[("connection", "keep-alive")])
    }),
    case("8.1.2.2", "TE of anything but trailers", |p| {
        with(p, &[("te", "trailers, deflate")])
    }),
    case("8.1.2.3", "an empty :path", |p| {
        let fields = p.fields("GET", &[]).into_iter();
        let emptied = fields.map(|(n, v)| if n == ":path" { (n, "") } else { (n, v) });
        refused(&emptied.collect::<Vec<_>>())
    }),
    case("8.1.2.3", "no :method", |p| without(p, ":method")),
    case("8.1.2.3", "no :scheme", |p| without(p, ":scheme")),
    case("8.1.2.3", "no :path", |p| without(p, ":path")),
    case("8.1.2.3", "two :method", |p| with(p, &[(":method", "GET")])),
    case("8.1.2.3", "two :scheme", |p| {
        with(p, &[(":scheme", p.scheme)])
    }),
    case("8.1.2.3", "two :path", |p| with(p, &[(":path", "/")])),
    case("8.1.2.6", "a body that is longer than its length", |p| {
        after([post_of_one(p), data(1, END_STREAM, b"body")], MALFORMED)
    }),
    case("8.1.2.6", "a body in pieces, longer than its length", |p| {
        let frames = [
            post_of_one(p),
            data(1, 0, b"body"),
            data(1, END_STREAM, b"body"),
        ];
        after(frames, MALFORMED)
    }),
    case("8.2", "PUSH_PROMISE", |p| {
        let promise = [&3_u32.to_be_bytes(), &p.get()[..]].concat();
        let expect = Expect::ConnectionError(&[Code::PROTOCOL_ERROR]);
        after([frame(PUSH_PROMISE, END_HEADERS, 1, &promise)], expect)
    }),
];
