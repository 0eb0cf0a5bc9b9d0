//! Heads that are refused before they are routed: those that two readers may understand in two ways,
//! of which one is the balancer and the other an instance. What hyper itself refuses never comes here.
//!
//! Nothing is allocated for a request that is let through.

use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Version};

use super::answer::Own;
use crate::fault::Fault;

/// Why a request is refused, if it is: the answer and a sentence for the client.
pub(crate) fn flaw<B>(request: &Request<B>) -> Option<(Own, &'static str)> {
    if Fault::LenientHeads.is_on() {
        return None;
    }
    if let Some(why) = target(request) {
        return Some((Own::BadTarget, why));
    }
    if let Some(why) = host(request) {
        return Some((Own::BadHost, why));
    }
    coding(request).map(|why| (Own::BadCoding, why))
}

fn target<B>(request: &Request<B>) -> Option<&'static str> {
    let (uri, method) = (request.uri(), request.method());
    match uri.authority() {
        // RFC 9112, section 3.2: every form has its own use.
        Some(_) if uri.scheme().is_none() => {
            Some("the target of this method must be a path or a whole URL")
        }
        Some(_)
            if !uri
                .scheme_str()
                .is_some_and(|s| s == "http" || s == "https") =>
        {
            Some("the scheme of the target must be http or https")
        }
        // RFC 9110, section 4.2.4: a name and password before the host are an error, for they make
        // one host look like another.
        Some(authority) if !is_host(authority.as_str().as_bytes()) => {
            Some("the host in the target is no host")
        }
        None if uri.path() == "*" && method != Method::OPTIONS => {
            Some("the target * is for OPTIONS only")
        }
        _ => None,
    }
}

/// RFC 9112, section 3.2: one, in HTTP/1.1 always, and well-formed.
fn host<B>(request: &Request<B>) -> Option<&'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Some("there is more than one Host"),
        (Some(host), _) if !is_host(host.as_bytes()) => Some("Host is no host"),
        (None, _) if request.version() == Version::HTTP_11 => Some("there is no Host"),
        _ => None,
    }
}

/// RFC 9112, section 6.1: a coding that is not understood gets 501. Only chunks are undone here, and
/// the header is not passed on: what else it names would be lost.
fn coding<B>(request: &Request<B>) -> Option<&'static str> {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(coding), None) if chunked(coding) => None,
        _ => Some("Transfer-Encoding may be chunked, once, and nothing else"),
    }
}

/// Whether this is a name or address with at most a port (RFC 3986, section 3.2.2), or nothing, as a
/// client says that does not know. Dots alone or in a row name no host, but folders in some instances.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.iter().rposition(|&byte| byte == b':') {
        // In `[::1]` the last colon belongs to the address.
        Some(at) if !host.ends_with(b"]") => (&host[..at], Some(&host[at + 1..])),
        _ => (host, None),
    };
    let fits = match name {
        [] => port.is_none(),
        [b'.'] => false,
        [b'[', address @ .., b']'] => {
            let of_address = |&byte: &u8| is_of_name(byte) || byte == b':';
            !address.is_empty() && address.iter().all(of_address)
        }
        name => {
            let mut before = 0;
            name.iter().all(|&byte| {
                let fits = is_of_name(byte) && !(byte == b'.' && before == b'.');
                before = byte;
                fits
            })
        }
    };
    fits && port.is_none_or(|port| port.iter().all(u8::is_ascii_digit))
}

/// Asked for each byte of each request's host: a look into a table instead of twenty comparisons.
fn is_of_name(byte: u8) -> bool {
    OF_NAME[usize::from(byte)]
}

static OF_NAME: [bool; 256] = {
    let others = b"-._~%!$&'()*+,;=";
    let mut table = [false; 256];
    let mut at = 0;
    while at < table.len() {
        // In a constant there are no iterators.
        table[at] = (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn what_is_well_formed_is_let_through() {
        let host = [("host", "t:80")];
        let chunked = [("host", "t"), ("transfer-encoding", "Chunked")];
        for request in [
            request("GET", "/x", &host),
            request("GET", "http://[::1]:81/x", &host),
            request("OPTIONS", "*", &host),
            request("POST", "/x", &chunked),
        ] {
            assert_eq!(flaw(&request), None, "{request:?}");
        }
        let mut old = request("GET", "/x", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(flaw(&old), None);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_by_name() {
        let host = ("host", "t");
        let coding = |coding| ("transfer-encoding", coding);
        for (request, expected) in [
            (request("GET", "t", &[host]), Own::BadTarget),
            (request("GET", "t:80", &[host]), Own::BadTarget),
            (request("GET", "*", &[host]), Own::BadTarget),
            (request("GET", "ftp://t/x", &[host]), Own::BadTarget),
            (request("GET", "http://u@t/x", &[host]), Own::BadTarget),
            (request("GET", "/x", &[]), Own::BadHost),
            (request("GET", "http://t/x", &[]), Own::BadHost),
            (request("GET", "/x", &[host, host]), Own::BadHost),
            (request("GET", "/x", &[("host", "a b")]), Own::BadHost),
            (
                request("GET", "/x", &[host, coding("gzip, chunked")]),
                Own::BadCoding,
            ),
            (
                request("GET", "/x", &[host, coding("chunked"), coding("chunked")]),
                Own::BadCoding,
            ),
        ] {
            assert_eq!(
                flaw(&request).map(|(own, _)| own),
                Some(expected),
                "{request:?}"
            );
        }
    }

    #[test]
    fn hosts_are_names_and_addresses_with_a_port() {
        for host in [
            "",
            "t",
            "T.test.",
            "t:",
            "t:80",
            "127.0.0.1",
            "[::1]",
            "[::1]:80",
            "a_b",
            "a%20b",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        let no_hosts = [
            ":80", "a b", "a/b", "u@a", "a:b", "a:80:80", "::1", "[::1", "[]", "[::1]x", "[a/b]",
            ".", "..", "a..b", "a\\b", "a#b", "a?b", "<a>", "\u{e4}", "a\tb", "a, b",
        ];
        for host in no_hosts {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
