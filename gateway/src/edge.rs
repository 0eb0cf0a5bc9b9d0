//! What happens to every request and answer: paths made uniform, foreign
//! identity headers removed, other sites' pages refused, a request id on everything.
//!
//! Nobody is authenticated yet, so a page of any site could tell a browser on
//! this machine to start a pipeline. Two checks prevent it: the name in `Host`
//! must be ours (a foreign name that resolves to this machine is not), and a
//! browser that says where a change comes from must say: from here.
//! Source: `gate: RequestIdInterceptor, ResponseHeaderInterceptor`.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use runtime::auth::AuthContext;
use tower::util::MapRequest;
use url::{Host, Url};

use crate::error::Error;
use crate::request::Caller;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-spinnaker-request-id");

/// Puts a router behind the edge; `hosts` are names it may be reached by beside loopback.
pub(crate) fn around(inner: Router, hosts: Vec<String>) -> Router {
    let hosts: Arc<[String]> = hosts.into();
    let guard = move |request: Request, next: Next| {
        let hosts = Arc::clone(&hosts);
        async move {
            match foreign(request.method(), request.headers(), &hosts) {
                None => next.run(request).await,
                Some(reason) => Error::new(StatusCode::FORBIDDEN, reason).into_response(),
            }
        }
    };
    let inner = inner
        .layer(middleware::from_fn(guard))
        .layer(middleware::from_fn(identify));
    // Rewriting must come before routing, which a layer of the router itself does not.
    Router::new().fallback_service(MapRequest::new(inner, uniform))
}

/// `//version/` means `/version`; `/ui/` keeps its slash.
fn uniform(mut request: Request) -> Request {
    let path = request.uri().path();
    let trimmed = path.trim_start_matches('/');
    let trimmed = match trimmed {
        "ui/" => trimmed,
        _ => trimmed.trim_end_matches('/'),
    };
    if path.len() != trimmed.len() + 1 {
        let query = request.uri().query();
        let text = match query {
            Some(query) => format!("/{trimmed}?{query}"),
            None => format!("/{trimmed}"),
        };
        if let Ok(path_and_query) = PathAndQuery::try_from(text) {
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = Some(path_and_query);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
    request
}

/// Why a request is refused as another site's; none if it may pass.
fn foreign(method: &Method, headers: &HeaderMap, hosts: &[String]) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let ours = |authority: &str| {
        let Ok(url) = Url::parse(&format!("http://{authority}/")) else {
            return false;
        };
        match url.host() {
            Some(Host::Domain(name)) => {
                name == "localhost" || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
            }
            Some(Host::Ipv4(ip)) => ip.is_loopback() || hosts.contains(&ip.to_string()),
            Some(Host::Ipv6(ip)) => ip.is_loopback() || hosts.contains(&ip.to_string()),
            None => false,
        }
    };
    let host = text(header::HOST);
    if let Some(host) = host.filter(|host| !ours(host)) {
        let host: String = host.chars().take(100).collect();
        return Some(format!(
            "host \"{host}\" is not a name of this gateway; an operator can add it to gateway.hosts"
        ));
    }
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return None;
    }
    let origin = text(header::ORIGIN)?;
    let authority = origin
        .split_once("://")
        .map_or("", |(_, authority)| authority);
    if host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) {
        return None;
    }
    Some("changes asked for by a page of another site are refused".to_owned())
}

/// Removes identity headers (no proxy is trusted yet) and gives the request its id.
async fn identify(mut request: Request, next: Next) -> Response {
    let foreign: Vec<HeaderName> = request
        .headers()
        .keys()
        .filter(|name| name.as_str().starts_with("x-spinnaker-"))
        .cloned()
        .collect();
    for name in foreign {
        request.headers_mut().remove(name);
    }
    let id = request_id();
    request.extensions_mut().insert(Caller(AuthContext {
        request_id: Some(id.clone()),
        ..AuthContext::default()
    }));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// A random id in the usual form; it names a request in logs and is no secret.
fn request_id() -> String {
    let bits: u128 = rand::random();
    let text = format!("{bits:032x}");
    format!(
        "{}-{}-4{}-8{}-{}",
        &text[..8],
        &text[8..12],
        &text[13..16],
        &text[17..20],
        &text[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn paths_lose_leading_and_trailing_slashes_only() {
        for (from, to) in [
            ("/version", "/version"),
            ("//version", "/version"),
            ("/tasks/", "/tasks"),
            ("/", "/"),
            ("//", "/"),
            ("/ui/", "/ui/"),
            ("/a/b%2Fc/?x=1&y=%20", "/a/b%2Fc?x=1&y=%20"),
            ("/a//b", "/a//b"),
        ] {
            let request = Request::builder().uri(from).body(Body::empty()).unwrap();
            assert_eq!(uniform(request).uri().to_string(), to, "{from}");
        }
    }

    #[test]
    fn other_sites_pages_are_refused_and_programs_are_not() {
        let hosts = ["gate.example".to_owned()];
        for (method, host, origin, expected) in [
            ("POST", None, None, true),
            ("POST", Some("127.0.0.1:8084"), None, true),
            (
                "POST",
                Some("localhost:8084"),
                Some("http://localhost:8084"),
                true,
            ),
            ("POST", Some("[::1]:8084"), Some("http://[::1]:8084"), true),
            (
                "DELETE",
                Some("Gate.example"),
                Some("https://gate.example"),
                true,
            ),
            (
                "GET",
                Some("127.0.0.1:8084"),
                Some("http://evil.example"),
                true,
            ),
            (
                "POST",
                Some("127.0.0.1:8084"),
                Some("http://evil.example"),
                false,
            ),
            (
                "POST",
                Some("127.0.0.1:8084"),
                Some("http://127.0.0.1:9999"),
                false,
            ),
            ("POST", Some("127.0.0.1:8084"), Some("null"), false),
            ("PUT", None, Some("http://evil.example"), false),
            ("GET", Some("evil.example:8084"), None, false),
            (
                "POST",
                Some("evil.example"),
                Some("http://evil.example"),
                false,
            ),
            ("GET", Some("127.0.0.1.evil.example"), None, false),
            ("GET", Some("192.0.2.1"), None, false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            let method: Method = method.parse().unwrap();
            let passes = foreign(&method, &headers, &hosts).is_none();
            assert_eq!(passes, expected, "{method} {host:?} {origin:?}");
        }
    }

    #[test]
    fn request_ids_have_the_usual_form_and_differ() {
        let id = request_id();
        assert_eq!(id.len(), 36);
        assert_eq!(id.matches('-').count(), 4);
        assert_ne!(id, request_id());
    }
}
