//! What a client speaks, as its first bytes tell.

/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of its first word; no method of HTTP/1.1 is that word.
const WORD: usize = 4;

/// Bytes that are looked at, at the most.
pub(crate) const LOOKED_AT: usize = 64;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
    Http2,
    /// Something else. It is answered by the end of the connection and nothing before it: what it
    /// would make of an answer nobody knows (RFC 9113, section 3.4).
    Neither,
}

/// What begins so; none: more bytes are needed.
pub(crate) fn spoken(bytes: &[u8]) -> Option<Spoken> {
    let same = bytes.iter().zip(PREFACE).take_while(|(a, b)| a == b);
    match same.count() {
        same if same == PREFACE.len() => Some(Spoken::Http2),
        same if same == bytes.len() => None,
        same if same >= WORD => Some(Spoken::Neither),
        _ if names_another(bytes) => Some(Spoken::Neither),
        _ => Some(Spoken::Http1),
    }
}

/// The same where HTTP/2 was agreed on.
pub(crate) fn as_agreed(bytes: &[u8]) -> Option<Spoken> {
    match spoken(bytes)? {
        Spoken::Http2 => Some(Spoken::Http2),
        Spoken::Http1 | Spoken::Neither => Some(Spoken::Neither),
    }
}

/// Whether a first line stands here whole and ends with the name of a protocol that is not HTTP. One
/// that is wrong in another way is answered: somebody meant HTTP.
fn names_another(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return false;
    };
    // What nearly every first line ends with.
    if bytes[..end].ends_with(b" HTTP/1.1\r") {
        return false;
    }
    let mut words = bytes[..end].trim_ascii_end().split(|&byte| byte == b' ');
    let (name, more) = (words.nth(2), words.next());
    let is_http = |name: &[u8]| name.len() >= 4 && name[..4].eq_ignore_ascii_case(b"HTTP");
    more.is_none() && name.is_some_and(|name| !name.is_empty() && !is_http(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_and_too_few_tell_nothing() {
        let http2 = [PREFACE, &b"\0\0\0\x04"[..]].concat();
        for (bytes, told) in [
            (&b""[..], None),
            (b"P", None),
            (b"PRI ", None),
            (&PREFACE[..23], None),
            (PREFACE, Some(Spoken::Http2)),
            (&http2, Some(Spoken::Http2)),
            (b"PRI * HTTP/1.1\r\n", Some(Spoken::Neither)),
            (b"PRI x", Some(Spoken::Neither)),
            (b"PR ", Some(Spoken::Http1)),
            (b"POST", Some(Spoken::Http1)),
            (b"G", Some(Spoken::Http1)),
            (b"\r\nGET / HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"GET /a b HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"GET / HTTP1.1\r\n", Some(Spoken::Http1)),
            (b"GET / http/1.1\n", Some(Spoken::Http1)),
            (b"GET /\r\n", Some(Spoken::Http1)),
            (b"GET / \r\n", Some(Spoken::Http1)),
            (b"INVALID CONNECTION PREF", Some(Spoken::Http1)),
            (b"INVALID CONNECTION PREFACE\r\n", Some(Spoken::Neither)),
            (b"OPTIONS sip:a SIP/2.0\r\n", Some(Spoken::Neither)),
        ] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(spoken(bytes), told, "{text:?}");
            assert!(bytes.len() <= LOOKED_AT);
            let agreed = told.map(|told| match told {
                Spoken::Http1 => Spoken::Neither,
                told => told,
            });
            assert_eq!(as_agreed(bytes), agreed, "{text:?}");
        }
    }
}
