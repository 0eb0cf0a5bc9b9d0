//! What the balancer accepts and nginx does not, each with its reason. What is not here is a fault.

use super::compare::{Difference, Kind};
use super::strict::Message;

/// A difference that is meant.
pub(crate) struct Allowed {
    /// What is accepted.
    pub(crate) what: &'static str,
    /// Why nothing can be smuggled that way.
    pub(crate) reason: &'static str,
    fits: fn(&Accepted) -> bool,
}

/// A request that arrived, and nginx's did not, with the head it had when it was sent.
struct Accepted<'a> {
    message: &'a Message,
    line: &'a [u8],
    /// Lines behind the first, without their ends.
    fields: &'a [&'a [u8]],
    /// Lines before it on its connection, with what ends them but the line feed.
    before: &'a [&'a [u8]],
    /// Whether the balancer took nothing more from the connection.
    is_last: bool,
    /// Whether nginx refused something.
    is_refused: bool,
}

impl<'a> Accepted<'a> {
    /// Values of a field with the blanks around them.
    fn values(&self, name: &str) -> Vec<&'a [u8]> {
        let named = self.fields.iter().filter_map(|field| {
            let colon = field.iter().position(|&byte| byte == b':')?;
            let (found, value) = field.split_at(colon);
            found
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| &value[1..])
        });
        named.collect()
    }

    fn is_twice(&self, name: &str) -> bool {
        self.values(name).len() > 1
    }

    /// Whether a chunked body ended somewhere before it, and a line of its trailer with a bare line
    /// feed.
    fn follows_bare_line_feed(&self) -> bool {
        let is_last_chunk = |line: &[u8]| line.starts_with(b"0") && line.ends_with(b"\r");
        let mut chunks = (0..self.before.len()).filter(|&at| is_last_chunk(self.before[at]));
        chunks.any(|at| {
            let trailer = self.before[at + 1..].iter();
            let mut trailer = trailer.take_while(|line| line != &b"\r");
            trailer.any(|line| !line.ends_with(b"\r"))
        })
    }

    /// Whether a line of Connection up to here has "close" in it and is not well-formed, or has it
    /// as a part of a longer word.
    fn follows_nearly_close(&self) -> bool {
        self.before.iter().any(|line| {
            let text = String::from_utf8_lossy(line).to_ascii_lowercase();
            let words = text.strip_prefix("connection:").unwrap_or_default();
            let nearly = |word: &str| word.contains("close") && word.trim() != "close";
            words.split(',').any(nearly) || !line.is_ascii() && words.contains("close")
        })
    }

    fn path(&self) -> &'a [u8] {
        let target = self.message.target.as_slice();
        target.split(|&byte| byte == b'?').next().unwrap_or(target)
    }
}

