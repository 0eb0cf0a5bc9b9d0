//! What happens to every request and answer: paths made uniform, who asks
//! established, other sites' pages refused, a request id on everything.
//!
//! Without authentication a page of any site could tell a browser on this
//! machine to start a pipeline, and with it a browser that is logged in. Two
//! checks prevent it: the name in `Host` must be ours (a foreign name that
//! resolves to this machine is not), and a browser that says where a change
//! comes from must say: from here.
//! Source: `gate: RequestIdInterceptor, ResponseHeaderInterceptor`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use tower::util::MapRequest;
use url::{Host, Url};

use crate::Gateway;
use crate::error::Error;
use crate::front::Connection;
use crate::identity::{self, Proof};
use crate::request::Caller;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-spinnaker-request-id");

/// Puts a router behind the edge.
pub(crate) fn around(inner: Router, gate: &Gateway) -> Router {
    let hosts: Arc<[String]> = gate.config.names().into();
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
        .layer(middleware::from_fn_with_state(gate.clone(), identify));
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

/// Establishes who asks and gives the request its id. What headers say of identities goes no
/// further, except to webhooks, whose senders may be asked for headers by their triggers.
async fn identify(State(gate): State<Gateway>, mut request: Request, next: Next) -> Response {
    let id = request_id();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let connection = request.extensions().get::<ConnectInfo<Connection>>();
    let proof = Proof {
        headers: request.headers().clone(),
        certificate: connection.and_then(|ConnectInfo(c)| c.certificate.clone()),
        peer: connection.map(|ConnectInfo(connection)| connection.peer.ip()),
    };
    let webhook = method == Method::POST && path.starts_with("/webhooks/");
    for name in foreign_names(request.headers()) {
        request.headers_mut().remove(name);
    }
    if !webhook {
        for name in gate.identity.headers() {
            request.headers_mut().remove(name);
        }
    }
    let caller = if !gate.identity.is_enabled() {
        Ok(Caller::anybody(id.clone()))
    } else if webhook {
        // Whatever they carry is for their triggers to judge.
        Ok(Caller::proven(
            id.clone(),
            None,
            &gate.policy,
            Proof::default(),
        ))
    } else {
        match gate.identity.of(&gate.clients, &proof).await {
            Ok(None)
                if !identity::is_open(&method, &path)
                    && gate.identity.oidc().is_some()
                    && asks_for_a_page(&method, &proof) =>
            {
                return to_login(&request, id);
            }
            Ok(None) if !identity::is_open(&method, &path) => Err(identity::unauthorized(
                "nobody is logged in; send a credential",
            )),
            Ok(user) => Ok(Caller::proven(
                id.clone(),
                user.as_ref(),
                &gate.policy,
                proof,
            )),
            Err(error) => Err(error),
        }
    };
    let mut response = match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        for scheme in ["Bearer", "Basic realm=\"Gennaker\", charset=\"UTF-8\""] {
            let value = HeaderValue::from_static(scheme);
            response
                .headers_mut()
                .append(header::WWW_AUTHENTICATE, value);
        }
    }
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Whether a browser goes somewhere, so that a person can log in.
fn asks_for_a_page(method: &Method, proof: &Proof) -> bool {
    let accept = proof
        .headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok());
    *method == Method::GET && accept.is_some_and(|accept| accept.starts_with("text/html"))
}

/// Differs from Spinnaker: only browsers are sent to a login, since a program would follow and
/// take the provider's page for an answer.
fn to_login(request: &Request, id: String) -> Response {
    let here = request
        .uri()
        .path_and_query()
        .map_or("/", PathAndQuery::as_str);
    let to: String = url::form_urlencoded::byte_serialize(here.as_bytes()).collect();
    let mut response = StatusCode::FOUND.into_response();
    for (name, value) in [
        (header::LOCATION, format!("/login?to={to}")),
        (REQUEST_ID, id),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Headers by which Gate's clients and services speak of identities.
fn foreign_names(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = headers.keys();
    let foreign = names.filter(|name| name.as_str().starts_with("x-spinnaker-"));
    foreign.cloned().collect()
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
