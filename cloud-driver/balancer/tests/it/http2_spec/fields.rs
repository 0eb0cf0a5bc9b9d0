//! Fields as HPACK writes them (RFC 7541), as little of it as a client needs.

/// The fields of the static table that requests of the suite are made of (appendix A), by index.
const STATIC: &[(u8, &str, &str)] = &[
    (1, ":authority", ""),
    (2, ":method", "GET"),
    (3, ":method", "POST"),
    (4, ":path", "/"),
    (6, ":scheme", "http"),
    (7, ":scheme", "https"),
    (8, ":status", "200"),
    (28, "content-length", ""),
];

/// A number after the bits that say what it is for (section 5.1).
///
/// `bits` of the first byte are the number's, `first` has the others.
pub(super) fn number(first: u8, bits: u32, value: usize) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![first | u8::try_from(most).unwrap()];
    let mut left = value - most;
    while left >= 0x80 {
        bytes.push(u8::try_from(left % 0x80).unwrap() | 0x80);
        left /= 0x80;
    }
    bytes.push(u8::try_from(left).unwrap());
    bytes
}

/// A string as it is (section 5.2).
pub(super) fn plain(text: &[u8]) -> Vec<u8> {
    [&number(0, 7, text.len()), text].concat()
}

/// A string that is in Huffman's code already.
pub(super) fn huffman(code: &[u8]) -> Vec<u8> {
    [&number(0x80, 7, code.len()), code].concat()
}

/// How a literal field treats the dynamic table (section 6.2).
#[derive(Debug, Clone, Copy)]
pub(super) enum Literal {
    Indexed,
    NotIndexed,
    NeverIndexed,
}

impl Literal {
    /// The bits that tell it, and how many bits are left for the index of the name.
    fn bits(self) -> (u8, u32) {
        match self {
            Self::Indexed => (0x40, 6),
            Self::NotIndexed => (0x00, 4),
            Self::NeverIndexed => (0x10, 4),
        }
    }

    /// A field whose name stands in a table.
    pub(super) fn with_name_at(self, index: usize, value: &[u8]) -> Vec<u8> {
        let (first, bits) = self.bits();
        [&number(first, bits, index), value].concat()
    }

    /// A field with its name; both strings are written already.
    pub(super) fn with_name(self, name: &[u8], value: &[u8]) -> Vec<u8> {
        [&self.with_name_at(0, name), value].concat()
    }
}

/// A field that stands whole in a table (section 6.1).
pub(super) fn at(index: usize) -> Vec<u8> {
    number(0x80, 7, index)
}

/// A change of the dynamic table's size (section 6.3).
pub(super) fn table_size(size: usize) -> Vec<u8> {
    number(0x20, 5, size)
}

/// A field, by index where the static table has it, else as a literal that enters the dynamic one,
/// as most clients do it.
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let whole = STATIC.iter().find(|(_, n, v)| (*n, *v) == (name, value));
    if let Some((index, ..)) = whole {
        return at(usize::from(*index));
    }
    let value = plain(value.as_bytes());
    match STATIC.iter().find(|(_, n, _)| *n == name) {
        Some((index, ..)) => Literal::Indexed.with_name_at(usize::from(*index), &value),
        None => Literal::Indexed.with_name(&plain(name.as_bytes()), &value),
    }
}

/// A block of fields.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(n, v)| field(n, v)).collect()
}

/// The status of an answer, if the static table has it whole: servers write common ones so.
pub(super) fn status(block: &[u8]) -> Option<u16> {
    // A change of the dynamic table's size may come first.
    let mut bytes = block.iter().copied().skip_while(|byte| byte & 0xe0 == 0x20);
    let statuses = [200, 204, 206, 304, 400, 404, 500];
    let index = bytes.next()?.checked_sub(0x88)?;
    statuses.get(usize::from(index)).copied()
}
