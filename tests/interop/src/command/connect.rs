//! `connect`: opens HBONE streams to a tunnel and checks what comes back.

mod streams;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use rustls::pki_types::ServerName;

use crate::error::WireError;
use crate::h2::{Conn, Settings};
use crate::hbone::Head;
use crate::pki::{Ca, Forgery, Identity, read_certs};
use crate::tls::{self, Expect, Groups};
use crate::{dial, report};

/// Options of `connect`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The tunnel, IP:15008.
    #[arg(long)]
    pub to: SocketAddr,
    /// `:authority`; IP:PORT of the application.
    #[arg(long, default_value = "")]
    pub authority: String,
    #[command(flatten)]
    pub(crate) creds: Creds,
    /// URI name that the server must have; any one by default.
    #[arg(long)]
    pub expect_peer: Option<String>,
    /// ALPN protocols to offer; `none` for none.
    #[arg(long, default_values_t = ["h2".to_owned()])]
    pub alpn: Vec<String>,
    /// Local address.
    #[arg(long)]
    pub bind: Option<IpAddr>,
    /// Field NAME=VALUE to set on the request; an empty VALUE takes it away.
    #[arg(long)]
    pub header: Vec<String>,
    /// Streams at once on the one connection.
    #[arg(long, default_value_t = 1)]
    pub streams: usize,
    /// What to do with each stream.
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    pub mode: Mode,
    /// Bytes to send on each stream in mode echo.
    #[arg(long, default_value_t = 20_000)]
    pub bytes: u64,
    /// Text to send on each stream in mode read.
    #[arg(long, default_value = "")]
    pub text: String,
    /// Seconds to stay after the echo before our half is closed; what comes meanwhile is told.
    #[arg(long, default_value_t = 0.0)]
    pub hold: f64,
    /// Send a PING first and want its answer.
    #[arg(long)]
    pub ping: bool,
    /// Seconds that any step may take.
    #[arg(long, default_value_t = 10.0)]
    pub limit: f64,
    /// Outcome that must come: ok, status:N, alert:NAME, reset, closed, refused, timeout, rst:NAME, goaway:NAME, mismatch,
    /// faults; repeat for a choice. A word stands for all that begin with it.
    #[arg(long, default_values_t = ["ok".to_owned()])]
    pub expect: Vec<String>,
}

/// Which certificate is shown, and what is offered.
#[derive(Args, Clone, Debug)]
pub struct Creds {
    /// PEM file of the mesh's root.
    #[arg(long)]
    pub root_cert: Option<PathBuf>,
    /// PEM file of the client's chain, leaf first.
    #[arg(long, requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, requires = "cert")]
    pub key: Option<PathBuf>,
    /// Show a certificate made here instead, with this fault.
    #[arg(long, value_enum, conflicts_with = "cert")]
    pub forge: Option<Forgery>,
    /// Identity in it.
    #[arg(long, default_value = "spiffe://cluster.local/ns/interop/sa/peer")]
    pub forge_id: String,
    /// PEM file of the certificate of the CA that signs it; a new CA by default.
    #[arg(long, requires = "signer_key")]
    pub signer_cert: Option<PathBuf>,
    /// PEM file of that CA's key.
    #[arg(long, requires = "signer_cert")]
    pub signer_key: Option<PathBuf>,
    /// Key exchange groups.
    #[arg(long, value_enum, default_value_t = Groups::Any)]
    pub groups: Groups,
}

impl Creds {
    /// The certificate to show, if any.
    pub fn identity(&self) -> Result<Option<Identity>> {
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            return Identity::read(cert, key).map(Some);
        }
        let Some(fault) = self.forge else {
            return Ok(None);
        };
        let ca = match (&self.signer_cert, &self.signer_key) {
            (Some(cert), Some(key)) => Ca::read(cert, key)?,
            _ => Ca::new()?,
        };
        ca.forge(fault, &self.forge_id).map(Some)
    }

    /// A TLS client with them.
    pub fn client(
        &self,
        expect: &Expect,
        alpn: &[&str],
    ) -> Result<std::sync::Arc<rustls::ClientConfig>> {
        let root = self.root_cert.as_ref().context("--root-cert is needed")?;
        tls::client(
            &read_certs(root)?,
            self.identity()?,
            self.groups,
            expect,
            alpn,
        )
    }
}

/// What to do with a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Mode {
    /// Send a pattern, want it back, then END_STREAM both ways.
    Echo,
    /// Send the text and END_STREAM, tell what comes.
    Read,
    /// Only the request; reset once it is answered.
    Ask,
}

/// Runs it.
pub async fn run(options: &Options) -> Result<bool> {
    ensure!(options.streams > 0, "--streams must be at least 1");
    let limit = Duration::from_secs_f64(options.limit);
    let outcome = match connect(options, limit).await? {
        Ok(conn) => match streams::run(conn, options, &head(options)?, limit).await {
            Ok(outcome) => outcome,
            Err(error) => error.outcome(),
        },
        Err(error) => error.outcome(),
    };
    Ok(report::done(&outcome, &options.expect, &[]))
}

async fn connect(options: &Options, limit: Duration) -> Result<Result<Conn, WireError>> {
    let alpn: Vec<&str> = options
        .alpn
        .iter()
        .map(String::as_str)
        .filter(|a| *a != "none")
        .collect();
    let config = options
        .creds
        .client(&Expect::Spiffe(options.expect_peer.clone()), &alpn)?;
    let dialled = async {
        let tcp = dial::tcp(options.to, options.bind, limit).await?;
        let tls = dial::tls(tcp, config, ServerName::from(options.to.ip()), limit).await?;
        told(&tls);
        Conn::client(tls, &Settings::stock()).await
    };
    Ok(dialled.await)
}

fn told(tls: &dial::Tls) {
    report::line(&tls::describe(tls.get_ref().1));
}

fn head(options: &Options) -> Result<Head> {
    let source = match options.bind {
        Some(ip) => SocketAddr::new(ip, 40_000).to_string(),
        None if options.to.is_ipv4() => "127.0.0.1:40000".into(),
        None => "[::1]:40000".into(),
    };
    let mut head = Head::stock(&options.authority, &source);
    for header in &options.header {
        let (name, value) = header
            .split_once('=')
            .with_context(|| format!("{header:?} is not NAME=VALUE"))?;
        head.set(name, value);
    }
    Ok(head)
}
