//! What an operator asks a process: `/health`, `/health/live`, `/metrics`,
//! `/version`, `/log-level`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use axum::routing::get;
use serde_json::json;

use crate::health::Health;
use crate::{telemetry, version};

/// Renders a service's metrics in Prometheus' text format.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
struct Admin {
    health: Health,
    metrics: Vec<Metrics>,
}

/// The routes, over the given checks and metrics.
pub fn router(health: Health, metrics: Vec<Metrics>) -> Router {
    Router::new()
        .route("/health", get(health_report))
        .route(
            "/health/live",
            get(|| async { Json(json!({"status": "UP"})) }),
        )
        .route("/metrics", get(metrics_text))
        .route("/version", get(version_json))
        .route("/log-level", axum::routing::put(set_log_level))
        .with_state(Admin { health, metrics })
}

async fn health_report(State(admin): State<Admin>) -> impl IntoResponse {
    let report = admin.health.report().await;
    let code = if report.is_up() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(report))
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    let text: String = admin.metrics.iter().map(|render| render()).collect();
    ([("content-type", "text/plain; version=0.0.4")], text)
}

async fn version_json() -> impl IntoResponse {
    Json(json!({"version": version::VERSION, "revision": version::REVISION}))
}

async fn set_log_level(filter: String) -> impl IntoResponse {
    match telemetry::set_filter(filter.trim()) {
        Ok(()) => (StatusCode::OK, Json(json!({"filter": filter.trim()}))),
        Err(error) => (
            StatusCode::BAD_REQUEST,
            Json(json!({"message": error.to_string()})),
        ),
    }
}
