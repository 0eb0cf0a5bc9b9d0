//! `/health`, `/version`, `/`: what the process says of itself.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use crate::answer::{self, Answer, Reply};
use crate::{Gateway, health};

/// 200 only when a pipeline can be started; else 503 with the reason of each part.
pub(super) async fn health(State(gate): State<Gateway>) -> Response {
    let report = health::report(&gate).await;
    let mut components = Map::new();
    for part in &report.parts {
        let mut component = json!({"status": part.status});
        if let Some(reason) = &part.reason {
            component["details"] = json!({"reason": reason});
        }
        components.insert(part.name.to_owned(), component);
    }
    let status = if report.is_up() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({"status": report.status, "components": Value::Object(components)});
    answer::json(status, body)
}

/// `GET /metrics`: Prometheus' text.
pub(super) async fn metrics(State(gate): State<Gateway>) -> Response {
    let text: String = gate.metrics.0.iter().map(|render| render()).collect();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// The version of this build.
pub(super) async fn version() -> Reply {
    Ok(Answer::Ok(json!({"version": runtime::version::VERSION})))
}

/// To the page.
pub(super) async fn root() -> Response {
    Redirect::to("/ui/").into_response()
}
