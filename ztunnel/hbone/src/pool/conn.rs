//! One pooled HTTP/2 connection: its task, its count of streams, its end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::SendStream;
use h2::client::{Connection, SendRequest};
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, interval, sleep};
use warren_core::Identity;

use crate::error::{HandshakeError, OpenError};
use crate::headers::EARLY_DATA;
use crate::keepalive::until_dead;
use crate::room::Windows;
use crate::tls::{Accepted, Encrypted};
use crate::tunnel::Place;
use crate::turns::Turns;
use crate::{Limits, SMALL_FRAME_BUDGET};

pub(super) struct Conn {
    pub(super) peer: Identity,
    not_after: SystemTime,
    /// None once the connection takes no new streams; it then ends by itself with its last stream.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    streams: AtomicUsize,
    /// The peer has said that it takes bytes with a request.
    early_data: AtomicBool,
    idle_since: Mutex<Instant>,
    /// Why the connection ended, once it has.
    end: Mutex<Option<String>>,
    farewells: Farewells,
    pub(super) turns: Arc<Turns>,
}

/// Streams that only their end is missing of. It travels with the next bytes of the connection, or a little later: alone it
/// would cost both sides as much as a request.
struct Farewells {
    /// None once the connection has ended.
    waiting: Mutex<Option<Vec<Leaving>>>,
    due: Notify,
}

type Leaving = (SendStream<Bytes>, Seat);

/// How long the end of a stream waits for company.
const PATIENCE: Duration = Duration::from_millis(1);

impl Farewells {
    fn say(&self) {
        let streams = self.waiting.lock().as_mut().map(std::mem::take);
        for (mut stream, _seat) in streams.into_iter().flatten() {
            // Fails only where the connection is gone, and the stream with it.
            let _ = stream.send_data(Bytes::new(), true);
        }
    }
}

/// A place among the streams of a connection.
pub(super) struct Lease {
    seat: Seat,
    sender: SendRequest<Bytes>,
}

/// Counts as one stream until dropped.
pub(super) struct Seat(Arc<Conn>);

impl Place for Seat {
    fn farewell(self: Box<Self>, stream: SendStream<Bytes>) {
        let conn = self.0.clone();
        let first = match &mut *conn.farewells.waiting.lock() {
            Some(waiting) => {
                waiting.push((stream, *self));
                waiting.len() == 1
            }
            None => false,
        };
        if first {
            tokio::spawn(async move {
                sleep(PATIENCE).await;
                conn.farewells.due.notify_one();
            });
        }
    }
}

impl Lease {
    pub(super) fn conn(&self) -> &Arc<Conn> {
        &self.seat.0
    }

    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// The seat without the sender, so that the connection can end while the stream lives.
    pub(super) fn into_seat(self) -> Seat {
        self.seat
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.0.idle_since.lock() = Instant::now();
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Conn {
    /// The HTTP/2 handshake. The future drives the connection and ends with it.
    pub(super) async fn new<I>(
        accepted: Accepted<Encrypted<I>>,
        limits: &Arc<Limits>,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + use<I>), HandshakeError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let flush = accepted.stream.flush_handle();
        let windows = Windows::new(limits);
        let (sender, conn) = builder(limits, windows.told())
            .handshake(accepted.stream)
            .await
            .map_err(|e| HandshakeError::Http2(e.to_string()))?;
        let this = Arc::new(Self {
            peer: accepted.peer,
            not_after: accepted.not_after,
            sender: Mutex::new(Some(sender)),
            streams: AtomicUsize::new(0),
            early_data: AtomicBool::new(false),
            idle_since: Mutex::new(Instant::now()),
            end: Mutex::new(None),
            farewells: Farewells {
                waiting: Mutex::new(Some(Vec::new())),
                due: Notify::new(),
            },
            turns: Arc::default(),
        });
        let driver = flush.after_each_turn(drive(conn, this.clone(), limits.clone(), windows));
        Ok((this, driver))
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Acquire)
    }

