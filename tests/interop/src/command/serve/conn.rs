//! One connection of the server: every stream echoes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Map, json};

use super::Shared;
use crate::error::WireError;
use crate::h2::conn::Io;
use crate::h2::{Conn, Event, Frame, Settings, error_name, kind};
use crate::hbone::{field, request_faults};
use crate::hpack::Fields;
use crate::report;

const DRAIN: [u8; 8] = *b"draining";
const TICK: Duration = Duration::from_millis(100);
const PING_LIMIT: Duration = Duration::from_secs(20);
const BAGGAGE: &str = "k8s.cluster.name=Kubernetes,k8s.namespace.name=interop,k8s.pod.name=server,\
                       service.name=server,service.version=v1";

#[derive(Default)]
struct Stream {
    queue: VecDeque<Vec<u8>>,
    echoed: u64,
    peer_ended: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Goaway {
    No,
    /// Announced; the PING behind it has not come back.
    Announced,
    /// Later streams are not taken.
    Final,
}

struct Server<'a> {
    conn: Conn,
    shared: &'a Shared,
    streams: BTreeMap<u32, Stream>,
    accepted: usize,
    last: u32,
    goaway: Goaway,
    first: bool,
    ping: Option<Instant>,
    pinged: Option<Instant>,
}

/// Serves until the peer closes, or the last stream after our GOAWAY ended.
pub(super) async fn serve(io: impl Io, shared: &Shared) -> Result<(), WireError> {
    let settings = Settings {
        max_streams: Some(shared.options.max_streams),
        ..Settings::stock()
    };
    let conn = Conn::server(io, &settings).await?;
    let mut server = Server {
        conn,
        shared,
        streams: BTreeMap::new(),
        accepted: 0,
        last: 0,
        goaway: Goaway::No,
        first: shared.accepted.fetch_add(1, Ordering::SeqCst) == 0,
        ping: None,
        pinged: None,
    };
    server.run().await
}

impl Server<'_> {
    async fn run(&mut self) -> Result<(), WireError> {
        loop {
            let moved = self.echo().await?;
            if self.goaway == Goaway::Final && self.streams.is_empty() {
                self.conn.close().await;
                return Ok(());
            }
            self.keep_alive().await?;
            let wait = if moved {
                Duration::from_millis(1)
            } else {
                TICK
            };
            match self.conn.next(wait).await {
                Ok(event) => self.take(event).await?,
                Err(WireError::TimedOut) => {}
                Err(WireError::Closed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn keep_alive(&mut self) -> Result<(), WireError> {
        let Some(every) = self.shared.options.ping.map(Duration::from_secs_f64) else {
            return Ok(());
        };
        if self.pinged.is_some_and(|at| at.elapsed() > PING_LIMIT) {
            return Err(WireError::TimedOut);
        }
        if self.pinged.is_none() && self.ping.is_none_or(|at| at.elapsed() > every) {
            self.conn
                .frame(&Frame::new(kind::PING, 0, 0, *b"tunnel??"))
                .await?;
            (self.ping, self.pinged) = (Some(Instant::now()), Some(Instant::now()));
        }
        Ok(())
    }

    async fn take(&mut self, event: Event) -> Result<(), WireError> {
        match event {
            Event::Headers {
                stream,
                fields,
                end,
            } => self.request(stream, &fields, end).await?,
            Event::Data { stream, bytes, end } => match self.streams.get_mut(&stream) {
                Some(state) => {
                    state.peer_ended |= end;
                    if !bytes.is_empty() {
                        state.queue.push_back(bytes);
                    }
                }
                None => self.conn.credit(stream, bytes.len()).await?,
            },
            Event::Reset { stream, code } => {
                let echoed = self.streams.remove(&stream).map_or(0, |s| s.echoed);
                report::line(
                    &json!({"event": "stream", "stream": stream, "bytes": echoed,
                    "end": format!("rst:{}", error_name(code))}),
                );
            }
            Event::GoAway { code, debug, .. } => {
                report::line(&json!({"event": "goaway", "code": error_name(code), "debug": debug}));
            }
            Event::Pong(data) if data == DRAIN => self.goaway(self.last, Goaway::Final).await?,
            Event::Pong(_) => {
                let ms = self.pinged.take().map(|at| at.elapsed().as_millis());
                report::line(&json!({"event": "pong", "ms": ms}));
            }
            Event::Ping | Event::Settings | Event::SettingsAck | Event::Credit => {}
        }
        Ok(())
    }

    async fn request(&mut self, stream: u32, fields: &Fields, end: bool) -> Result<(), WireError> {
        if self.goaway == Goaway::Final && stream > self.last {
            report::line(&json!({"event": "unprocessed", "stream": stream}));
            return Ok(());
        }
        self.last = self.last.max(stream);
        self.accepted += 1;
        self.shared.requests.fetch_add(1, Ordering::SeqCst);
        let options = &self.shared.options;
        let faults = if options.lax {
            Vec::new()
        } else {
            request_faults(fields)
        };
        if !faults.is_empty() {
            self.shared.faults.store(true, Ordering::SeqCst);
        }
        let shown: Map<String, _> = fields.iter().map(|(n, v)| (n.clone(), json!(v))).collect();
        report::line(&json!({"event": "request", "stream": stream,
            "authority": field(fields, ":authority"), "fields": shown, "faults": faults}));
        let status = if faults.is_empty() {
            options.status
        } else {
            400
        }
        .to_string();
        let answer = [(":status", status.as_str()), ("baggage", BAGGAGE)];
        let refused = status != "200";
        self.conn.headers(stream, &answer, refused).await?;
        if !refused {
            self.streams.insert(
                stream,
                Stream {
                    peer_ended: end,
                    ..Stream::default()
                },
            );
        }
        let enough = options.goaway_after.is_some_and(|n| self.accepted >= n);
        if enough && self.goaway == Goaway::No {
            if options.goaway_abrupt && self.first {
                self.goaway(self.last, Goaway::Final).await?;
            } else if !options.goaway_abrupt {
                self.goaway(i32::MAX as u32, Goaway::Announced).await?;
                self.conn
                    .frame(&Frame::new(kind::PING, 0, 0, DRAIN))
                    .await?;
            }
        }
        Ok(())
    }

    async fn goaway(&mut self, last: u32, state: Goaway) -> Result<(), WireError> {
        self.goaway = state;
        let payload = [last.to_be_bytes(), 0_u32.to_be_bytes()].concat();
        self.conn
            .frame(&Frame::new(kind::GOAWAY, 0, 0, payload))
            .await
    }

    /// Sends back what may be sent; credit is given only for what went out.
    async fn echo(&mut self) -> Result<bool, WireError> {
        let mut moved = false;
        let mut ended = Vec::new();
        for (id, stream) in &mut self.streams {
            while let Some(bytes) = stream.queue.front_mut() {
                let sent = self.conn.data(*id, bytes, false).await?;
                if sent == 0 {
                    break;
                }
                moved = true;
                stream.echoed += sent as u64;
                self.conn.credit(*id, sent).await?;
                bytes.drain(..sent);
                if bytes.is_empty() {
                    stream.queue.pop_front();
                }
            }
            if stream.queue.is_empty() && stream.peer_ended {
                self.conn.data(*id, &[], true).await?;
                ended.push((*id, stream.echoed));
            }
        }
        for (id, bytes) in ended {
            self.streams.remove(&id);
            report::line(
                &json!({"event": "stream", "stream": id, "bytes": bytes, "end": "end_stream"}),
            );
        }
        Ok(moved)
    }
}
