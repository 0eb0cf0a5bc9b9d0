//! Beginnings, the form of frames, their size, blocks of fields (RFC 9113, sections 3 and 4).

use super::fields::field;
use super::frames::{
    Code, END_HEADERS, END_STREAM, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, PING, PREFACE, WHOLE,
    continuation, data, frame, headers, ping, priority, settings,
};
use super::script::{Case, Expect, Peer, after, case, ungreeted};

const NOTHING: [u8; 8] = [0; 8];

/// A type that no frame has.
const UNKNOWN: u8 = 0x16;

/// Flags that PING does not have.
const UNDEFINED: u8 = 0x16;

/// The bit of a stream's number that means nothing.
const RESERVED: u32 = 1 << 31;

/// Most bytes of a frame that the server takes.
fn most(peer: &Peer) -> usize {
    usize::try_from(peer.setting(MAX_FRAME_SIZE, 16_384)).unwrap()
}

/// A field of 4,000 bytes.
pub(super) fn long(name: &str) -> Vec<u8> {
    field(name, &"x".repeat(4_000))
}

pub(super) const CASES: &[Case] = &[
    ungreeted("3.5", "the preface", |_| {
        let ours = settings(&[(INITIAL_WINDOW_SIZE, 65_535)]);
        after([[PREFACE, &ours].concat()], Expect::SettingsFirst)
    }),
    ungreeted("3.5", "what is no preface", |_| {
        let expect = Expect::ConnectionError(&[Code::PROTOCOL_ERROR]);
        after([b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec()], expect)
    }),
    ungreeted("3.5", "what is a preface up to its last bytes", |_| {
        let nearly = [&PREFACE[..20], b"MS\r\n\r\n\r\n"].concat();
        after([nearly], Expect::ConnectionError(&[Code::PROTOCOL_ERROR]))
    }),
    case("4.1", "a frame of an unknown type", |_| {
        let frames = [frame(UNKNOWN, 0, 0, &NOTHING), ping(0, NOTHING)];
        after(frames, Expect::Ping(NOTHING))
    }),
    case("4.1", "a flag that is not defined", |_| {
        after([ping(UNDEFINED, NOTHING)], Expect::Ping(NOTHING))
    }),
    case("4.1", "the reserved bit", |_| {
        let reserved = frame(PING, UNDEFINED, RESERVED, &NOTHING);
        after([reserved], Expect::Ping(NOTHING))
    }),
    case("4.2", "DATA of the greatest size", |p| {
        let head = headers(1, END_HEADERS, &p.post());
        let body = data(1, END_STREAM, &vec![b'x'; most(p)]);
        after([head, body], Expect::Answer(1))
    }),
    case("4.2", "DATA that is too large", |p| {
        let head = headers(1, END_HEADERS, &p.post());
        let body = data(1, END_STREAM, &vec![b'x'; most(p) + 1]);
        let expect = Expect::StreamError(1, &[Code::FRAME_SIZE_ERROR]);
        after([head, body], expect)
    }),
    case("4.2", "HEADERS that is too large", |p| {
        let mut block = p.get();
        while block.len() <= most(p) {
            block.extend(long("x-long"));
        }
        let expect = Expect::ConnectionError(&[Code::FRAME_SIZE_ERROR]);
        after([headers(1, WHOLE, &block)], expect)
    }),
    case("4.3", "a block that breaks off", |_| {
        // A literal that enters the table, and then nothing.
        let expect = Expect::ConnectionError(&[Code::COMPRESSION_ERROR]);
        after([headers(1, WHOLE, &[0x40])], expect)
    }),
    case("4.3", "PRIORITY within a block", |p| {
        let frames = [
            headers(1, 0, &p.get()),
            priority(1, 0, false, 255),
            continuation(1, END_HEADERS, &long("x-long")),
        ];
        after(frames, Expect::ConnectionError(&[Code::PROTOCOL_ERROR]))
    }),
    case("4.3", "HEADERS of another stream within a block", |p| {
        let frames = [
            headers(1, 0, &p.get()),
            headers(3, WHOLE, &p.get()),
            continuation(1, END_HEADERS, &long("x-long")),
        ];
        after(frames, Expect::ConnectionError(&[Code::PROTOCOL_ERROR]))
    }),
];
