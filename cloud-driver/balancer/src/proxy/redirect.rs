//! Sending plain requests to `https`.

use bytes::Bytes;
use http::header::{HOST, LOCATION};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode};

use super::body::ResponseBody;

/// The port that is not written out.
const HTTPS: u16 = 443;

/// The answer to a request that is to be asked again by `https`: 308, so that method and body stay.
/// None without a host.
pub(crate) fn to_https<B>(request: &Request<B>, port: u16) -> Option<Response<ResponseBody>> {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    let location = location(host?, request, port)?;
    let text = Bytes::from_static(b"this is only spoken with https\n");
    let mut response = Response::new(ResponseBody::Whole(Some(text)));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    Some(response)
}

fn location<B>(host: &str, request: &Request<B>, port: u16) -> Option<HeaderValue> {
    let authority: Authority = host.parse().ok()?;
    // A name before an `@` would hide the host.
    if authority.host().is_empty() || host.contains('@') {
        return None;
    }
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    let port = match port {
        HTTPS => String::new(),
        port => format!(":{port}"),
    };
    HeaderValue::from_str(&format!("https://{}{port}{path}", authority.host())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_to_the_same_host_and_path() {
        for (host, path, port, location) in [
            (Some("a.test"), "/x?y=1", 443, Some("https://a.test/x?y=1")),
            (Some("a.test:8080"), "/", 443, Some("https://a.test/")),
            (
                Some("a.test:8080"),
                "/x",
                8443,
                Some("https://a.test:8443/x"),
            ),
            (Some("[::1]:80"), "/", 8443, Some("https://[::1]:8443/")),
            (Some("a.test"), "*", 443, Some("https://a.test/")),
            (Some("user@b.test"), "/", 443, None),
            (Some("a b"), "/", 443, None),
            (Some(""), "/", 443, None),
            (None, "/", 443, None),
        ] {
            let mut request = Request::builder().uri(path);
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            let answer = to_https(&request.body(()).unwrap(), port);
            let answer = answer.as_ref();
            let got = answer.map(|answer| answer.headers()[LOCATION].to_str().unwrap());
            assert_eq!(got, location, "{host:?}");
            assert!(answer.is_none_or(|answer| answer.status() == 308));
        }
    }
}
