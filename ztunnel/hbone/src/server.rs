//! The server side: an HTTP/2 connection over established TLS, CONNECT requests checked, drained on demand.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::{HandshakeError, TunnelError};
use crate::headers::{BAGGAGE, EARLY_DATA};
use crate::keepalive::until_dead;
use crate::room::Windows;
use crate::tls::Encrypted;
use crate::tunnel::H2Tunnel;
use crate::turns::Turns;
use crate::{Limits, SMALL_FRAME_BUDGET};

type Accepted = Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>;

/// What a connection is given to send its last frames.
const FLUSH: Duration = Duration::from_millis(500);

/// Where a CONNECT request wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// An address.
    Socket(SocketAddr),
    /// A name and port.
    Host(String, u16),
}

impl FromStr for Authority {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        if let Ok(addr) = s.parse() {
            return Ok(Self::Socket(addr));
        }
        let (host, port) = s.rsplit_once(':').ok_or(())?;
        let name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
        // `+80` would parse as a number, and make a name of an address.
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        if host.is_empty() || host.len() > 253 || !host.bytes().all(name) || !digits {
            return Err(());
        }
        Ok(Self::Host(
            host.to_ascii_lowercase(),
            port.parse().map_err(drop)?,
        ))
    }
}

/// A well-formed CONNECT request that waits for an answer. Dropping it resets the stream.
pub struct ConnectRequest {
    /// The destination asked for.
    pub authority: Authority,
    /// All headers.
    pub headers: HeaderMap,
    respond: SendResponse<Bytes>,
    recv: RecvStream,
    turns: Arc<Turns>,
}

impl ConnectRequest {
    /// Answers 200 and hands the stream over. Only to be called once the way to the destination is open.
    ///
    /// A client that does not wait for the answer gets it together with the application's first bytes.
    pub fn accept(self, baggage: HeaderValue) -> Result<H2Tunnel, TunnelError> {
        let mut answer = Response::new(());
        let head = answer.headers_mut();
        if !baggage.is_empty() {
            head.insert(BAGGAGE, baggage);
        }
        head.insert(EARLY_DATA, HeaderValue::from_static("1"));
        if self.headers.contains_key(EARLY_DATA) {
            return Ok(H2Tunnel::server_in_no_haste(
                self.respond,
                answer,
                self.recv,
                self.turns,
            ));
        }
        H2Tunnel::server(self.respond, answer, self.recv, self.turns)
    }

    /// Answers with a status and no body.
    pub fn refuse(mut self, status: StatusCode) {
        answer_empty(&mut self.respond, status);
    }

    /// Completes when the client gave the request up; lets a slow connect be abandoned.
    pub async fn abandoned(&mut self) {
        let _ = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }
}

fn answer_empty(respond: &mut SendResponse<Bytes>, status: StatusCode) {
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    // An error means that the client is gone.
    let _ = respond.send_response(answer, true);
}

