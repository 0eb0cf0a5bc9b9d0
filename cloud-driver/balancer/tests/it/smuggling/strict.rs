//! A parser of HTTP/1.1 requests that takes nothing but the one reading that RFC 9112 has for them:
//! what it finds fault with, some instance would read in another way.
//!
//! It says what is wrong and, where a lenient instance would go on, goes on as that instance: what was
//! smuggled is then seen as the request that it becomes.

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) method: String,
    pub(crate) target: Vec<u8>,
    /// In order; names in lower case, values without the blanks around them.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Without the framing of chunks.
    pub(crate) body: Vec<u8>,
    /// What no strict instance would have taken.
    pub(crate) faults: Vec<&'static str>,
}

impl Message {
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |(n, _)| n == name);
        named.map(|(_, value)| value.as_slice())
    }
}

/// What bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The beginning of a request, as far as can be seen.
    Beginning,
    /// A request and how many bytes it takes.
    Whole(Box<Message>, usize),
    /// Nobody can tell where this ends.
    Senseless(&'static str),
}

/// Fields that a trailer must not have: framing, routing, and what the balancer itself says.
const NEVER_TRAILED: [&str; 11] = [
    "authorization",
    "connection",
    "content-length",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Reads the request at the beginning of bytes.
pub(crate) fn read(bytes: &[u8]) -> Read {
    let Some((head, mut at)) = head(bytes) else {
        return Read::Beginning;
    };
    let Some((mut message, framing)) = head_only(head) else {
        return Read::Senseless("the first line is no request line");
    };
    match framing {
        Framing::Length(length) => {
            let Some(body) = bytes.get(at..at.saturating_add(length)) else {
                return Read::Beginning;
            };
            message.body = body.to_vec();
            at += length;
        }
        Framing::Chunked => match chunks(&bytes[at..], &mut message) {
            Chunks::Whole(taken) => at += taken,
            Chunks::Beginning => return Read::Beginning,
            Chunks::Senseless(why) => return Read::Senseless(why),
        },
        Framing::Senseless(why) => return Read::Senseless(why),
    }
    Read::Whole(Box::new(message), at)
}

/// What is wrong with a request that never came whole, as far as its head came.
pub(crate) fn faults_of_beginning(bytes: &[u8]) -> Vec<&'static str> {
    let known = head(bytes).and_then(|(head, _)| head_only(head));
    known.map_or_else(Vec::new, |(message, _)| message.faults)
}

fn head_only(head: &[u8]) -> Option<(Message, Framing)> {
    let mut faults = Vec::new();
    let mut lines = lines(head, &mut faults).into_iter();
    let (method, target) = request_line(lines.next().unwrap_or_default(), &mut faults)?;
    let headers = lines.filter_map(|line| field(line, &mut faults)).collect();
    let mut message = Message {
        method,
        target,
        headers,
        body: Vec::new(),
        faults,
    };
    let framing = framing(&mut message);
    Some((message, framing))
}

/// A head without the empty line that ends it, and where the body begins.
fn head(bytes: &[u8]) -> Option<(&[u8], usize)> {
    // A lenient instance takes a bare line feed for the end of a line.
    (0..bytes.len()).find_map(|at| {
        let rest = &bytes[at..];
        let taken = match rest {
            [b'\n', b'\r', b'\n', ..] => 3,
            [b'\n', b'\n', ..] => 2,
            _ => return None,
        };
        Some((&bytes[..=at], at + taken))
    })
}

/// Lines without their ends.
fn lines<'a>(head: &'a [u8], faults: &mut Vec<&'static str>) -> Vec<&'a [u8]> {
    let lines = head.split_inclusive(|&byte| byte == b'\n');
    lines
        .map(|line| {
            line.strip_suffix(b"\r\n").unwrap_or_else(|| {
                faults.push("a line ends with a bare line feed");
                line.strip_suffix(b"\n").unwrap_or(line)
            })
        })
        .collect()
}

fn request_line(line: &[u8], faults: &mut Vec<&'static str>) -> Option<(String, Vec<u8>)> {
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return None;
    };
    if !is_token(method) {
        faults.push("the method is no token");
    }
    let visible = |&byte: &u8| byte > b' ' && byte != 0x7f && byte != b'#';
    if !(target.starts_with(b"/") || target == b"*" && method == b"OPTIONS")
        || !target.iter().all(visible)
    {
        faults.push("the target is no path");
    }
    if version != b"HTTP/1.1" {
        faults.push("the version is not HTTP/1.1");
    }
    let method = String::from_utf8_lossy(method).into_owned();
    Some((method, target.to_vec()))
}

