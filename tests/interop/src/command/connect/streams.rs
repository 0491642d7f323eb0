//! The streams of one connection, all in one loop.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, json};

use super::{Mode, Options};
use crate::error::WireError;
use crate::h2::{Conn, Event, Frame, error_name};
use crate::hbone::{Head, field, pattern};
use crate::hpack::Fields;
use crate::report;

const CHUNK: u64 = 64 << 10;
const TEXT: usize = 4096;
const CANCEL: u32 = 8;

#[derive(Default)]
struct Stream {
    status: Option<u16>,
    sent: u64,
    received: u64,
    mismatch: bool,
    text: Vec<u8>,
    /// Our END_STREAM is out.
    closed: bool,
    end: Option<String>,
}

struct Run<'a> {
    conn: Conn,
    options: &'a Options,
    streams: BTreeMap<u32, Stream>,
    goaway: Option<String>,
    ponged: bool,
    pings: u64,
    hold: Option<Instant>,
}

/// Runs every stream to its end; the outcome in one word.
pub(super) async fn run(
    conn: Conn,
    options: &Options,
    head: &Head,
    limit: Duration,
) -> Result<String, WireError> {
    let mut run = Run {
        conn,
        options,
        streams: BTreeMap::new(),
        goaway: None,
        ponged: !options.ping,
        pings: 0,
        hold: None,
    };
    if options.ping {
        run.conn
            .frame(&Frame::new(crate::h2::kind::PING, 0, 0, *b"interop!"))
            .await?;
    }
    for _ in 0..options.streams {
        let id = run.conn.open();
        run.conn.headers(id, &head.all(), false).await?;
        run.streams.insert(id, Stream::default());
    }
    let result = run.turn(limit).await;
    run.told();
    match result {
        // A reset or GOAWAY says more than the close that follows it.
        Err(error) if error.is_end() => Ok(run.fault().unwrap_or_else(|| error.outcome())),
        Err(error) => Err(error),
        Ok(()) => {
            let outcome = run.outcome();
            run.conn.close().await;
            Ok(outcome)
        }
    }
}

