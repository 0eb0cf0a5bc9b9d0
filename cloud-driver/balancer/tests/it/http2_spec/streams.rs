//! Streams and what is wrong with them (RFC 9113, section 5; its priorities are RFC 7540's).

use super::frames::{
    Code, END_HEADERS, END_STREAM, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, PING, WHOLE,
    WITH_PRIORITY, continuation, data, depends, frame, headers, ping, priority, reset, settings,
    window_update,
};
use super::script::{Case, Expect, Peer, Step, after, case};
use super::starting::long;

const NOTHING: [u8; 8] = [0; 8];

const PROTOCOL: Expect = Expect::ConnectionError(&[Code::PROTOCOL_ERROR]);

/// Streams of a server that names no limit: as many as none needs.
const ANY: u32 = 100;

/// A stream that was begun and taken back.
fn taken_back(peer: &Peer) -> [Vec<u8>; 2] {
    [headers(1, END_HEADERS, &peer.get()), reset(1, Code::CANCEL)]
}

/// What follows on a stream that both sides have ended.
fn once_closed(peer: &Peer, sent: Vec<u8>, expect: Expect) -> Vec<Step> {
    let mut steps = after([headers(1, WHOLE, &peer.get())], Expect::Ended(1));
    steps.extend(after([sent], expect));
    steps
}

pub(super) const CASES: &[Case] = &[
    case("5.1", "DATA on an idle stream", |_| {
        after([data(1, END_STREAM, b"body")], PROTOCOL)
    }),
    case("5.1", "RST_STREAM on an idle stream", |_| {
        after([reset(1, Code::CANCEL)], PROTOCOL)
    }),
    case("5.1", "WINDOW_UPDATE on an idle stream", |_| {
        after([window_update(1, 100)], PROTOCOL)
    }),
    case("5.1", "CONTINUATION on an idle stream", |p| {
        after([continuation(1, END_HEADERS, &p.get())], PROTOCOL)
    }),
    case("5.1", "DATA on a half-closed stream", |p| {
        let frames = [headers(1, WHOLE, &p.get()), data(1, END_STREAM, b"body")];
        after(frames, Expect::StreamError(1, &[Code::STREAM_CLOSED]))
    }),
    case("5.1", "HEADERS on a half-closed stream", |p| {
        let frames = [headers(1, WHOLE, &p.get()), headers(1, WHOLE, &p.get())];
        after(frames, Expect::StreamError(1, &[Code::STREAM_CLOSED]))
    }),
    case("5.1", "CONTINUATION on a half-closed stream", |p| {
        let frames = [
            headers(1, WHOLE, &p.get()),
            continuation(1, END_HEADERS, &p.get()),
        ];
        let codes = &[Code::STREAM_CLOSED, Code::PROTOCOL_ERROR];
        after(frames, Expect::StreamError(1, codes))
    }),
    case("5.1", "DATA on a stream that was taken back", |p| {
        let frames = taken_back(p).into_iter();
        let frames = frames.chain([data(1, END_STREAM, b"body")]);
        after(frames, Expect::StreamError(1, &[Code::STREAM_CLOSED]))
    }),
    case("5.1", "HEADERS on a stream that was taken back", |p| {
        let frames = taken_back(p).into_iter();
        let frames = frames.chain([headers(1, WHOLE, &p.get())]);
        after(frames, Expect::StreamError(1, &[Code::STREAM_CLOSED]))
    }),
    case("5.1", "CONTINUATION on a stream that was taken back", |p| {
        let frames = taken_back(p).into_iter();
        let frames = frames.chain([continuation(1, END_HEADERS, &long("x-long"))]);
        let codes = &[Code::STREAM_CLOSED, Code::PROTOCOL_ERROR];
        after(frames, Expect::StreamError(1, codes))
    }),
    case("5.1", "DATA on a closed stream", |p| {
        let expect = Expect::StreamError(1, &[Code::STREAM_CLOSED]);
        once_closed(p, data(1, END_STREAM, b"body"), expect)
    }),
    case("5.1", "HEADERS on a closed stream", |p| {
        let expect = Expect::ConnectionError(&[Code::STREAM_CLOSED]);
        once_closed(p, headers(1, WHOLE, &p.get()), expect)
    }),
    case("5.1", "CONTINUATION on a closed stream", |p| {
        let codes = &[Code::STREAM_CLOSED, Code::PROTOCOL_ERROR];
        let sent = continuation(1, END_HEADERS, &long("x-long"));
        once_closed(p, sent, Expect::ConnectionError(codes))
    }),
    case("5.1.1", "a stream with an even number", |p| {
        after([headers(2, WHOLE, &p.get())], PROTOCOL)
    }),
    case("5.1.1", "a stream with a smaller number than before", |p| {
        let frames = [headers(5, WHOLE, &p.get()), headers(3, WHOLE, &p.get())];
        after(frames, PROTOCOL)
    }),
    case("5.1.2", "one stream more than the server allows", |p| {
        let most = p.setting(MAX_CONCURRENT_STREAMS, ANY);
        // Without room for answers no stream ends.
        let mut frames = vec![settings(&[(INITIAL_WINDOW_SIZE, 0)])];
        frames.extend((0..=most).map(|nth| headers(2 * nth + 1, WHOLE, &p.get())));
        let codes = &[Code::PROTOCOL_ERROR, Code::REFUSED_STREAM];
        after(frames, Expect::StreamError(2 * most + 1, codes))
    }),
    case("5.3.1", "HEADERS of a stream after itself", |p| {
        let ranked = [&depends(1, false, 255), &p.get()[..]].concat();
        let expect = Expect::StreamError(1, &[Code::PROTOCOL_ERROR]);
        after([headers(1, WHOLE | WITH_PRIORITY, &ranked)], expect)
    }),
    case("5.3.1", "PRIORITY of a stream after itself", |_| {
        let expect = Expect::StreamError(1, &[Code::PROTOCOL_ERROR]);
        after([priority(1, 1, false, 255)], expect)
    }),
    case("5.4.1", "the connection ends with an error of it", |_| {
        after([frame(PING, 0, 3, &NOTHING)], Expect::Closed)
    }),
    case("5.4.1", "GOAWAY tells of an error first", |_| {
        let expect = Expect::Goaway(Code::PROTOCOL_ERROR);
        after([frame(PING, 0, 3, &NOTHING)], expect)
    }),
    case("5.5", "a frame of an extension", |_| {
        let frames = [frame(0x16, 0, 0, &NOTHING), ping(0, NOTHING)];
        after(frames, Expect::Ping(NOTHING))
    }),
    case("5.5", "a frame of an extension within a block", |p| {
        let frames = [
            headers(1, END_STREAM, &p.get()),
            frame(0x16, 0, 0, &NOTHING),
        ];
        after(frames, PROTOCOL)
    }),
];