fn field(line: &[u8], faults: &mut Vec<&'static str>) -> Option<(String, Vec<u8>)> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        faults.push("a field is folded");
        return None;
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        faults.push("a line of the head has no colon");
        return None;
    };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if !is_token(name) {
        faults.push("a field's name is no token");
    }
    if value.iter().any(|&byte| is_control(byte)) {
        faults.push("a field's value has a control character");
    }
    let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
    Some((name, value.to_vec()))
}

fn is_token(bytes: &[u8]) -> bool {
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(of_token)
}

fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7f
}

/// Whether a host is a name or an address with at most a port; one may be empty.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.iter().rposition(|&byte| byte == b':') {
        Some(at) if !host.ends_with(b"]") => (&host[..at], &host[at + 1..]),
        _ => (host, &b""[..]),
    };
    let literal = name.strip_prefix(b"[").and_then(|n| n.strip_suffix(b"]"));
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    let fits = match literal {
        Some(address) => address.iter().all(|b| of_name(b) || *b == b':'),
        None => name.iter().all(of_name),
    };
    fits && port.iter().all(u8::is_ascii_digit)
}

enum Framing {
    Length(usize),
    Chunked,
    Senseless(&'static str),
}

fn framing(message: &mut Message) -> Framing {
    let mut faults = Vec::new();
    match message.values("host").collect::<Vec<_>>()[..] {
        [host] if is_host(host) => {}
        [_] => faults.push("the host is none"),
        [] => faults.push("there is no host"),
        _ => faults.push("there are several hosts"),
    }
    let codings: Vec<_> = message.values("transfer-encoding").collect();
    let lengths: Vec<_> = message.values("content-length").collect();
    if codings.len() + lengths.len() > 1 {
        faults.push("the length is said more than once");
    }
    if codings.iter().any(|&coding| coding != b"chunked") {
        faults.push("the coding is not chunked");
    }
    faults.extend(hop(message));
    let ends_chunked = codings.last().is_some_and(|coding| {
        let last = coding.rsplit(|&byte| byte == b',').next();
        last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
    });
    let framing = if ends_chunked {
        Framing::Chunked
    } else if let Some(length) = lengths.last() {
        let digits = std::str::from_utf8(length).ok();
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(length) => Framing::Length(length),
            None => Framing::Senseless("the length is no number"),
        }
    } else {
        Framing::Length(0)
    };
    message.faults.extend(faults);
    framing
}

/// What a proxy should have kept to itself.
fn hop(message: &Message) -> Vec<&'static str> {
    let mut faults = Vec::new();
    let mut connection = message.values("connection");
    if connection.any(|value| !value.eq_ignore_ascii_case(b"upgrade")) {
        faults.push("what the connection before was told came along");
    }
    let mut upgrade = message.values("upgrade");
    let is_h2c = |word: &[u8]| word.trim_ascii().eq_ignore_ascii_case(b"h2c");
    if upgrade.any(|value| value.split(|&byte| byte == b',').any(is_h2c)) {
        faults.push("a tunnel of requests is asked for");
    }
    if message.values("x-forwarded-for").count() > 1 {
        faults.push("where it came from is said twice");
    }
    faults
}

enum Chunks {
    Whole(usize),
    Beginning,
    Senseless(&'static str),
}

fn chunks(bytes: &[u8], message: &mut Message) -> Chunks {
    let mut at = 0;
    loop {
        let Some(line) = line(&bytes[at..]) else {
            return Chunks::Beginning;
        };
        let Some(digits) = line.strip_suffix(b"\r\n") else {
            return Chunks::Senseless("a chunk's size ends with a bare line feed");
        };
        at += line.len();
        let text = std::str::from_utf8(digits).ok();
        let text = text.filter(|t| (1..=16).contains(&t.len()) && !t.starts_with('+'));
        let Some(size) = text.and_then(|text| usize::from_str_radix(text, 16).ok()) else {
            return Chunks::Senseless("a chunk's size is no number");
        };
        if size == 0 {
            break;
        }
        let end = at.saturating_add(size);
        let Some(data) = bytes.get(at..end) else {
            return Chunks::Beginning;
        };
        match bytes.get(end..end.saturating_add(2)) {
            None => return Chunks::Beginning,
            Some(b"\r\n") => {}
            Some(_) => return Chunks::Senseless("a chunk is longer than its size"),
        }
        message.body.extend_from_slice(data);
        at = end + 2;
    }
    loop {
        let Some(line) = line(&bytes[at..]) else {
            return Chunks::Beginning;
        };
        at += line.len();
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Chunks::Senseless("a trailer ends with a bare line feed");
        };
        if line.is_empty() {
            return Chunks::Whole(at);
        }
        if let Some((name, _)) = field(line, &mut message.faults)
            && NEVER_TRAILED.contains(&name.as_str())
        {
            message
                .faults
                .push("a trailer says what only a head may say");
        }
    }
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some(&bytes[..=end])
}