impl Run<'_> {
    async fn turn(&mut self, limit: Duration) -> Result<(), WireError> {
        let mut deadline = Instant::now() + limit;
        while !self.finished() {
            let moved = self.push().await?;
            let holding = self.hold.filter(|until| Instant::now() < *until);
            let until = match holding {
                _ if moved => Instant::now(),
                Some(until) => until,
                None => deadline,
            };
            let wait = until.saturating_duration_since(Instant::now());
            match self.conn.next(wait.max(Duration::from_millis(1))).await {
                Ok(event) => {
                    deadline = Instant::now() + limit;
                    self.take(event).await?;
                }
                Err(WireError::TimedOut) if moved || holding.is_some() => {
                    deadline = Instant::now() + limit;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn finished(&self) -> bool {
        self.ponged && self.streams.values().all(|s| s.end.is_some())
    }

    /// Sends what may be sent; whether anything moved.
    async fn push(&mut self) -> Result<bool, WireError> {
        let mut moved = false;
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            let Some(stream) = self.streams.get(&id) else {
                continue;
            };
            if stream.status != Some(200) || stream.closed || stream.end.is_some() {
                continue;
            }
            moved |= match self.options.mode {
                Mode::Echo => self.push_pattern(id).await?,
                Mode::Read => {
                    let text = self.options.text.clone();
                    self.conn
                        .send_all(id, text.as_bytes(), true, Duration::from_secs(5), drop)
                        .await?;
                    self.close(id)
                }
                Mode::Ask => {
                    self.conn.frame(&Frame::reset(id, CANCEL)).await?;
                    self.end(id, "asked");
                    self.close(id)
                }
            };
        }
        Ok(moved)
    }

    async fn push_pattern(&mut self, id: u32) -> Result<bool, WireError> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(false);
        };
        let total = self.options.bytes;
        let next = (stream.sent + CHUNK).min(total);
        if stream.sent < total {
            let bytes: Vec<u8> = (stream.sent..next).map(|at| pattern(id, at)).collect();
            let sent = self.conn.data(id, &bytes, false).await?;
            stream.sent += sent as u64;
            return Ok(sent > 0);
        }
        if stream.received < total || !self.held() {
            return Ok(false);
        }
        self.conn.data(id, &[], true).await?;
        Ok(self.close(id))
    }

    /// Whether the time after the echo has passed; it begins once every stream has its bytes back.
    fn held(&mut self) -> bool {
        let total = self.options.bytes;
        if self
            .streams
            .values()
            .any(|s| s.end.is_none() && s.received < total)
        {
            return false;
        }
        let hold = Duration::from_secs_f64(self.options.hold);
        let until = *self.hold.get_or_insert_with(|| Instant::now() + hold);
        Instant::now() >= until
    }

    fn close(&mut self, id: u32) -> bool {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.closed = true;
        }
        true
    }

    fn end(&mut self, id: u32, how: &str) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.end.get_or_insert_with(|| how.to_owned());
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), WireError> {
        match event {
            Event::Headers {
                stream,
                fields,
                end,
            } => self.headers(stream, &fields, end),
            Event::Data { stream, bytes, end } => {
                self.conn.credit(stream, bytes.len()).await?;
                self.bytes(stream, &bytes);
                if end {
                    self.end(stream, "end_stream");
                }
            }
            Event::Reset { stream, code } => self.end(stream, &format!("rst:{}", error_name(code))),
            Event::GoAway { last, code, debug } => {
                report::line(&json!({"event": "goaway", "last_stream": last,
                    "code": error_name(code), "debug": debug}));
                if code != 0 {
                    self.goaway = Some(format!("goaway:{}", error_name(code)));
                }
                self.streams.range_mut(last + 1..).for_each(|(_, s)| {
                    s.end.get_or_insert_with(|| "goaway:not processed".into());
                });
            }
            Event::Pong(data) => self.ponged |= data == *b"interop!",
            Event::Ping => self.pings += 1,
            Event::Settings | Event::SettingsAck | Event::Credit => {}
        }
        Ok(())
    }

    fn headers(&mut self, id: u32, fields: &Fields, end: bool) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let status = field(fields, ":status").and_then(|s| s.parse().ok());
        let shown: Map<String, _> = fields.iter().map(|(n, v)| (n.clone(), json!(v))).collect();
        report::line(
            &json!({"event": "response", "stream": id, "status": status, "fields": shown}),
        );
        stream.status = stream.status.or(status);
        if end || stream.status != Some(200) {
            self.end(id, if end { "end_stream" } else { "refused" });
        }
    }

    fn bytes(&mut self, id: u32, bytes: &[u8]) {
        let echo = self.options.mode == Mode::Echo;
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if echo {
            let from = stream.received;
            stream.mismatch |= (from..).zip(bytes).any(|(at, b)| pattern(id, at) != *b);
        } else {
            stream
                .text
                .extend(bytes.iter().take(TEXT.saturating_sub(stream.text.len())));
        }
        stream.received += bytes.len() as u64;
    }

    fn told(&self) {
        for (id, stream) in &self.streams {
            report::line(&json!({
                "event": "stream",
                "stream": id,
                "status": stream.status,
                "sent": stream.sent,
                "received": stream.received,
                "text": String::from_utf8_lossy(&stream.text),
                "end": stream.end,
            }));
        }
        if self.pings > 0 {
            report::line(&json!({"event": "pings", "answered": self.pings}));
        }
    }

    /// The first thing that went wrong, if any did.
    fn fault(&self) -> Option<String> {
        let mut streams = self.streams.values();
        streams
            .find_map(|s| match (s.status, s.end.as_deref()) {
                (Some(status), _) if status != 200 => Some(format!("status:{status}")),
                (_, Some(end)) if end.starts_with("rst:") => Some(end.to_owned()),
                (_, Some(end)) if end.starts_with("goaway:") => Some(end.to_owned()),
                _ => None,
            })
            .or_else(|| self.goaway.clone())
    }

    fn outcome(&self) -> String {
        if let Some(fault) = self.fault() {
            return fault;
        }
        let short = |s: &Stream| s.mismatch || s.received != self.options.bytes;
        if self.options.mode == Mode::Echo && self.streams.values().any(short) {
            return "mismatch".into();
        }
        "ok".into()
    }
}
