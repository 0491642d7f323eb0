//! Listening sockets, with limits on connections and time.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Admin, respond};

const MAX_CONNECTIONS: usize = 64;
const HEADER_LIMIT: Duration = Duration::from_secs(10);
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// A scraper that keeps its connection opens a new one after this time.
const CONNECTION_LIMIT: Duration = Duration::from_secs(600);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn unix(admin: Arc<Admin>, path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "exists and is no socket",
            ));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let listener = Arc::new(listener);
    tokio::spawn(serve(admin, move || {
        let listener = listener.clone();
        async move { listener.accept().await.map(|(stream, _)| stream) }
    }));
    Ok(())
}

pub(super) async fn tcp(admin: Arc<Admin>, address: SocketAddr) -> io::Result<SocketAddr> {
    let listener = Arc::new(TcpListener::bind(address).await?);
    let bound = listener.local_addr()?;
    tokio::spawn(serve(admin, move || {
        let listener = listener.clone();
        async move { listener.accept().await.map(|(stream, _)| stream) }
    }));
    Ok(bound)
}

/// Accepts for ever; while [`MAX_CONNECTIONS`] are served, others wait in the kernel's queue.
async fn serve<S, F, Fut>(admin: Arc<Admin>, accept: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn() -> Fut + Send + 'static,
    Fut: Future<Output = io::Result<S>> + Send,
{
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match accept().await {
            Ok(stream) => {
                let admin = admin.clone();
                tokio::spawn(async move {
                    let _slot = slot;
                    let _ = timeout(CONNECTION_LIMIT, connection(admin, stream)).await;
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, server = %admin.name, "admin connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S>(admin: Arc<Admin>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let admin = admin.clone();
        async move {
            let answer = timeout(REQUEST_LIMIT, admin.answer(request)).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|_| {
                respond::text(
                    StatusCode::GATEWAY_TIMEOUT,
                    format!("no answer within {REQUEST_LIMIT:?}\n"),
                )
            }))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(e) = served {
        tracing::debug!(error = %e, "admin connection ended");
    }
}
