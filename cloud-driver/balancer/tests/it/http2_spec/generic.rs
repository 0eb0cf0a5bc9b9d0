//! What every server must take: beginnings, each kind of frame, requests.

use super::fields::block;
use super::frames::{
    Code, ENABLE_PUSH, END_HEADERS, END_STREAM, HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, PADDED, PREFACE, WHOLE,
    WITH_PRIORITY, continuation, data, depends, goaway, headers, ping, priority, reset, settings,
    window_update,
};
use super::script::{Case, Expect, Peer, Step, after, case, ungreeted};

const WORD: [u8; 8] = *b"are you?";

/// What must be answered with 200 on stream 1.
fn answered(sent: impl IntoIterator<Item = Vec<u8>>) -> Vec<Step> {
    after(sent, Expect::Answer(1))
}

/// What must leave the connection alive.
fn survived(sent: impl IntoIterator<Item = Vec<u8>>) -> Vec<Step> {
    after(sent.into_iter().chain([ping(0, WORD)]), Expect::Ping(WORD))
}

/// A request whose answer waits for room, so that its stream stays half-closed.
fn waits_for_room(peer: &Peer) -> [Vec<u8>; 2] {
    [
        settings(&[(INITIAL_WINDOW_SIZE, 0)]),
        headers(1, WHOLE, &peer.get()),
    ]
}

/// A POST, up to its body.
fn post(peer: &Peer) -> Vec<u8> {
    headers(1, END_HEADERS, &peer.post())
}

/// Cuts a block in pieces for HEADERS and CONTINUATION.
fn pieces(block: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut from = 0;
    let mut all: Vec<_> = cuts
        .iter()
        .map(|&to| block[std::mem::replace(&mut from, to)..to].to_vec())
        .collect();
    all.push(block[from..].to_vec());
    all
}

/// A GET in HEADERS and as many CONTINUATION frames as there are cuts.
fn continued(peer: &Peer, cuts: &[usize]) -> Vec<Vec<u8>> {
    let pieces = pieces(&peer.get(), cuts);
    let last = pieces.len() - 1;
    let mut frames = vec![headers(1, END_STREAM, &pieces[0])];
    frames.extend(pieces.iter().enumerate().skip(1).map(|(at, piece)| {
        let flags = if at == last { END_HEADERS } else { 0 };
        continuation(1, flags, piece)
    }));
    frames
}

pub(super) const CASES: &[Case] = &[
    ungreeted("3.5", "the first frame of a server is SETTINGS", |_| {
        let ours = settings(&[(INITIAL_WINDOW_SIZE, 65_535)]);
        after([[PREFACE, &ours].concat()], Expect::SettingsFirst)
    }),
    case("5.1", "PRIORITY on an idle stream", |_| {
        survived([priority(1, 0, false, 255)])
    }),
    case("5.1", "WINDOW_UPDATE on a half-closed stream", |p| {
        let [small, request] = waits_for_room(p);
        after([small, request, window_update(1, 1)], Expect::Data(1, 1))
    }),
    case("5.1", "PRIORITY on a half-closed stream", |p| {
        let [small, request] = waits_for_room(p);
        let frames = [
            small,
            request,
            priority(1, 0, false, 255),
            window_update(1, 1),
        ];
        after(frames, Expect::Data(1, 1))
    }),
    case("5.1", "RST_STREAM on a half-closed stream", |p| {
        survived([headers(1, WHOLE, &p.get()), reset(1, Code::CANCEL)])
    }),
    case("5.1", "PRIORITY on a closed stream", |p| {
        let mut steps = after([headers(1, WHOLE, &p.get())], Expect::Ended(1));
        steps.extend(survived([priority(1, 0, false, 255)]));
        steps
    }),
    case("6.1", "a body in one DATA", |p| {
        answered([post(p), data(1, END_STREAM, b"body")])
    }),
    case("6.1", "a body in two DATA", |p| {
        answered([post(p), data(1, 0, b"body"), data(1, END_STREAM, b"body")])
    }),
    case("6.1", "DATA with padding", |p| {
        let padded = [&[6], &b"body"[..], &[0; 6]].concat();
        answered([post(p), data(1, PADDED | END_STREAM, &padded)])
    }),
    case("6.2", "HEADERS", |p| {
        answered([headers(1, WHOLE, &p.get())])
    }),
    case("6.2", "HEADERS with padding", |p| {
        let padded = [&[8], &p.get()[..], &[0; 8]].concat();
        answered([headers(1, WHOLE | PADDED, &padded)])
    }),
    case("6.2", "HEADERS with a priority", |p| {
        let ranked = [&depends(0, false, 255), &p.get()[..]].concat();
        answered([headers(1, WHOLE | WITH_PRIORITY, &ranked)])
    }),
    case("6.3", "PRIORITY of the smallest weight", |p| {
        answered([priority(1, 0, false, 0), headers(1, WHOLE, &p.get())])
    }),
    case("6.3", "PRIORITY of the greatest weight", |p| {
        answered([priority(1, 0, false, 255), headers(1, WHOLE, &p.get())])
    }),
    case("6.3", "PRIORITY after another stream", |p| {
        answered([priority(3, 1, false, 0), headers(1, WHOLE, &p.get())])
    }),
    case("6.3", "PRIORITY that is exclusive", |p| {
        answered([priority(1, 0, true, 0), headers(1, WHOLE, &p.get())])
    }),
    case(
        "6.3",
        "PRIORITY of an idle stream opens none below it",
        |p| answered([priority(3, 0, false, 255), headers(1, WHOLE, &p.get())]),
    ),
    case("6.4", "RST_STREAM", |p| {
        survived([headers(1, END_HEADERS, &p.get()), reset(1, Code::CANCEL)])
    }),
    case("6.5", "every setting that is defined", |_| {
        let all = settings(&[
            (HEADER_TABLE_SIZE, 4096),
            (ENABLE_PUSH, 1),
            (MAX_CONCURRENT_STREAMS, 100),
            (INITIAL_WINDOW_SIZE, 65_535),
            (MAX_FRAME_SIZE, 16_384),
            (MAX_HEADER_LIST_SIZE, 100),
        ]);
        after([all], Expect::SettingsAck)
    }),
    case("6.7", "PING", |_| survived([])),
    case("6.8", "GOAWAY", |_| {
        let frames = [goaway(Code::NO_ERROR, b"spec"), ping(0, WORD)];
        after(frames, Expect::PingOrClosed(WORD))
    }),
    case("6.9", "WINDOW_UPDATE of the connection", |_| {
        survived([window_update(0, 1)])
    }),
    case("6.9", "WINDOW_UPDATE of a stream", |p| {
        answered([headers(1, WHOLE, &p.get()), window_update(1, 1)])
    }),
    case("6.10", "one CONTINUATION", |p| answered(continued(p, &[5]))),
    case("6.10", "two CONTINUATION", |p| {
        answered(continued(p, &[5, 10]))
    }),
    case("8.1", "GET", |p| answered([headers(1, WHOLE, &p.get())])),
    case("8.1", "HEAD", |p| {
        answered([headers(1, WHOLE, &p.head("HEAD", &[]))])
    }),
    case("8.1", "POST", |p| {
        answered([post(p), data(1, END_STREAM, b"body")])
    }),
    case("8.1", "POST with trailers", |p| {
        let head = p.head("POST", &[("trailer", "x-sum")]);
        let trailers = headers(1, WHOLE, &block(&[("x-sum", "4")]));
        answered([
            headers(1, END_HEADERS, &head),
            data(1, 0, b"body"),
            trailers,
        ])
    }),
];
