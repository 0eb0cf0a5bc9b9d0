//! Cases by chance: those written by hand, combined and damaged. The same seed makes the same bytes.

use std::sync::Arc;

use super::cases::Case;

/// SplitMix64.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of so many; of none, 0.
    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % (count.max(1) as u64)).unwrap_or(0)
    }

    fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// What readers of HTTP trip over.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\n ",
    b"\r\n\t",
    b" ",
    b"\t",
    b"\x00",
    b"\x01",
    b"\x0b",
    b"\x0c",
    b"\x1f",
    b"\x7f",
    b"\x80",
    b"\x85",
    b"\xa0",
    b"\xff",
    b":",
    b";",
    b",",
    b"=",
    b"\"",
    b"/",
    b"?",
    b"#",
    b"@",
    b"%",
    b"+",
    b"-",
    b"0",
    b"1",
    b"9",
    b"f",
    b"x",
    b"_",
    b"0x",
    b"%0d%0a",
    b"chunked",
    b"identity",
    b", ",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
];

/// Whole lines to put between others.
const LINES: &[&[u8]] = &[
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 40\r\n",
    b"content-length:5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding:chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Host: t\r\n",
    b"Host: u\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: content-length, transfer-encoding, host\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"Trailer: x\r\n",
    b"TE: trailers\r\n",
    b"X-Forwarded-For: 1.2.3.4\r\n",
    b"X: y\r\n",
    b"\r\n",
    b"0\r\n",
    b"5\r\nhello\r\n",
    b"GET /smuggled HTTP/1.1\r\n",
];

/// Makes a case out of others.
pub(crate) fn next(chance: &mut Chance, others: &[Case]) -> Arc<[u8]> {
    let mut raw = loop {
        let one = &others[chance.below(others.len())];
        // The huge ones have been tried, and only cost time here.
        if one.raw.len() < 2_000 {
            break one.raw.to_vec();
        }
    };
    for _ in 0..=chance.below(4) {
        damage(chance, &mut raw, others);
    }
    raw.truncate(8_000);
    raw.into()
}

fn damage(chance: &mut Chance, raw: &mut Vec<u8>, others: &[Case]) {
    let lines = lines(raw);
    // Mostly where it matters: in the first requests' heads.
    let near = if chance.below(4) == 0 {
        raw.len()
    } else {
        raw.len().min(160)
    };
    let at = chance.below(near + 1).min(raw.len());
    let line = |chance: &mut Chance| {
        lines
            .get(chance.below(lines.len()))
            .copied()
            .unwrap_or((0, 0))
    };
    match chance.below(12) {
        0 | 1 => insert(raw, at, chance.one_of(PIECES)),
        2 => {
            let end = (at + 1 + chance.below(3)).min(raw.len());
            raw.splice(at..end, chance.one_of(PIECES).iter().copied());
        }
        3 => {
            let end = (at + 1 + chance.below(4)).min(raw.len());
            raw.drain(at..end);
        }
        4 if at < raw.len() => {
            raw[at] ^= 1 << chance.below(8);
        }
        5 | 6 => {
            let (begin, _) = line(chance);
            insert(raw, begin, chance.one_of(LINES));
        }
        7 => {
            let (begin, end) = line(chance);
            let again = raw[begin..end].to_vec();
            let (to, _) = line(chance);
            insert(raw, to, &again);
        }
        8 => {
            let (begin, end) = line(chance);
            raw.drain(begin..end);
        }
        9 => {
            let (_, end) = line(chance);
            let from = end.saturating_sub(2);
            raw.splice(from..end, chance.one_of(PIECES).iter().copied());
        }
        10 => {
            let from = &others[chance.below(others.len())].raw;
            let begin = chance.below(from.len().min(400));
            let end = (begin + 1 + chance.below(60)).min(from.len());
            insert(raw, at, &from[begin..end]);
        }
        _ => {
            // A number becomes another one.
            let digits = (at..raw.len()).find(|&i| raw[i].is_ascii_digit());
            if let Some(digit) = digits {
                raw[digit] = b'0' + u8::try_from(chance.below(10)).unwrap_or(0);
            }
        }
    }
}

fn insert(raw: &mut Vec<u8>, at: usize, piece: &[u8]) {
    raw.splice(at..at, piece.iter().copied());
}

/// Where lines begin and end, their line feeds included.
fn lines(raw: &[u8]) -> Vec<(usize, usize)> {
    let mut lines = Vec::new();
    let mut begin = 0;
    for (at, &byte) in raw.iter().enumerate() {
        if byte == b'\n' {
            lines.push((begin, at + 1));
            begin = at + 1;
        }
    }
    lines
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let cases = super::cases::all();
    let make = |seed: u64| -> Vec<_> {
        let mut chance = Chance::new(seed);
        (0..200).map(|_| next(&mut chance, &cases)).collect()
    };
    assert_eq!(make(1), make(1));
    assert_ne!(make(1), make(2));
    let different: std::collections::HashSet<_> = make(1).into_iter().collect();
    assert!(different.len() > 190, "{}", different.len());
}