    /// Whether new streams are welcome: the connection is not ending, and neither side's certificate has expired meanwhile.
    pub(super) fn is_open(&self) -> bool {
        self.sender.lock().is_some() && SystemTime::now() < self.not_after
    }

    /// Whether bytes may go with a request.
    pub(super) fn takes_early_data(&self) -> bool {
        self.early_data.load(Ordering::Relaxed)
    }

    /// Learns from an answer what the peer takes.
    pub(super) fn learn(&self, answer: &HeaderMap) {
        if answer.contains_key(EARLY_DATA) {
            self.early_data.store(true, Ordering::Relaxed);
        }
    }

    /// Takes no new streams from now on.
    pub(super) fn retire(&self) {
        self.sender.lock().take();
    }

    /// Takes a place, if there is one under both our limit and the peer's.
    pub(super) fn lease(self: &Arc<Self>, limit: usize) -> Option<Lease> {
        let sender = self.sender.lock().clone()?;
        let limit = limit.min(sender.current_max_send_streams());
        self.streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < limit).then_some(n + 1)
            })
            .ok()
            .map(|_| Lease {
                seat: Seat(self.clone()),
                sender,
            })
    }

    /// A TLS 1.3 server refuses a client's certificate only after the client's handshake is done, so the alert comes as the
    /// end of the connection. h2 keeps no more of it than its text.
    pub(super) fn explain(&self, e: h2::Error) -> OpenError {
        if !e.is_reset() {
            self.retire();
        }
        let text = self.end.lock().clone().unwrap_or_else(|| e.to_string());
        match text.split_once("received fatal alert: ") {
            Some((_, alert)) => HandshakeError::Alert(alert.to_owned()).into(),
            None => OpenError::Broken(text),
        }
    }
}

fn builder(limits: &Limits, stream_window: u32) -> h2::client::Builder {
    let mut b = h2::client::Builder::new();
    b.initial_window_size(stream_window)
        .initial_connection_window_size(limits.connection_window(limits.streams_per_connection))
        .max_frame_size(limits.frame)
        .max_header_list_size(limits.header_list)
        .max_send_buffer_size(limits.send_buffer)
        .initial_max_send_streams(limits.streams_per_connection)
        .data_frame_budget(SMALL_FRAME_BUDGET)
        .enable_push(false);
    b
}

async fn drive<I>(
    mut conn: Connection<Encrypted<I>, Bytes>,
    this: Arc<Conn>,
    limits: Arc<Limits>,
    mut windows: Windows,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _last = this.turns.last();
    let pings = conn.ping_pong();
    let dead = async {
        match pings {
            Some(pings) => until_dead(pings, limits.ping_interval, limits.ping_timeout).await,
            None => std::future::pending().await,
        }
    };
    let retire_when_idle = async {
        until_idle(&this, limits.idle).await;
        this.retire();
        // Without senders and streams the connection says GOAWAY and ends.
        std::future::pending::<()>().await;
    };
    let farewells_due = async {
        loop {
            // To wake this task is all that it takes.
            this.farewells.due.notified().await;
        }
    };
    let turns = async {
        loop {
            let turn = poll_fn(|cx| {
                this.turns.turn(|| {
                    this.farewells.say();
                    Pin::new(&mut conn).poll(cx)
                })
            });
            tokio::select! {
                end = turn => return end,
                window = windows.due() => windows.sent(conn.set_initial_window_size(window).is_ok()),
            }
        }
    };
    let why = tokio::select! {
        end = turns => end.map_or_else(|e| e.to_string(), |()| "the connection was closed".to_owned()),
        why = dead => why.to_owned(),
        () = retire_when_idle => String::new(),
        () = farewells_due => String::new(),
    };
    *this.end.lock() = Some(why);
    drop(this.farewells.waiting.lock().take());
    this.retire();
}

async fn until_idle(this: &Conn, limit: Duration) {
    let mut tick = interval((limit / 8).max(Duration::from_millis(10)));
    loop {
        tick.tick().await;
        if this.streams() == 0 && this.idle_since.lock().elapsed() >= limit {
            return;
        }
    }
}
