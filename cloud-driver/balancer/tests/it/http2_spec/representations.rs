//! Every way in which HPACK may write a field (RFC 7541, section 6). The strings in Huffman's code
//! are those of appendix C.

use super::fields::{Literal, at, block, huffman, plain, table_size};
use super::frames::{WHOLE, headers};
use super::script::{Case, Expect, Peer, Step, after, case};

/// `custom-key`
pub(super) const KEY: &[u8] = b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f";

/// `custom-value`
const VALUE: &[u8] = b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";

/// The index of `user-agent`.
const USER_AGENT: usize = 58;

/// The first index of the dynamic table.
const DYNAMIC: usize = 62;

/// A GET with these bytes behind its fields.
fn with(peer: &Peer, field: &[u8]) -> Vec<Step> {
    let block = [&peer.get(), field].concat();
    after([headers(1, WHOLE, &block)], Expect::Answer(1))
}

/// A GET with these bytes before its fields.
fn behind(peer: &Peer, update: &[u8]) -> Vec<Step> {
    let block = [update, &peer.get()].concat();
    after([headers(1, WHOLE, &block)], Expect::Answer(1))
}

/// A field whose name stands in the static table.
fn at_name(peer: &Peer, literal: Literal, value: &[u8]) -> Vec<Step> {
    with(peer, &literal.with_name_at(USER_AGENT, value))
}

/// A field with a new name.
fn named(peer: &Peer, literal: Literal, name: &[u8], value: &[u8]) -> Vec<Step> {
    with(peer, &literal.with_name(name, value))
}

pub(super) const CASES: &[Case] = &[
    case("6.1", "a field of the static table", |p| {
        with(p, &at(USER_AGENT))
    }),
    case("6.1", "a field of the dynamic table", |p| {
        // :authority was the last to enter it.
        let fields = p.fields("GET", &[]);
        let again = [&block(&fields[..3]), &at(DYNAMIC)[..]].concat();
        let mut steps = after([headers(1, WHOLE, &p.get())], Expect::Ended(1));
        steps.extend(after([headers(3, WHOLE, &again)], Expect::Answer(3)));
        steps
    }),
    case("6.2.1", "with indexing, name by index", |p| {
        at_name(p, Literal::Indexed, &plain(b"spec"))
    }),
    case("6.2.1", "with indexing, name by index, Huffman", |p| {
        at_name(p, Literal::Indexed, &huffman(VALUE))
    }),
    case("6.2.1", "with indexing, new name", |p| {
        named(p, Literal::Indexed, &plain(b"x-spec"), &plain(b"spec"))
    }),
    case("6.2.1", "with indexing, new name, Huffman", |p| {
        named(p, Literal::Indexed, &huffman(KEY), &huffman(VALUE))
    }),
    case("6.2.2", "without indexing, name by index", |p| {
        at_name(p, Literal::NotIndexed, &plain(b"spec"))
    }),
    case("6.2.2", "without indexing, name by index, Huffman", |p| {
        at_name(p, Literal::NotIndexed, &huffman(VALUE))
    }),
    case("6.2.2", "without indexing, new name", |p| {
        named(p, Literal::NotIndexed, &plain(b"x-spec"), &plain(b"spec"))
    }),
    case("6.2.2", "without indexing, new name, Huffman", |p| {
        named(p, Literal::NotIndexed, &huffman(KEY), &huffman(VALUE))
    }),
    case("6.2.3", "never indexed, name by index", |p| {
        at_name(p, Literal::NeverIndexed, &plain(b"spec"))
    }),
    case("6.2.3", "never indexed, name by index, Huffman", |p| {
        at_name(p, Literal::NeverIndexed, &huffman(VALUE))
    }),
    case("6.2.3", "never indexed, new name", |p| {
        named(p, Literal::NeverIndexed, &plain(b"x-spec"), &plain(b"spec"))
    }),
    case("6.2.3", "never indexed, new name, Huffman", |p| {
        named(p, Literal::NeverIndexed, &huffman(KEY), &huffman(VALUE))
    }),
    case("6.3", "a change of the table's size", |p| {
        behind(p, &table_size(0))
    }),
    case("4.2", "two changes of the table's size", |p| {
        behind(p, &[table_size(0), table_size(4096)].concat())
    }),
];
