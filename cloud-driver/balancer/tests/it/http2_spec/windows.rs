//! SETTINGS and flow control (RFC 9113, sections 6.5 and 6.9).

use super::frames::{
    ACK, Code, ENABLE_PUSH, END_HEADERS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, SETTINGS, WHOLE,
    WINDOW_UPDATE, frame, headers, ping, settings, window_update,
};
use super::script::{Case, Expect, Peer, Step, after, case};

const PROTOCOL: Expect = Expect::ConnectionError(&[Code::PROTOCOL_ERROR]);

const FLOW: Expect = Expect::ConnectionError(&[Code::FLOW_CONTROL_ERROR]);

const SIZE: Expect = Expect::ConnectionError(&[Code::FRAME_SIZE_ERROR]);

const NOTHING: [u8; 8] = [0; 8];

/// One byte more than a window may ever have.
const TOO_WIDE: u32 = 1 << 31;

/// A setting that ends the connection.
fn refused(identifier: u16, value: u32, expect: Expect) -> Vec<Step> {
    after([settings(&[(identifier, value)])], expect)
}

/// Windows for answers, set and acknowledged.
fn windows(sizes: &[u32]) -> Vec<Step> {
    let entries: Vec<_> = sizes
        .iter()
        .map(|&size| (INITIAL_WINDOW_SIZE, size))
        .collect();
    after([settings(&entries)], Expect::SettingsAck)
}

fn get(peer: &Peer) -> Vec<u8> {
    headers(1, WHOLE, &peer.get())
}

pub(super) const CASES: &[Case] = &[
    case("6.5", "an acknowledgement with bytes", |_| {
        after([frame(SETTINGS, ACK, 0, &[0])], SIZE)
    }),
    case("6.5", "SETTINGS on a stream", |_| {
        let entry = [0, 3, 0, 0, 0, 100];
        after([frame(SETTINGS, 0, 1, &entry)], PROTOCOL)
    }),
    case("6.5", "SETTINGS that break off", |_| {
        let codes = &[Code::PROTOCOL_ERROR, Code::FRAME_SIZE_ERROR];
        let expect = Expect::ConnectionError(codes);
        after([frame(SETTINGS, 0, 0, &[0, 3, 0])], expect)
    }),
    case("6.5.2", "ENABLE_PUSH of 2", |_| {
        refused(ENABLE_PUSH, 2, PROTOCOL)
    }),
    case("6.5.2", "INITIAL_WINDOW_SIZE above the greatest", |_| {
        refused(INITIAL_WINDOW_SIZE, TOO_WIDE, FLOW)
    }),
    case("6.5.2", "MAX_FRAME_SIZE below the smallest", |_| {
        refused(MAX_FRAME_SIZE, 16_383, PROTOCOL)
    }),
    case("6.5.2", "MAX_FRAME_SIZE above the greatest", |_| {
        refused(MAX_FRAME_SIZE, 1 << 24, PROTOCOL)
    }),
    case("6.5.2", "a setting that is not defined", |_| {
        let frames = [settings(&[(0xff, 1)]), ping(0, NOTHING)];
        after(frames, Expect::Ping(NOTHING))
    }),
    case("6.5.3", "of two values the later one holds", |p| {
        let mut steps = windows(&[100, 1]);
        steps.extend(after([get(p)], Expect::Data(1, 1)));
        steps
    }),
    case("6.5.3", "SETTINGS are acknowledged", |_| {
        after([settings(&[(ENABLE_PUSH, 0)])], Expect::SettingsAck)
    }),
    case("6.9", "WINDOW_UPDATE of 0", |_| {
        after([window_update(0, 0)], PROTOCOL)
    }),
    case("6.9", "WINDOW_UPDATE of 0 for a stream", |p| {
        let head = headers(1, END_HEADERS, &p.get());
        let expect = Expect::StreamError(1, &[Code::PROTOCOL_ERROR]);
        after([head, window_update(1, 0)], expect)
    }),
    case("6.9", "WINDOW_UPDATE of three bytes", |_| {
        after([frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])], SIZE)
    }),
    case("6.9.1", "no more is sent than there is room for", |p| {
        let mut steps = windows(&[1]);
        steps.extend(after([get(p)], Expect::Data(1, 1)));
        steps
    }),
    case("6.9.1", "a connection's window above the greatest", |_| {
        let most = window_update(0, TOO_WIDE - 1);
        let expect = Expect::Goaway(Code::FLOW_CONTROL_ERROR);
        after([most.clone(), most], expect)
    }),
    case("6.9.1", "a stream's window above the greatest", |p| {
        let head = headers(1, END_HEADERS, &p.get());
        let most = window_update(1, TOO_WIDE - 1);
        let expect = Expect::Reset(1, Code::FLOW_CONTROL_ERROR);
        after([head, most.clone(), most], expect)
    }),
    case("6.9.2", "room that comes with a setting", |p| {
        let mut steps = windows(&[0]);
        let wider = settings(&[(INITIAL_WINDOW_SIZE, 1)]);
        steps.extend(after([get(p), wider], Expect::Data(1, 1)));
        steps
    }),
    case("6.9.2", "room that a setting takes away", |p| {
        // Three bytes are sent; with a window of two there is one too many of them.
        let mut steps = windows(&[3]);
        steps.extend(after([get(p)], Expect::Data(1, 3)));
        steps.extend(windows(&[2]));
        steps.extend(after([window_update(1, 2)], Expect::Data(1, 1)));
        steps
    }),
    case("6.9.2", "a setting above the greatest window", |_| {
        refused(INITIAL_WINDOW_SIZE, TOO_WIDE, FLOW)
    }),
];
