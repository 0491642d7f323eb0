//! What a hostile peer sends. Each attack tells how its connections ended; a fault is an end that should not be, a good
//! request that failed meanwhile, or a victim that grew.

mod canary;
mod floods;
mod frames;
mod grpc;
mod local;
mod memory;
mod raw;
mod requests;
mod seqpacket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};

use crate::command::connect::Creds;
use crate::dial;
use crate::error::WireError;
use crate::h2::{Conn, Event, Settings, error_name};
use crate::hbone::{Head, field};
use crate::tls::Expect;

/// What kind of server is attacked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Kind {
    /// A tunnel's port 15008.
    Hbone,
    /// The controller's port 15012.
    Controller,
    /// A Unix socket with HTTP/1.1.
    Admin,
    /// The agent's CNI socket.
    Cni,
    /// The agent's node socket.
    Node,
}

/// The server under attack.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its kind.
    pub kind: Kind,
    /// Its address, where it has one.
    pub to: Option<SocketAddr>,
    /// Its socket, where it is a Unix one.
    pub socket: Option<PathBuf>,
    /// Whom we pretend to be.
    pub creds: Creds,
    /// Name in the controller's certificate.
    pub host: String,
    /// An `:authority` that the tunnel takes.
    pub authority: String,
    /// Time within which a wrong connection must end or be answered.
    pub limit: Duration,
    /// Connections at once, where an attack uses many.
    pub connections: usize,
    /// Frames of a flood.
    pub frames: usize,
    /// Process whose memory is watched.
    pub pid: Option<u32>,
    /// Send no good requests meanwhile.
    pub quiet: bool,
    /// Growth in bytes that is still taken.
    pub growth: u64,
}

/// How one try of an attack ended.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which variant.
    pub what: String,
    /// `closed`, `status:400`, `rst:PROTOCOL_ERROR`, …
    pub end: String,
    /// Whether that is what a sound server does.
    pub ok: bool,
}

impl Finding {
    fn new(what: &str, end: impl Into<String>, ok: bool) -> Self {
        Self {
            what: what.to_owned(),
            end: end.into(),
            ok,
        }
    }
}

/// Names of the attacks on a kind of server.
pub fn names(kind: Kind) -> Vec<&'static str> {
    let mut names = Vec::new();
    if matches!(kind, Kind::Hbone | Kind::Controller) {
        names.extend(raw::NAMES);
        names.extend(floods::NAMES);
        names.push("bad-frames");
    }
    match kind {
        Kind::Hbone => names.extend(requests::NAMES),
        Kind::Controller => names.extend(grpc::NAMES),
        Kind::Admin | Kind::Cni => names.extend(local::names(kind)),
        Kind::Node => names.extend(seqpacket::NAMES),
    }
    names
}

/// Runs one attack by its name while good requests go on and the victim's memory is watched.
pub async fn run(name: &str, target: &Target) -> Result<Value> {
    let begin = Instant::now();
    let watch = memory::Watch::start(target.pid)?;
    let canary = canary::Canary::start(target.clone());
    let findings = by_name(name, target).await?;
    let good = canary.stop().await;
    let memory = watch.stop().await;
    let grown = memory.as_ref().map(|m| m.peak.saturating_sub(m.before));
    let mut faults: Vec<String> = findings
        .iter()
        .filter(|f| !f.ok)
        .map(|f| format!("{}: {}", f.what, f.end))
        .collect();
    faults.extend(
        good.faults
            .iter()
            .map(|f| format!("a good request meanwhile: {f}")),
    );
    if grown.is_some_and(|g| g > target.growth) {
        faults.push(format!(
            "the victim grew by {} bytes",
            grown.unwrap_or_default()
        ));
    }
    if memory.is_some_and(|m| m.gone) {
        faults.push("the victim is gone".into());
    }
    let ends: Vec<Value> = findings
        .iter()
        .map(|f| json!({"what": f.what, "end": f.end, "ok": f.ok}))
        .collect();
    Ok(json!({
        "event": "attack",
        "name": name,
        "ok": faults.is_empty(),
        "faults": faults,
        "ends": ends,
        "good_requests": good.count,
        "rss_before": memory.map(|m| m.before),
        "rss_peak": memory.map(|m| m.peak),
        "ms": begin.elapsed().as_millis(),
    }))
}

