//! The client over a Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "{path}: nothing answers ({source}); is the process running, and is this its --run-dir?"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The process has no such endpoint.
    #[error("{0}")]
    NoEndpoint(String),
    /// The answer was an error.
    #[error("{path} answered {status}: {message}")]
    Refused {
        /// The socket.
        path: PathBuf,
        /// HTTP status.
        status: StatusCode,
        /// The answer's text.
        message: String,
    },
    /// The exchange failed.
    #[error("{path}: {problem}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// How.
        problem: String,
    },
}

/// A client of one process's admin socket; one connection a request.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A client of the admin socket at `path`.
    pub fn unix(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// `GET endpoint`, its JSON as `T`; waits at most 10 s.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, endpoint: &str) -> Result<T, ClientError> {
        let body = self.exchange(Method::GET, endpoint, Bytes::new()).await?;
        serde_json::from_slice(&body)
            .map_err(|e| self.broken(format!("{endpoint}: unexpected answer: {e}")))
    }

    /// `GET endpoint` as text.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_text(&self, endpoint: &str) -> Result<String, ClientError> {
        let body = self.exchange(Method::GET, endpoint, Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// `PUT endpoint` with `value` as JSON; the answer's JSON as `T`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put<B: Serialize, T: DeserializeOwned>(
        &self,
        endpoint: &str,
        value: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(value).map_err(|e| self.broken(e.to_string()))?;
        let answer = self.exchange(Method::PUT, endpoint, body.into()).await?;
        serde_json::from_slice(&answer)
            .map_err(|e| self.broken(format!("{endpoint}: unexpected answer: {e}")))
    }

    async fn exchange(
        &self,
        method: Method,
        endpoint: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let late = |_| self.broken(format!("{endpoint}: no answer within {LIMIT:?}"));
        timeout(LIMIT, self.request(method, endpoint, body))
            .await
            .map_err(late)?
    }

    async fn request(
        &self,
        method: Method,
        endpoint: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let connected = UnixStream::connect(&self.path).await;
        let stream = connected.map_err(|source| ClientError::NotRunning {
            path: self.path.clone(),
            source,
        })?;
        let broken = |e: hyper::Error| self.broken(e.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let request = Request::builder()
            .method(method)
            .uri(endpoint)
            .header(HOST, "localhost");
        let request = request
            .body(Full::new(body))
            .map_err(|e| self.broken(e.to_string()))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        // The connection only moves while it is polled; it ends with this request.
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        let mut open = true;
        let (status, body) = loop {
            tokio::select! {
                answer = &mut exchange => break answer.map_err(broken)?,
                ended = &mut connection, if open => { open = false; ended.map_err(broken)?; }
            }
        };
        self.judge(status, body)
    }

    fn judge(&self, status: StatusCode, body: Bytes) -> Result<Bytes, ClientError> {
        let message = || String::from_utf8_lossy(&body).trim().to_owned();
        match status {
            s if s.is_success() => Ok(body),
            StatusCode::NOT_FOUND => Err(ClientError::NoEndpoint(message())),
            status => Err(ClientError::Refused {
                path: self.path.clone(),
                status,
                message: message(),
            }),
        }
    }

    fn broken(&self, problem: String) -> ClientError {
        ClientError::Broken {
            path: self.path.clone(),
            problem,
        }
    }
}
