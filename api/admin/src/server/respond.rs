//! Requests to answers.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde::Serialize;

use super::{Admin, RouteError};

const MAX_BODY: usize = 64 * 1024;
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Admin {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let handler = self
            .routes
            .get(&(parts.method.clone(), path.to_owned()))
            .cloned();
        let Some(handler) = handler else {
            return self.no_route(&parts.method, path);
        };
        match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => handler(body.to_bytes()).await,
            Err(e) => error(&RouteError::bad_request(format!("body: {e}"))),
        }
    }

    fn no_route(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let mut methods: Vec<&str> = self
            .routes
            .keys()
            .filter(|(_, p)| p == path)
            .map(|(m, _)| m.as_str())
            .collect();
        if !methods.is_empty() {
            methods.sort_unstable();
            let message = format!("{method} {path}: only {}", methods.join(", "));
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, message + "\n");
            if let Ok(value) = HeaderValue::try_from(methods.join(", ")) {
                response.headers_mut().insert(ALLOW, value);
            }
            return response;
        }
        let mut paths: Vec<&str> = self.routes.keys().map(|(_, p)| p.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        let message = format!("{} has no {path}; it has {}\n", self.name, paths.join(" "));
        text(StatusCode::NOT_FOUND, message)
    }
}

pub(super) fn json<T: Serialize>(value: &T) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => with_type(StatusCode::OK, "application/json", body.into()),
        Err(e) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot be written as JSON: {e}\n"),
        ),
    }
}

pub(super) fn result<T: Serialize>(result: Result<T, RouteError>) -> Response<Full<Bytes>> {
    match result {
        Ok(value) => json(&value),
        Err(e) => error(&e),
    }
}

pub(super) fn error(e: &RouteError) -> Response<Full<Bytes>> {
    text(e.status, format!("{}\n", e.message))
}

pub(super) fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let mut body = String::new();
    match encode(&mut body, registry) {
        Ok(()) => with_type(StatusCode::OK, OPEN_METRICS, body.into()),
        Err(e) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("metrics cannot be written: {e}\n"),
        ),
    }
}

pub(super) fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