async fn by_name(name: &str, target: &Target) -> Result<Vec<Finding>> {
    if !names(target.kind).contains(&name) {
        bail!(
            "{name} is no attack on {:?}; there are {}",
            target.kind,
            names(target.kind).join(", ")
        );
    }
    if raw::NAMES.contains(&name) {
        return raw::run(name, target).await;
    }
    if floods::NAMES.contains(&name) {
        return floods::run(name, target).await;
    }
    match (name, target.kind) {
        ("bad-frames", _) => frames::run(target).await,
        (_, Kind::Hbone) => requests::run(name, target).await,
        (_, Kind::Controller) => grpc::run(name, target).await,
        (_, Kind::Admin | Kind::Cni) => local::run(name, target).await,
        (_, Kind::Node) => seqpacket::run(name, target).await,
    }
}

impl Target {
    fn addr(&self) -> Result<SocketAddr> {
        self.to
            .ok_or_else(|| anyhow::anyhow!("--to is needed for {:?}", self.kind))
    }

    async fn tls(&self) -> Result<Result<dial::Tls, WireError>> {
        let to = self.addr()?;
        let (expect, name) = match self.kind {
            Kind::Controller => (
                Expect::Host(self.host.clone()),
                ServerName::try_from(self.host.clone())?,
            ),
            _ => (Expect::Spiffe(None), ServerName::from(to.ip())),
        };
        let config = self.creds.client(&expect, &["h2"])?;
        Ok(match dial::tcp(to, None, self.limit).await {
            Ok(tcp) => dial::tls(tcp, config, name, self.limit).await,
            Err(error) => Err(error),
        })
    }

    async fn conn(&self) -> Result<Result<Conn, WireError>> {
        Ok(match self.tls().await? {
            Ok(tls) => Conn::client(tls, &Settings::stock()).await,
            Err(error) => Err(error),
        })
    }

    /// The fields of a good request.
    fn request(&self) -> Vec<(String, String)> {
        if self.kind == Kind::Hbone {
            return Head::stock(&self.authority, "127.0.0.1:40000").all();
        }
        [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", self.host.as_str()),
            (
                ":path",
                "/istio.v1.auth.IstioCertificateService/CreateCertificate",
            ),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .into()
    }
}

/// What a stream, or for `None` a connection, has come to.
#[derive(Debug, Default)]
struct Course {
    stream: Option<u32>,
    goaway: Option<String>,
    said: Option<String>,
    end: Option<String>,
}

impl Course {
    fn of(stream: Option<u32>) -> Self {
        Self {
            stream,
            ..Self::default()
        }
    }

    fn take(&mut self, event: Event) {
        let mine = |id: u32| self.stream == Some(id);
        let ended = match event {
            Event::Headers {
                stream,
                fields,
                end,
            } if mine(stream) => {
                let grpc = field(&fields, "grpc-status").map(|s| format!("grpc:{s}"));
                let http = field(&fields, ":status").map(|s| format!("status:{s}"));
                let shown = grpc.or(http).unwrap_or_else(|| "headers".into());
                let more = field(&fields, "content-type")
                    .is_some_and(|t| t.starts_with("application/grpc"));
                self.said = Some(shown.clone());
                (end || !more).then_some(shown)
            }
            Event::Data {
                stream, end: true, ..
            } if mine(stream) => Some(self.said.clone().unwrap_or_else(|| "end_stream".into())),
            Event::Reset { stream, code } if mine(stream) => {
                Some(format!("rst:{}", error_name(code)))
            }
            Event::GoAway { code, .. } => {
                self.goaway = Some(format!("goaway:{}", error_name(code)));
                None
            }
            _ => None,
        };
        self.end = self.end.take().or(ended);
    }

    fn told(self, otherwise: String) -> String {
        self.end.or(self.goaway).or(self.said).unwrap_or(otherwise)
    }
}

/// Waits for the end of a stream (or, for `None`, of the connection): `status:N`, `rst:…`, `goaway:…`, `closed`, or
/// `still open`.
async fn end(conn: &mut Conn, stream: Option<u32>, limit: Duration) -> String {
    finish(conn, Course::of(stream), limit).await
}

async fn finish(conn: &mut Conn, mut course: Course, limit: Duration) -> String {
    let deadline = Instant::now() + limit;
    while course.end.is_none() {
        let left = deadline.saturating_duration_since(Instant::now());
        match conn.next(left).await {
            Ok(event) => course.take(event),
            Err(WireError::TimedOut) => break,
            Err(error) => return course.told(error.outcome()),
        }
        if left.is_zero() {
            break;
        }
    }
    course.told("still open".into())
}
