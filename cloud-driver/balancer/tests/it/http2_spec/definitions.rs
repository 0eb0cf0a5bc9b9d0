//! Frames by their kind, but SETTINGS and WINDOW_UPDATE (RFC 9113, section 6).

use super::frames::{
    ACK, Code, END_HEADERS, END_STREAM, GOAWAY, PADDED, PING, PRIORITY, RST_STREAM, WHOLE,
    continuation, data, frame, headers, ping, priority, reset,
};
use super::script::{Case, Expect, Peer, Step, after, case};
use super::starting::long;

const PROTOCOL: Expect = Expect::ConnectionError(&[Code::PROTOCOL_ERROR]);

const SIZE: &[Code] = &[Code::FRAME_SIZE_ERROR];

const WORD: [u8; 8] = *b"are you?";

/// A GET, and a frame behind it.
fn behind_get(peer: &Peer, sent: Vec<u8>, expect: Expect) -> Vec<Step> {
    after([headers(1, WHOLE, &peer.get()), sent], expect)
}

pub(super) const CASES: &[Case] = &[
    case("6.1", "DATA on stream 0", |_| {
        after([data(0, END_STREAM, b"body")], PROTOCOL)
    }),
    case("6.1", "DATA on a stream that is not open", |p| {
        let head = headers(1, WHOLE, &p.post());
        let expect = Expect::StreamError(1, &[Code::STREAM_CLOSED]);
        after([head, data(1, END_STREAM, b"body")], expect)
    }),
    case("6.1", "DATA with more padding than there is", |p| {
        let head = headers(1, END_HEADERS, &p.head("POST", &[("content-length", "4")]));
        let padded = [&[6], &b"body"[..]].concat();
        after([head, data(1, PADDED | END_STREAM, &padded)], PROTOCOL)
    }),
    case("6.2", "HEADERS that are not ended, then PRIORITY", |p| {
        let frames = [
            headers(1, 0, &p.get()),
            priority(1, 0, false, 255),
            continuation(1, END_HEADERS, &long("x-long")),
        ];
        after(frames, PROTOCOL)
    }),
    case("6.2", "HEADERS that are not ended, then another's", |p| {
        let frames = [
            headers(1, 0, &p.get()),
            headers(3, WHOLE, &p.get()),
            continuation(1, END_HEADERS, &long("x-long")),
        ];
        after(frames, PROTOCOL)
    }),
    case("6.2", "HEADERS on stream 0", |p| {
        after([headers(0, WHOLE, &p.get())], PROTOCOL)
    }),
    case("6.2", "HEADERS with more padding than there is", |p| {
        let block = p.get();
        let length = u8::try_from(block.len() + 2).unwrap();
        let padded = [&[length], &block[..]].concat();
        let expect = Expect::StreamError(1, &[Code::PROTOCOL_ERROR]);
        after([headers(1, WHOLE | PADDED, &padded)], expect)
    }),
    case("6.3", "PRIORITY on stream 0", |_| {
        after([priority(0, 0, false, 255)], PROTOCOL)
    }),
    case("6.3", "PRIORITY of four bytes", |p| {
        let short = frame(PRIORITY, 0, 1, &[0x80, 0, 0, 1]);
        behind_get(p, short, Expect::StreamError(1, SIZE))
    }),
    case("6.4", "RST_STREAM on stream 0", |_| {
        after([reset(0, Code::CANCEL)], PROTOCOL)
    }),
    case("6.4", "RST_STREAM on an idle stream", |_| {
        after([reset(1, Code::CANCEL)], PROTOCOL)
    }),
    case("6.4", "RST_STREAM of three bytes", |p| {
        let short = frame(RST_STREAM, 0, 1, &[0; 3]);
        behind_get(p, short, Expect::StreamError(1, SIZE))
    }),
    case("6.7", "PING is answered with its bytes", |_| {
        after([ping(0, WORD)], Expect::Ping(WORD))
    }),
    case("6.7", "the answer to a PING is not answered", |_| {
        let frames = [ping(ACK, *b"who are?"), ping(0, WORD)];
        after(frames, Expect::Ping(WORD))
    }),
    case("6.7", "PING on a stream", |_| {
        after([frame(PING, 0, 1, &[0; 8])], PROTOCOL)
    }),
    case("6.7", "PING of six bytes", |_| {
        let short = frame(PING, 0, 0, &[0; 6]);
        after([short], Expect::ConnectionError(SIZE))
    }),
    case("6.8", "GOAWAY on a stream", |_| {
        after([frame(GOAWAY, 0, 1, &[0; 8])], PROTOCOL)
    }),
    case("6.10", "HEADERS, then two CONTINUATION", |p| {
        let frames = [
            headers(1, END_STREAM, &p.get()),
            continuation(1, 0, &long("x-long")),
            continuation(1, END_HEADERS, &long("x-long")),
        ];
        after(frames, Expect::Answer(1))
    }),
    case("6.10", "CONTINUATION, then another kind of frame", |p| {
        let frames = [
            headers(1, 0, &p.post()),
            continuation(1, 0, &long("x-long")),
            data(1, END_STREAM, b"body"),
        ];
        after(frames, PROTOCOL)
    }),
    case("6.10", "CONTINUATION on stream 0", |p| {
        let frames = [
            headers(1, END_STREAM, &p.get()),
            continuation(0, END_HEADERS, &long("x-long")),
        ];
        after(frames, PROTOCOL)
    }),
    case("6.10", "CONTINUATION behind HEADERS that are ended", |p| {
        let more = continuation(1, END_HEADERS, &long("x-long"));
        behind_get(p, more, PROTOCOL)
    }),
    case("6.10", "CONTINUATION behind one that is the last", |p| {
        let frames = [
            headers(1, END_STREAM, &p.get()),
            continuation(1, END_HEADERS, &long("x-long")),
            continuation(1, END_HEADERS, &long("x-long")),
        ];
        after(frames, PROTOCOL)
    }),
    case("6.10", "CONTINUATION behind DATA", |p| {
        let frames = [
            headers(1, 0, &p.post()),
            data(1, END_STREAM, b"body"),
            continuation(1, 0, &long("x-long")),
            continuation(0, END_HEADERS, &long("x-long")),
        ];
        after(frames, PROTOCOL)
    }),
];
