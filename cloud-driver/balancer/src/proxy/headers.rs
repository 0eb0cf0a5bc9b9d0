//! What changes in a head on its way: headers that belong to one connection are taken out, where
//! the request came from is written in.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Uri;

use super::listener::Way;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Most headers that are added to a request.
pub(crate) const ADDED: usize = 3;

/// Takes out what belongs to this connection only, also what `Connection` names.
pub(crate) fn strip(headers: &mut HeaderMap) {
    // Most heads have none of these or one: looking once is cheaper than asking for each.
    let (mut connection, mut te, mut others) = (false, false, false);
    for name in headers.keys() {
        connection |= *name == header::CONNECTION;
        te |= *name == header::TE;
        others |= *name == header::TRANSFER_ENCODING
            || *name == header::UPGRADE
            || *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION;
    }
    if connection {
        strip_connection(headers);
    }
    if te
        && let Some(te) = headers.remove(header::TE)
        && te
            .to_str()
            .is_ok_and(|te| te.eq_ignore_ascii_case("trailers"))
    {
        headers.insert(header::TE, te);
    }
    if others {
        for name in [&KEEP_ALIVE, &PROXY_CONNECTION] {
            headers.remove(name);
        }
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(header::UPGRADE);
    }
}

fn strip_connection(headers: &mut HeaderMap) {
    // Hardly anybody writes more than one word, or more than one line.
    let names_nothing = headers.get_all(header::CONNECTION).iter().all(is_of_itself);
    if names_nothing {
        headers.remove(header::CONNECTION);
        return;
    }
    let lines = headers.get_all(header::CONNECTION);
    let lines: Vec<HeaderValue> = lines.iter().cloned().collect();
    headers.remove(header::CONNECTION);
    for line in lines {
        strip_named(headers, &line);
    }
}

/// Whether one word says what becomes of the connection, and no header is named.
fn is_of_itself(line: &HeaderValue) -> bool {
    line.as_bytes().eq_ignore_ascii_case(b"keep-alive")
        || line.as_bytes().eq_ignore_ascii_case(b"close")
}

fn strip_named(headers: &mut HeaderMap, connection: &HeaderValue) {
    for name in connection.as_bytes().split(|&byte| byte == b',') {
        let Ok(name) = std::str::from_utf8(name.trim_ascii()) else {
            continue;
        };
        if name.eq_ignore_ascii_case("keep-alive") || name.eq_ignore_ascii_case("close") {
            continue;
        }
        // What frames the body or names the host is never one connection's.
        let vital = ["content-length", "host", "transfer-encoding", "te"];
        if !name.is_empty() && !vital.iter().any(|v| name.eq_ignore_ascii_case(v)) {
            headers.remove(name);
        }
    }
}

/// Puts cookies that came apart together again: in HTTP/1.1 they are one header (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let apart: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
    if apart.len() < 2 {
        return;
    }
    let bytes: Vec<_> = apart.into_iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&bytes.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Whether a request asks for another protocol, and for which.
///
/// HTTP/2 is none of them (RFC 9110, section 7.8: a request to upgrade may be ignored): the requests
/// in such a tunnel would be routed, counted and checked by nobody.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |line: &HeaderValue, word: &str| {
        let mut words = line.as_bytes().split(|&byte| byte == b',');
        words.any(|w| w.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    let protocol = headers.get(header::UPGRADE)?;
    let mut lines = headers.get_all(header::CONNECTION).iter();
    let asks = lines.any(|line| has(line, "upgrade"));
    (asks && !has(protocol, "h2c")).then(|| protocol.clone())
}

/// Says how long a body is, if nobody did: hyper leaves a body out that has no length, when the
/// method hardly ever has one.
pub(crate) fn frame(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
    }
}

/// Takes out of a trailer what an instance must not believe when it takes it for a part of the head
/// (RFC 9110, section 6.5.1). Of what frames and routes the rest is taken out by hyper.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    let names = [&header::CONNECTION, &header::UPGRADE];
    let forwarded = [&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_FORWARDED_HOST];
    for name in names.into_iter().chain(forwarded) {
        trailers.remove(name);
    }
}

/// Writes in where a request came from.
///
/// What it says of its protocol stands only when its sender is believed.
pub(crate) fn forwarded(
    headers: &mut HeaderMap,
    peer: &HeaderValue,
    way: Way,
    host: Option<&HeaderValue>,
) {
    match headers.entry(&X_FORWARDED_FOR) {
        header::Entry::Vacant(there) => {
            there.insert(peer.clone());
        }
        header::Entry::Occupied(mut there) => {
            let before = there.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
            let mut all = before.join(&b", "[..]);
            all.extend_from_slice(b", ");
            all.extend_from_slice(peer.as_bytes());
            if let Ok(value) = HeaderValue::from_bytes(&all) {
                there.insert(value);
            }
        }
    }
    let protocol = HeaderValue::from_static(if way.secure { "https" } else { "http" });
    match headers.entry(&X_FORWARDED_PROTO) {
        header::Entry::Vacant(there) => {
            there.insert(protocol);
        }
        header::Entry::Occupied(mut there) if !way.believed => {
            there.insert(protocol);
        }
        header::Entry::Occupied(_) => {}
    }
    if let (Some(host), header::Entry::Vacant(there)) = (host, headers.entry(&X_FORWARDED_HOST)) {
        there.insert(host.clone());
    }
}

