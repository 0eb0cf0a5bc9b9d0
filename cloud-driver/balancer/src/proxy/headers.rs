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
    if let Some(connection) = headers.remove(header::CONNECTION) {
        strip_named(headers, &connection);
    }
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION] {
        headers.remove(name);
    }
    if let Some(te) = headers.remove(header::TE)
        && te
            .to_str()
            .is_ok_and(|te| te.eq_ignore_ascii_case("trailers"))
    {
        headers.insert(header::TE, te);
    }
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
}

fn strip_named(headers: &mut HeaderMap, connection: &HeaderValue) {
    let Ok(names) = connection.to_str() else {
        return;
    };
    for name in names.split(',') {
        let name = name.trim();
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
/// Asking for HTTP/2 is passed over, as it may be (RFC 9113, section 3.1): through a tunnel the requests
/// in it would go past routes, counts and drains.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = headers
        .get(header::CONNECTION)?
        .to_str()
        .ok()?
        .split(',')
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(header::UPGRADE).filter(|_| asks)?;
    let is_http = |name: &str| name.trim().to_ascii_lowercase().starts_with("h2");
    let goes_past = protocol.to_str().is_ok_and(|p| p.split(',').any(is_http));
    (!goes_past).then(|| protocol.clone())
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
        for other in ["h2c", "websocket, H2C"] {
            let asks = map(&[("connection", "upgrade"), ("upgrade", other)]);
            assert!(upgrade(&asks).is_none(), "{other}");
        }
    }

    #[test]
    fn cookies_that_came_apart_are_one_header_again() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2; c=3")]);
        join_cookies(&mut headers);
        assert_eq!(headers, map(&[("cookie", "a=1; b=2; c=3")]));
    }

    #[test]
    fn an_instance_is_asked_for_path_and_query_only() {
        for (given, expected) in [
            ("http://a.test/x?y=1", "/x?y=1"),
            ("http://a.test", "/"),
            ("/x", "/x"),
            ("*", "*"),
        ] {
            let mut uri: Uri = given.parse().unwrap();
            origin_form(&mut uri);
            assert_eq!(uri.to_string(), expected);
        }
    }
}