/// Takes the requests of one connection. Called on the connection's own task: it must not wait.
pub trait Handler: Send + Sync {
    /// A well-formed request.
    fn connect(&self, request: ConnectRequest);
    /// A request that was answered with 400, and why.
    fn malformed(&self, why: &'static str);
}

/// Serves a connection until the peer ends it, it fails, or `drain` completes: the peer is then told to open no more streams
/// (GOAWAY), and the connection ends with its last stream, or after the time that `drain` gives.
///
/// Errors: the HTTP/2 handshake failed, no request came in time, or the connection broke.
pub async fn serve<I, D>(
    io: Encrypted<I>,
    limits: &Limits,
    drain: D,
    handler: &dyn Handler,
) -> Result<(), HandshakeError>
where
    I: AsyncRead + AsyncWrite + Unpin,
    D: Future<Output = Option<Duration>>,
{
    let flush = io.flush_handle();
    flush
        .after_each_turn(serve_http2(io, limits, drain, handler))
        .await
}

/// The same over any byte stream, without encryption of its own.
pub async fn serve_http2<I, D>(
    io: I,
    limits: &Limits,
    drain: D,
    handler: &dyn Handler,
) -> Result<(), HandshakeError>
where
    I: AsyncRead + AsyncWrite + Unpin,
    D: Future<Output = Option<Duration>>,
{
    let broke = |e: h2::Error| match e.get_io() {
        Some(io) => HandshakeError::Io(io.to_string()),
        None => HandshakeError::Http2(e.to_string()),
    };
    let windows = Windows::new(limits);
    let handshake = builder(limits, windows.told()).handshake::<_, Bytes>(io);
    let mut conn = timeout(limits.handshake, handshake)
        .await
        .map_err(|_| HandshakeError::Timeout)?
        .map_err(broke)?;
    let turns = Arc::<Turns>::default();
    let _last = turns.last();
    let first = timeout(limits.handshake, conn.accept())
        .await
        .map_err(|_| HandshakeError::Timeout)?;
    let Some(first) = first else { return Ok(()) };
    let (request, respond) = first.map_err(broke)?;
    dispatch(request, respond, &turns, handler);
    run(&mut conn, &turns, limits, windows, drain, handler)
        .await
        .map_err(broke)
}

fn builder(limits: &Limits, stream_window: u32) -> h2::server::Builder {
    let mut b = h2::server::Builder::new();
    b.initial_window_size(stream_window)
        .initial_connection_window_size(limits.connection_window(limits.streams_admitted()))
        .max_frame_size(limits.frame)
        .max_header_list_size(limits.header_list)
        .max_concurrent_streams(u32::try_from(limits.streams_admitted()).unwrap_or(u32::MAX))
        .max_send_buffer_size(limits.send_buffer)
        .data_frame_budget(SMALL_FRAME_BUDGET);
    b
}

async fn run<I, D>(
    conn: &mut Connection<I, Bytes>,
    turns: &Arc<Turns>,
    limits: &Limits,
    mut windows: Windows,
    drain: D,
    handler: &dyn Handler,
) -> Result<(), h2::Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
    D: Future<Output = Option<Duration>>,
{
    let pings = conn.ping_pong();
    let mut dead = pin!(async {
        match pings {
            Some(p) => until_dead(p, limits.ping_interval, limits.ping_timeout).await,
            None => std::future::pending().await,
        }
    });
    let mut drain = pin!(drain);
    let mut draining = false;
    let mut deadline: Option<Instant> = None;
    loop {
        tokio::select! {
            next = accept(conn, turns) => match next {
                Some(Ok((request, respond))) => dispatch(request, respond, turns, handler),
                // Both sides are closing: which one is first does not matter.
                Some(Err(_)) if draining => return Ok(()),
                Some(Err(e)) => return Err(e),
                None => return Ok(()),
            },
            window = windows.due() => windows.sent(conn.set_initial_window_size(window).is_ok()),
            why = &mut dead => {
                tracing::debug!(why, "closing an HBONE connection");
                return Ok(());
            }
            limit = &mut drain, if !draining => {
                draining = true;
                conn.graceful_shutdown();
                deadline = limit.map(|l| Instant::now() + l);
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => break,
        }
    }
    conn.abrupt_shutdown(Reason::NO_ERROR);
    let flushed = poll_fn(|cx| conn.poll_closed(cx));
    timeout(FLUSH, flushed).await.unwrap_or(Ok(()))
}

/// The next request; meanwhile everything of the connection is driven.
async fn accept<I>(conn: &mut Connection<I, Bytes>, turns: &Turns) -> Option<Accepted>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|cx| turns.turn(|| conn.poll_accept(cx))).await
}

fn dispatch(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    turns: &Arc<Turns>,
    handler: &dyn Handler,
) {
    let (head, recv) = request.into_parts();
    let bad = if head.method != Method::CONNECT {
        "the method is not CONNECT"
    } else {
        match head.uri.authority().map(|a| a.as_str().parse()) {
            Some(Ok(authority)) => {
                return handler.connect(ConnectRequest {
                    authority,
                    headers: head.headers,
                    respond,
                    recv,
                    turns: turns.clone(),
                });
            }
            Some(Err(())) => "the authority is not an address or name with a port",
            None => "there is no authority",
        }
    };
    answer_empty(&mut respond, StatusCode::BAD_REQUEST);
    handler.malformed(bad);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let socket = |s: &str| Ok(Authority::Socket(s.parse().unwrap()));
        assert_eq!("10.0.0.1:80".parse(), socket("10.0.0.1:80"));
        assert_eq!("[fd00::1]:80".parse(), socket("[fd00::1]:80"));
        assert_eq!(
            "Web.shop:80".parse(),
            Ok(Authority::Host("web.shop".into(), 80))
        );
        for bad in [
            "",
            ":80",
            "web",
            "web:",
            "web:99999",
            "fd00::1",
            "a b:1",
            "user@web:80",
            "[::1]",
            "10.0.0.1",
            "10.0.0.1:+80",
            "web:+80",
        ] {
            assert_eq!(bad.parse::<Authority>(), Err(()), "{bad}");
        }
    }
}