/// The target of a request as an instance is asked: path and query only.
pub(crate) fn origin_form(uri: &mut Uri) {
    if uri.authority().is_some() {
        let path = uri.path_and_query().cloned();
        // Of a fragment that followed the host at once an empty path is left: it calls itself "/",
        // and is written as nothing.
        let path = path.filter(|path| path.as_str() != "/");
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = path.or_else(|| Some(http::uri::PathAndQuery::from_static("/")));
        if let Ok(origin) = Uri::from_parts(parts) {
            *uri = origin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_belongs_to_one_connection_is_taken_out() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Mine, host, content-length"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("host", "a"),
            ("content-length", "3"),
            ("x-other", "2"),
        ]);
        strip(&mut headers);
        assert_eq!(
            headers,
            map(&[("host", "a"), ("content-length", "3"), ("x-other", "2")])
        );
        let mut headers = map(&[
            ("connection", "x-a"),
            ("connection", "\u{e4}, x-b"),
            ("x-a", "1"),
            ("x-b", "2"),
            ("x-c", "3"),
        ]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("x-c", "3")]));
        let mut headers = map(&[("te", "Trailers")]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("te", "Trailers")]));
    }

    #[test]
    fn where_a_request_came_from_is_appended() {
        let peer = HeaderValue::from_static("10.0.0.2");
        let host = HeaderValue::from_static("a.test");
        let mut headers = map(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
        ]);
        forwarded(&mut headers, &peer, way(false, true), Some(&host));
        let expected = map(&[
            ("x-forwarded-for", "10.0.0.1, 10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.test"),
        ]);
        assert_eq!(headers, expected);
    }

    fn way(secure: bool, believed: bool) -> Way {
        Way {
            secure,
            believed,
            redirect: None,
        }
    }

    #[test]
    fn the_protocol_is_that_of_the_connection_unless_its_sender_is_believed() {
        let peer = HeaderValue::from_static("10.0.0.2");
        for (secure, believed, said, written) in [
            (true, false, &[][..], "https"),
            (true, false, &["http"], "https"),
            (true, false, &["http", "ftp"], "https"),
            (true, true, &["http"], "http"),
            (false, false, &[], "http"),
            (false, false, &["https"], "http"),
            (false, true, &["https"], "https"),
        ] {
            let said: Vec<_> = said
                .iter()
                .map(|said| ("x-forwarded-proto", *said))
                .collect();
            let mut headers = map(&said);
            forwarded(&mut headers, &peer, way(secure, believed), None);
            let all: Vec<_> = headers.get_all("x-forwarded-proto").iter().collect();
            assert_eq!(all, [written], "{secure} {believed} {said:?}");
        }
    }

    #[test]
    fn an_upgrade_is_one_only_when_the_connection_says_so() {
        assert!(upgrade(&map(&[("upgrade", "websocket")])).is_none());
        let asks = map(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(upgrade(&asks).unwrap(), "websocket");
        let asks = map(&[
            ("connection", "keep-alive"),
            ("connection", "upgrade"),
            ("upgrade", "x"),
        ]);
        assert_eq!(upgrade(&asks).unwrap(), "x");
        for protocol in ["h2c", "H2C", "websocket, h2c"] {
            let asks = map(&[("connection", "upgrade"), ("upgrade", protocol)]);
            assert!(upgrade(&asks).is_none(), "{protocol}");
        }
    }

    #[test]
    fn cookies_that_came_apart_are_one_header_again() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2; c=3")]);
        join_cookies(&mut headers);
        assert_eq!(headers, map(&[("cookie", "a=1; b=2; c=3")]));
    }

    #[test]
    fn a_body_without_a_length_comes_in_chunks() {
        let mut headers = map(&[("host", "t")]);
        frame(&mut headers);
        assert_eq!(
            headers,
            map(&[("host", "t"), ("transfer-encoding", "chunked")])
        );
        let mut headers = map(&[("content-length", "3")]);
        frame(&mut headers);
        assert_eq!(headers, map(&[("content-length", "3")]));
    }

    #[test]
    fn a_trailer_says_nothing_in_the_balancers_name() {
        let mut trailers = map(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("connection", "x-sum"),
            ("x-sum", "1"),
        ]);
        strip_trailers(&mut trailers);
        assert_eq!(trailers, map(&[("x-sum", "1")]));
    }

    #[test]
    fn an_instance_is_asked_for_path_and_query_only() {
        for (given, expected) in [
            ("http://a.test/x?y=1", "/x?y=1"),
            ("http://a.test", "/"),
            ("http://a.test#x", "/"),
            ("http://a.test?y#x", "/?y"),
            ("/x", "/x"),
            ("*", "*"),
        ] {
            let mut uri: Uri = given.parse().unwrap();
            origin_form(&mut uri);
            assert_eq!(uri.to_string(), expected);
        }
    }
}
