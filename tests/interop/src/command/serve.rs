//! `serve`: takes HBONE streams as the tunnel of a pod does, and tells what each request said.

mod conn;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::connect::Creds;
use crate::error::WireError;
use crate::pki::read_certs;
use crate::{report, tls};

/// Options of `serve`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Address to listen on; may be repeated.
    #[arg(long, required = true)]
    pub listen: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) creds: Creds,
    /// Trust domain that clients must have.
    #[arg(long, default_value = "cluster.local")]
    pub trust_domain: String,
    /// Answer every CONNECT with this status.
    #[arg(long, default_value_t = 200)]
    pub status: u16,
    /// Send GOAWAY after this many streams of a connection, in two steps (RFC 9113 §6.8), and end it with its last stream.
    #[arg(long)]
    pub goaway_after: Option<usize>,
    /// On the first connection only, and in one step: later streams are left unanswered, for the client to open elsewhere.
    #[arg(long, requires = "goaway_after")]
    pub goaway_abrupt: bool,
    /// Announce this many streams at once.
    #[arg(long, default_value_t = 100)]
    pub max_streams: u32,
    /// Send a PING every so many seconds; one without an answer within 20 s ends the connection.
    #[arg(long)]
    pub ping: Option<f64>,
    /// Do not check the headers of requests.
    #[arg(long)]
    pub lax: bool,
    /// End after this many connections.
    #[arg(long)]
    pub connections: Option<usize>,
    /// End after this many seconds.
    #[arg(long = "for", default_value_t = 600.0)]
    pub time: f64,
}

/// What connections share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) faults: AtomicBool,
    pub(crate) requests: AtomicUsize,
    pub(crate) accepted: AtomicUsize,
    done: AtomicUsize,
}

/// Serves; succeeds where every request was right.
pub async fn run(options: &Options) -> Result<bool> {
    let root = options
        .creds
        .root_cert
        .as_ref()
        .context("--root-cert is needed")?;
    let identity = options
        .creds
        .identity()?
        .context("--cert and --key, or --forge, are needed")?;
    let config = tls::server(&read_certs(root)?, identity, options.creds.groups)?;
    let shared = Arc::new(Shared {
        options: options.clone(),
        faults: AtomicBool::new(false),
        requests: AtomicUsize::new(0),
        accepted: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
    });
    let mut bound = Vec::new();
    for at in &options.listen {
        let listener = TcpListener::bind(at)
            .await
            .with_context(|| format!("cannot listen on {at}"))?;
        bound.push(listener.local_addr()?.to_string());
        let acceptor = TlsAcceptor::from(config.clone());
        tokio::spawn(accept(listener, acceptor, shared.clone()));
    }
    report::line(&json!({"event": "ready", "listen": bound}));
    let _ = timeout(Duration::from_secs_f64(options.time), enough(&shared)).await;
    let requests = shared.requests.load(Ordering::SeqCst);
    let faults = shared.faults.load(Ordering::SeqCst);
    report::line(&json!({"event": "done", "ok": !faults, "requests": requests}));
    Ok(!faults)
}

async fn enough(shared: &Shared) {
    let wanted = shared.options.connections.unwrap_or(usize::MAX);
    while shared.done.load(Ordering::SeqCst) < wanted {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((tcp, from)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        tokio::spawn(async move {
            let end = one(tcp, acceptor, &shared).await;
            let why = match &end {
                Ok(()) => "closed".to_owned(),
                Err(error) => error.outcome(),
            };
            report::line(&json!({"event": "end", "from": from.to_string(), "why": why}));
            shared.done.fetch_add(1, Ordering::SeqCst);
        });
    }
}

async fn one(tcp: TcpStream, acceptor: TlsAcceptor, shared: &Shared) -> Result<(), WireError> {
    tcp.set_nodelay(true)?;
    let handshake = acceptor.accept(tcp).into_fallible();
    let shaken = timeout(Duration::from_secs(10), handshake).await;
    let stream = match shaken.map_err(|_| WireError::TimedOut)? {
        Ok(stream) => stream,
        Err((error, tcp)) => {
            linger(tcp).await;
            return Err(error.into());
        }
    };
    let seen = tls::describe(stream.get_ref().1);
    let sni = stream.get_ref().1.server_name().map(str::to_owned);
    let mut line = seen.clone();
    line["sni"] = json!(sni);
    report::line(&line);
    let mut faults = Vec::new();
    if let Some(name) = sni {
        faults.push(format!("the client sent SNI {name:?}"));
    }
    if seen["alpn"] != "h2" {
        faults.push(format!("ALPN is {}", seen["alpn"]));
    }
    let prefix = format!("spiffe://{}/", shared.options.trust_domain);
    if !seen["peer"][0]
        .as_str()
        .unwrap_or_default()
        .starts_with(&prefix)
    {
        faults.push(format!(
            "the client is {}, not of {}",
            seen["peer"], shared.options.trust_domain
        ));
    }
    if !faults.is_empty() {
        shared.faults.store(true, Ordering::SeqCst);
        report::line(&json!({"event": "faults", "faults": faults}));
        return Ok(());
    }
    conn::serve(stream, shared).await
}

/// Reads what the client still sends: closing over it would be a reset, which destroys the alert on its way.
async fn linger(mut tcp: TcpStream) {
    let _ = tcp.shutdown().await;
    let rest = async { while matches!(tcp.read(&mut [0; 1024]).await, Ok(n) if n > 0) {} };
    let _ = timeout(Duration::from_secs(1), rest).await;
}
