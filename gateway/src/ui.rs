//! The page at `/ui/`: three files inside the binary, no build step.

use axum::body::Body;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderValue, header};

use crate::error::Error;
use crate::request::At;

const PAGE: &str = include_str!("../web/index.html");
const FILES: &[(&str, &str, &str)] = &[
    (
        "app.css",
        "text/css; charset=utf-8",
        include_str!("../web/app.css"),
    ),
    (
        "app.js",
        "text/javascript; charset=utf-8",
        include_str!("../web/app.js"),
    ),
    (
        "view.js",
        "text/javascript; charset=utf-8",
        include_str!("../web/view.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("../web/icon.svg")),
];

/// Only our own files may run, and nobody may put the page into a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn response(kind: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A new build must not run with an old build's script.
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `GET /ui/`
pub(crate) async fn page() -> Response {
    response("text/html; charset=utf-8", PAGE)
}

/// `GET /ui`: its files are relative to `/ui/`.
pub(crate) async fn redirect() -> Response {
    Redirect::to("/ui/").into_response()
}

/// `GET /ui/{file}`
pub(crate) async fn file(At(name): At<String>) -> Result<Response, Error> {
    let found = FILES.iter().find(|(known, _, _)| *known == name);
    found
        .map(|(_, kind, text)| response(kind, text))
        .ok_or_else(|| Error::not_found(format!("there is no file {name} of the page")))
}
