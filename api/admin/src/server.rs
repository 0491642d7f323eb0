//! The HTTP/1.1 server.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::logging::LogHandle;
use crate::types::LogLevel;

mod listen;
mod respond;

/// An answer other than 200, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub struct RouteError {
    /// HTTP status.
    pub status: StatusCode,
    /// For people.
    pub message: String,
}

impl RouteError {
    /// 400: the request makes no sense.
    pub fn bad_request(message: impl ToString) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.to_string(),
        }
    }

    /// 503: not now.
    pub fn unavailable(message: impl ToString) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: message.to_string(),
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;
type Handler = Arc<dyn Fn(Bytes) -> Answer + Send + Sync>;

/// A table of routes; cheap to clone once it is complete. It serves until the process ends.
#[derive(Clone)]
pub struct Admin {
    name: Arc<str>,
    routes: HashMap<(Method, String), Handler>,
}

impl Admin {
    /// An empty table; `name` is the process's, for logs.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            routes: HashMap::new(),
        }
    }

    /// Answers `GET path` with `handler`'s value as JSON.
    #[must_use]
    pub fn route<T, F, Fut>(self, path: &str, handler: F) -> Self
    where
        T: Serialize,
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        self.add(Method::GET, path, move |_| {
            let value = handler();
            Box::pin(async move { respond::json(&value.await) })
        })
    }

    /// Answers `GET path` with `handler`'s value as JSON, or with its error.
    #[must_use]
    pub fn try_route<T, F, Fut>(self, path: &str, handler: F) -> Self
    where
        T: Serialize,
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, RouteError>> + Send + 'static,
    {
        self.add(Method::GET, path, move |_| {
            let value = handler();
            Box::pin(async move { respond::result(value.await) })
        })
    }

    /// Answers `PUT path`: its JSON body goes to `handler`.
    #[must_use]
    pub fn put<B, T, F, Fut>(self, path: &str, handler: F) -> Self
    where
        B: DeserializeOwned,
        T: Serialize,
        F: Fn(B) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, RouteError>> + Send + 'static,
    {
        self.add(
            Method::PUT,
            path,
            move |body| match serde_json::from_slice(&body) {
                Ok(parsed) => {
                    let value = handler(parsed);
                    Box::pin(async move { respond::result(value.await) })
                }
                Err(e) => {
                    let answer = respond::error(&RouteError::bad_request(format!("body: {e}")));
                    Box::pin(async move { answer })
                }
            },
        )
    }

    /// Answers `GET /metrics` in the OpenMetrics text format.
    #[must_use]
    pub fn metrics(self, registry: Arc<Registry>) -> Self {
        self.add(Method::GET, "/metrics", move |_| {
            let answer = respond::metrics(&registry);
            Box::pin(async move { answer })
        })
    }

    /// Answers `GET /ready` and `GET /healthz/ready`: 200, or 503 with what is waited for.
    #[must_use]
    pub fn ready<F>(self, check: F) -> Self
    where
        F: Fn() -> Result<(), String> + Send + Sync + 'static,
    {
        let check = Arc::new(check);
        ["/ready", "/healthz/ready"]
            .into_iter()
            .fold(self, |admin, path| {
                let check = check.clone();
                admin.add(Method::GET, path, move |_| {
                    let answer = match check() {
                        Ok(()) => respond::text(StatusCode::OK, "ready\n".into()),
                        Err(reason) => respond::error(&RouteError::unavailable(reason)),
                    };
                    Box::pin(async move { answer })
                })
            })
    }

    /// Answers `GET` and `PUT /log-level`.
    #[must_use]
    pub fn log_level(self, handle: LogHandle) -> Self {
        let reader = handle.clone();
        self.route("/log-level", move || {
            let filter = reader.get();
            async move { LogLevel { filter } }
        })
        .put("/log-level", move |level: LogLevel| {
            let result = handle.set(&level.filter).map_err(RouteError::bad_request);
            if result.is_ok() {
                tracing::info!(filter = %level.filter, "log level changed");
            }
            async move { result.map(|()| level) }
        })
    }

    /// Serves on a Unix socket with mode 0600, replacing one left by an earlier process.
    ///
    /// # Errors
    /// `path` cannot be bound.
    pub fn serve_unix(&self, path: &Path) -> io::Result<()> {
        listen::unix(Arc::new(self.clone()), path)
    }

    /// Serves on a TCP address; returns the address bound.
    ///
    /// # Errors
    /// `address` cannot be bound.
    pub async fn serve_tcp(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        listen::tcp(Arc::new(self.clone()), address).await
    }

    fn add(
        mut self,
        method: Method,
        path: &str,
        handler: impl Fn(Bytes) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.routes
            .insert((method, path.to_owned()), Arc::new(handler));
        self
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("name", &self.name)
            .field("routes", &self.routes.keys())
            .finish()
    }
}
