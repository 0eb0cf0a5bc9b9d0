//! Frames of HTTP/2 as bytes (RFC 9113, section 6): built by hand, so that wrong ones can be sent too.

use std::fmt::{self, Display, Formatter};

/// How a client begins a connection (section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of what stands before each payload.
pub(super) const HEAD: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

const KINDS: [&str; 10] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];

/// Of SETTINGS and PING.
pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
/// Of HEADERS: a priority stands in front of the fields.
pub(super) const WITH_PRIORITY: u8 = 0x20;
/// A request that is its head only.
pub(super) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;

/// An error code (section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(pub(super) u32);

impl Code {
    pub(super) const NO_ERROR: Self = Self(0);
    pub(super) const PROTOCOL_ERROR: Self = Self(1);
    pub(super) const FLOW_CONTROL_ERROR: Self = Self(3);
    pub(super) const STREAM_CLOSED: Self = Self(5);
    pub(super) const FRAME_SIZE_ERROR: Self = Self(6);
    pub(super) const REFUSED_STREAM: Self = Self(7);
    pub(super) const CANCEL: Self = Self(8);
    pub(super) const COMPRESSION_ERROR: Self = Self(9);
}

const CODES: [&str; 10] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
];

impl Display for Code {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = usize::try_from(self.0).ok().and_then(|at| CODES.get(at));
        match name {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.0),
        }
    }
}

/// A frame as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// Takes one from the front of what was read, once it is whole.
    pub(super) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let head: [u8; HEAD] = bytes.get(..HEAD)?.try_into().ok()?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let length = usize::try_from(u32::from_be_bytes([0, l0, l1, l2])).unwrap();
        let payload = bytes.get(HEAD..HEAD + length)?.to_vec();
        bytes.drain(..HEAD + length);
        Some(Self {
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            payload,
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether its sender says nothing more on its stream.
    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.has(END_STREAM)
    }

    /// The error code of GOAWAY or RST_STREAM.
    pub(super) fn code(&self) -> Option<Code> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        let code = self.payload.get(at..at + 4)?;
        Some(Code(u32::from_be_bytes(code.try_into().ok()?)))
    }

    /// What a SETTINGS frame says, as `(identifier, value)`.
    pub(super) fn settings(&self) -> Vec<(u16, u32)> {
        let entries = self.payload.chunks_exact(6);
        let read = |entry: &[u8]| {
            let (identifier, value) = entry.split_at(2);
            (
                u16::from_be_bytes(identifier.try_into().unwrap()),
                u32::from_be_bytes(value.try_into().unwrap()),
            )
        };
        entries.map(read).collect()
    }
}

impl Display for Frame {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match KINDS.get(usize::from(self.kind)) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "frame of type {}", self.kind)?,
        }
        if let Some(code) = self.code() {
            write!(f, "({code})")?;
        }
        let (flags, stream, length) = (self.flags, self.stream, self.payload.len());
        write!(f, " on {stream} with flags {flags:#x} and {length} bytes")
    }
}

/// Any frame; the stream's first bit is the reserved one.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

pub(super) fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, payload)
}

pub(super) fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, stream, block)
}

pub(super) fn continuation(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, block)
}

/// What PRIORITY says: after which stream, alone after it or not, and its weight less one.
pub(super) fn depends(on: u32, exclusive: bool, weight: u8) -> [u8; 5] {
    let [a, b, c, d] = (on | u32::from(exclusive) << 31).to_be_bytes();
    [a, b, c, d, weight]
}

pub(super) fn priority(stream: u32, on: u32, exclusive: bool, weight: u8) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &depends(on, exclusive, weight))
}

pub(super) fn reset(stream: u32, code: Code) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.0.to_be_bytes())
}

pub(super) fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let entry = |(identifier, value): &(u16, u32)| {
        [&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat()
    };
    let payload: Vec<u8> = entries.iter().flat_map(entry).collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub(super) fn settings_ack() -> Vec<u8> {
    frame(SETTINGS, ACK, 0, b"")
}

pub(super) fn ping(flags: u8, word: [u8; 8]) -> Vec<u8> {
    frame(PING, flags, 0, &word)
}

pub(super) fn goaway(code: Code, note: &[u8]) -> Vec<u8> {
    let payload = [&[0; 4], &code.0.to_be_bytes()[..], note].concat();
    frame(GOAWAY, 0, 0, &payload)
}

pub(super) fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}
