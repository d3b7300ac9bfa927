//! What monitors ask: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

/// What there is to tell about a server.
pub trait Vitals: Send + Sync + 'static {
    /// All metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;

    /// Whether the server does its work or stands by to do it; else why not.
    ///
    /// # Errors
    /// The reason, for people.
    fn ready(&self) -> Result<(), String>;
}

/// The routes. `/healthz` answers as long as the process does.
pub fn router(vitals: Arc<dyn Vitals>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(vitals)
}

async fn metrics(State(vitals): State<Arc<dyn Vitals>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], vitals.metrics()).into_response()
}

async fn ready(State(vitals): State<Arc<dyn Vitals>>) -> Response {
    match vitals.ready() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}