/// Every difference that is meant.
pub(crate) const ALLOWED: &[Allowed] = &[
    Allowed {
        what: "Content-Length beside Transfer-Encoding",
        reason: "RFC 9112, section 6.3: who forwards such a request goes by Transfer-Encoding, takes \
                 Content-Length out and closes the connection; so it is done: no reader behind sees \
                 two lengths, and what follows the body is not read",
        fits: |a| {
            let codings = a.values("transfer-encoding");
            let chunked = codings
                .iter()
                .any(|v| v.trim_ascii().eq_ignore_ascii_case(b"chunked"));
            chunked && !a.values("content-length").is_empty() && a.is_last
        },
    },
    Allowed {
        what: "the same Content-Length twice",
        reason: "RFC 9110, section 8.6: equal lengths may be replaced by one; one arrives",
        fits: |a| {
            let lengths = a.values("content-length");
            let mut numbers = lengths.iter().map(|v| number(v));
            let first = numbers.next().flatten();
            lengths.len() > 1 && first.is_some() && numbers.all(|n| n == first)
        },
    },
    Allowed {
        what: "a tab beside a length, a coding or a host",
        reason: "RFC 9110, section 5.5: spaces and tabs around a value are no part of it; it arrives \
                 without them",
        fits: |a| {
            let names = ["content-length", "transfer-encoding", "host"];
            let mut values = names.iter().flat_map(|name| a.values(name));
            values.any(|v| {
                let core = v.trim_ascii();
                let around = v.len() - core.len();
                around > count(v, b' ') - count(core, b' ')
            })
        },
    },
    Allowed {
        what: "methods that are not in capitals",
        reason: "RFC 9110, section 9.1: a method is any token; it arrives as it came, and its instance \
                 knows whether it has it",
        fits: |a| {
            let of_nginx = |b: u8| b.is_ascii_uppercase() || b == b'_' || b == b'-';
            !a.message.method.bytes().all(of_nginx)
        },
    },
    Allowed {
        what: "TRACE",
        reason: "RFC 9110, section 9.3.8: a method like others for who passes it on; nginx answers it \
                 405 whatever its length",
        fits: |a| a.message.method == "TRACE",
    },
    Allowed {
        what: "a % that encodes nothing, or a zero byte",
        reason: "the target is never decoded: it arrives byte for byte, so that no byte of it can end \
                 a line",
        fits: |a| {
            let path = a.path();
            let wrong = |at: usize| match path.get(at + 1..at + 3) {
                Some(two) => two == b"00" || !two.iter().all(u8::is_ascii_hexdigit),
                None => true,
            };
            (0..path.len()).any(|at| path[at] == b'%' && wrong(at))
        },
    },
    Allowed {
        what: "a fragment behind the target",
        reason: "RFC 9112, section 3.2: a target has none; it is cut off before the route is chosen, \
                 and does not arrive",
        fits: |a| a.line.contains(&b'#') && !a.message.target.contains(&b'#'),
    },
    Allowed {
        what: "a path that goes above the root",
        reason: "RFC 3986, section 5.2.4: .. at the root stays there; routes share load and guard \
                 nothing, and the path arrives as it came",
        fits: |a| {
            let path = String::from_utf8_lossy(a.path()).to_ascii_lowercase();
            let path = path.replace("%2e", ".").replace("%2f", "/");
            let mut depth = 0;
            let mut words = path.split('/').filter(|word| !["", "."].contains(word));
            words.any(|word| {
                depth += if word == ".." { -1 } else { 1 };
                depth < 0
            })
        },
    },
    Allowed {
        what: "OPTIONS *",
        reason: "RFC 9112, section 3.2.4: the target for a server as a whole",
        fits: |a| a.message.method == "OPTIONS" && a.message.target == b"*",
    },
    Allowed {
        what: "a host in the target with characters that nginx takes in Host only",
        reason: "RFC 3986, section 3.2.2: sub-delims and _ belong to names; one Host arrives, and it \
                 is the target's",
        fits: |a| {
            let text = String::from_utf8_lossy(a.line);
            let rest = text.split_once("://").map_or("", |(_, rest)| rest);
            let host = rest.split(['/', '?', ' ']).next().unwrap_or("");
            host.bytes().any(|b| b"!$&'()*+,;=_~%".contains(&b))
        },
    },
    Allowed {
        what: "an empty Host",
        reason: "RFC 9112, section 3.2: what a client writes whose target has no authority; it arrives \
                 as it came",
        fits: |a| a.values("host").iter().any(|v| v.trim_ascii().is_empty()),
    },
    Allowed {
        what: "two lines of a field that nginx wants once",
        reason: "RFC 9110, section 5.3: of fields that neither frame nor route, lines arrive as they \
                 came, and their instance judges them",
        fits: |a| a.is_twice("expect"),
    },
    Allowed {
        what: "what follows a bare line feed in a trailer",
        reason: "RFC 9112, section 2.2: a bare line feed may end a line and need not; in a trailer it \
                 ends none here, all up to the next empty line is trailer, and none of it arrives: \
                 what nginx takes for a request of its own is hidden, not smuggled",
        fits: |a| a.follows_bare_line_feed(),
    },
    Allowed {
        what: "what follows a Connection that nearly says close",
        reason: "RFC 9110, section 7.6.1: the words of Connection are tokens; nginx ends the \
                 connection for closed and disclose too, and for lines that are no words, without \
                 having refused anything",
        fits: |a| a.follows_nearly_close() && !a.is_refused,
    },
];

/// Which of [`ALLOWED`] a difference is; none: it is a finding.
pub(crate) fn allowed(difference: &Difference) -> Option<usize> {
    let Kind::Accepted(message) = &difference.kind else {
        return None;
    };
    let ends = difference.raw.split(|&byte| byte == b'\n');
    let ended: Vec<&[u8]> = ends.collect();
    let lines: Vec<&[u8]> = ended
        .iter()
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .collect();
    let begins = [message.method.as_bytes(), b" "].concat();
    let heads = (0..lines.len()).filter(|&at| {
        // The slash of a path that was written without one is not in the line.
        let target = message.target.strip_prefix(b"/").unwrap_or(&message.target);
        let line = lines[at];
        let has =
            |what: &[u8]| what.is_empty() || line.windows(what.len()).any(|part| part == what);
        has(&begins) && has(target)
    });
    let fitting = heads.filter_map(|at| {
        let fields = &lines[at + 1..];
        let end = fields.iter().position(|line| line.is_empty());
        let accepted = Accepted {
            message,
            line: lines[at],
            fields: &fields[..end.unwrap_or(fields.len())],
            before: &ended[..at],
            is_refused: difference.nginx.statuses.last() >= Some(&400),
            is_last: difference.ours.arrived.last() == Some(message),
        };
        ALLOWED.iter().position(|entry| (entry.fits)(&accepted))
    });
    fitting.min()
}

fn count(value: &[u8], what: u8) -> usize {
    value.iter().filter(|&&byte| byte == what).count()
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}
