//! What happens to every request and answer: paths made uniform, foreign
//! identity headers removed, a request id on everything.
//!
//! Source: `gate: RequestIdInterceptor, ResponseHeaderInterceptor`.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};
use runtime::auth::AuthContext;
use tower::util::MapRequest;

use crate::request::Caller;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-spinnaker-request-id");

/// Puts a router behind the edge.
pub(crate) fn around(inner: Router) -> Router {
    let inner = inner.layer(middleware::from_fn(identify));
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
    fn request_ids_have_the_usual_form_and_differ() {
        let id = request_id();
        assert_eq!(id.len(), 36);
        assert_eq!(id.matches('-').count(), 4);
        assert_ne!(id, request_id());
    }
}
