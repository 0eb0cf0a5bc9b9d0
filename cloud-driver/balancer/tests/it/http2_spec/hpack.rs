//! Fields that cannot be decoded (RFC 7541).

use super::fields::{Literal, at, huffman, plain, table_size};
use super::frames::{Code, HEADER_TABLE_SIZE, WHOLE, headers};
use super::representations::KEY;
use super::script::{Case, Expect, Peer, Step, after, case};

/// A GET that ends the connection, because of these bytes behind its fields.
fn undecodable(peer: &Peer, field: &[u8]) -> Vec<Step> {
    refused(&[&peer.get(), field].concat())
}

fn refused(block: &[u8]) -> Vec<Step> {
    let expect = Expect::ConnectionError(&[Code::COMPRESSION_ERROR]);
    after([headers(1, WHOLE, block)], expect)
}

/// A field with this value, in Huffman's code.
fn valued(code: &[u8]) -> Vec<u8> {
    Literal::NotIndexed.with_name(&plain(b"x-spec"), &huffman(code))
}

pub(super) const CASES: &[Case] = &[
    case("2.3.3", "an index behind both tables", |p| {
        undecodable(p, &at(126))
    }),
    case("4.2", "a change of the table's size behind a field", |p| {
        undecodable(p, &table_size(1))
    }),
    case("5.2", "more than seven bits of padding", |p| {
        undecodable(p, &valued(&[KEY, &[0xff]].concat()))
    }),
    case("5.2", "padding of zeros", |p| {
        // "spec", and three bits that are too few for a symbol.
        undecodable(p, &valued(b"\x45\x65\x20"))
    }),
    case("5.2", "the symbol for the end within a string", |p| {
        // Thirty ones, then an "a", then padding.
        undecodable(p, &valued(b"\xff\xff\xff\xfc\x7f"))
    }),
    case("6.1", "the index 0", |p| undecodable(p, &at(0))),
    case("6.3", "a table larger than the server allows", |p| {
        let most = p.setting(HEADER_TABLE_SIZE, 4096);
        let update = table_size(usize::try_from(most).unwrap() + 1);
        refused(&[update, p.get()].concat())
    }),
];