#[test]
fn the_reference_takes_what_has_one_reading() {
    for (bytes, body) in [
        ("GET / HTTP/1.1\r\nhost: t\r\n\r\n", ""),
        ("OPTIONS * HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", ""),
        ("GET /?a=%0d%0a HTTP/1.1\r\nhost:\r\nx: a \t b\r\n\r\n", ""),
        (
            "POST / HTTP/1.1\r\nhost: t:80\r\ncontent-length: 5\r\n\r\nhello",
            "hello",
        ),
        (
            "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n\
             3\r\nhel\r\n2\r\nlo\r\n0\r\nx: 1\r\n\r\n",
            "hello",
        ),
    ] {
        for end in 0..bytes.len() {
            let beginning = read(&bytes.as_bytes()[..end]);
            assert_eq!(beginning, Read::Beginning, "{end} of {bytes:?}");
        }
        let more = format!("{bytes}GET ");
        let Read::Whole(message, taken) = read(more.as_bytes()) else {
            panic!("{bytes:?}");
        };
        assert_eq!(taken, bytes.len());
        assert_eq!(message.faults, Vec::<&str>::new(), "{bytes:?}");
        assert_eq!(message.body, body.as_bytes());
    }
}

#[test]
fn the_reference_finds_fault_with_what_has_two_readings() {
    let get = |lines: &str| format!("GET / HTTP/1.1\r\nhost: t\r\n{lines}\r\n\r\n");
    for (bytes, fault) in [
        (
            get("content-length: 0\r\ntransfer-encoding: chunked") + "0\r\n\r\n",
            "the length is said more than once",
        ),
        (
            get("content-length: 0\r\ncontent-length: 0"),
            "the length is said more than once",
        ),
        (
            get("transfer-encoding: gzip, chunked") + "0\r\n\r\n",
            "the coding is not chunked",
        ),
        (
            get("transfer-encoding: xchunked"),
            "the coding is not chunked",
        ),
        (get("host: u"), "there are several hosts"),
        (
            get("connection: host"),
            "what the connection before was told came along",
        ),
        (
            get("connection: upgrade\r\nupgrade: x, h2c"),
            "a tunnel of requests is asked for",
        ),
        (
            get("x-forwarded-for: 1\r\nx-forwarded-for: 2"),
            "where it came from is said twice",
        ),
        ("GET / HTTP/1.1\r\nx: y\r\n\r\n".into(), "there is no host"),
        (
            "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n".into(),
            "the host is none",
        ),
        (
            "GET / HTTP/1.1\r\nhost: u@a\r\n\r\n".into(),
            "the host is none",
        ),
        (get("x: 1\r\n y: 2"), "a field is folded"),
        (get("x: 1\ny: 2"), "a line ends with a bare line feed"),
        (get("x: 1\ry: 2"), "a field's value has a control character"),
        (get("x: \0"), "a field's value has a control character"),
        (get("x : 1"), "a field's name is no token"),
        (get(": 1"), "a field's name is no token"),
        (get("xyz"), "a line of the head has no colon"),
        (
            "GET a HTTP/1.1\r\nhost: t\r\n\r\n".into(),
            "the target is no path",
        ),
        (
            "GET /\x0b HTTP/1.1\r\nhost: t\r\n\r\n".into(),
            "the target is no path",
        ),
        (
            "GET / HTTP/1.0\r\nhost: t\r\n\r\n".into(),
            "the version is not HTTP/1.1",
        ),
        (
            "G(T / HTTP/1.1\r\nhost: t\r\n\r\n".into(),
            "the method is no token",
        ),
        (
            get("transfer-encoding: chunked") + "0\r\nx-forwarded-for: 1\r\n\r\n",
            "a trailer says what only a head may say",
        ),
    ] {
        let Read::Whole(message, _) = read(bytes.as_bytes()) else {
            panic!("{bytes:?}");
        };
        assert!(
            message.faults.contains(&fault),
            "{bytes:?}: {:?}",
            message.faults
        );
    }
    for body in [
        "x\r\n",
        "5;x\r\nhello\r\n",
        "+5\r\n",
        "5\nhello\r\n",
        " 5\r\n",
        "3\r\nhello\r\n0\r\n\r\n",
    ] {
        let bytes = get("transfer-encoding: chunked") + body;
        assert!(
            matches!(read(bytes.as_bytes()), Read::Senseless(_)),
            "{bytes:?}"
        );
    }
    for length in ["+5", "0x5", "5, 5", "-1", "5 5", "99999999999999999999"] {
        let bytes = get(&format!("content-length: {length}"));
        assert!(
            matches!(read(bytes.as_bytes()), Read::Senseless(_)),
            "{bytes:?}"
        );
    }
    assert!(matches!(
        read(b"GET  / HTTP/1.1\r\n\r\n"),
        Read::Senseless(_)
    ));
}
