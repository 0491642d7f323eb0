//! A connection: the owner sends, and takes events one by one. PING and SETTINGS are answered on the way.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PREFACE;
use super::frame::{Frame, flag, kind};
use super::settings::{FIRST_WINDOW, Settings};
use crate::error::WireError;
use crate::hpack::{self, Decoder, Fields};

const QUEUE: usize = 256;
const WRITE_LIMIT: Duration = Duration::from_secs(20);

/// A byte stream under HTTP/2.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// What came from the peer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)]
pub enum Event {
    Headers {
        stream: u32,
        fields: Fields,
        end: bool,
    },
    Data {
        stream: u32,
        bytes: Vec<u8>,
        end: bool,
    },
    Reset {
        stream: u32,
        code: u32,
    },
    GoAway {
        last: u32,
        code: u32,
        debug: String,
    },
    Settings,
    SettingsAck,
    /// The peer's PING; it was answered.
    Ping,
    Pong([u8; 8]),
    Credit,
}

/// One end of a connection.
pub struct Conn {
    writer: WriteHalf<Box<dyn Io>>,
    frames: mpsc::Receiver<Result<Frame, WireError>>,
    reader: JoinHandle<()>,
    decoder: Decoder,
    /// The peer's settings as far as they came.
    pub peer: Settings,
    window: i64,
    streams: HashMap<u32, i64>,
    block: Option<Frame>,
    next_stream: u32,
}

impl Conn {
    /// Sends the preface and SETTINGS.
    pub async fn client(io: impl Io, local: &Settings) -> Result<Self, WireError> {
        let mut first = PREFACE.to_vec();
        opening(local, true, &mut first);
        Self::start(io, local, 1, first).await
    }

    /// Reads the preface and sends SETTINGS.
    pub async fn server(io: impl Io, local: &Settings) -> Result<Self, WireError> {
        let mut io = io;
        let mut preface = [0; PREFACE.len()];
        io.read_exact(&mut preface).await?;
        if preface != *PREFACE {
            return Err(WireError::Protocol("another preface than HTTP/2's".into()));
        }
        let mut first = Vec::new();
        opening(local, false, &mut first);
        Self::start(io, local, 2, first).await
    }

    async fn start(
        io: impl Io,
        local: &Settings,
        next_stream: u32,
        first: Vec<u8>,
    ) -> Result<Self, WireError> {
        let io: Box<dyn Io> = Box::new(io);
        let (read, writer) = tokio::io::split(io);
        let (sender, frames) = mpsc::channel(QUEUE);
        let max = local.max_frame as usize;
        let reader = tokio::spawn(async move {
            let mut read = BufReader::with_capacity(64 << 10, read);
            loop {
                let frame = Frame::read(&mut read, max).await;
                let last = frame.is_err();
                if sender.send(frame).await.is_err() || last {
                    return;
                }
            }
        });
        let mut conn = Self {
            writer,
            frames,
            reader,
            decoder: Decoder::default(),
            peer: Settings::default(),
            window: i64::from(FIRST_WINDOW),
            streams: HashMap::new(),
            block: None,
            next_stream,
        };
        conn.raw(&first).await?;
        Ok(conn)
    }

    /// A new stream's identifier.
    pub fn open(&mut self) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.streams
            .insert(stream, i64::from(self.peer.stream_window));
        stream
    }

    /// Sends bytes as they are, behind every frame so far.
    pub async fn raw(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let write = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        match timeout(WRITE_LIMIT, write).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(WireError::TimedOut),
        }
    }

    /// Sends a frame.
    pub async fn frame(&mut self, frame: &Frame) -> Result<(), WireError> {
        self.raw(&frame.bytes()).await
    }

    /// Sends HEADERS in one frame.
    pub async fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        stream: u32,
        fields: &[(N, V)],
        end: bool,
    ) -> Result<(), WireError> {
        let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
        let frame = Frame::new(kind::HEADERS, flags, stream, hpack::encode(fields));
        self.frame(&frame).await
    }

    /// Sends as much as the windows allow and returns how much; `end` holds once everything was sent.
    pub async fn data(&mut self, stream: u32, bytes: &[u8], end: bool) -> Result<usize, WireError> {
        let Some(window) = self.streams.get(&stream).copied() else {
            return Err(WireError::Closed);
        };
        let open = window.min(self.window).max(0) as usize;
        let part = &bytes[..bytes.len().min(open).min(256 << 10)];
        let max = (self.peer.max_frame as usize).min(256 << 10);
        let mut out = Vec::with_capacity(part.len() + 64);
        for chunk in part.chunks(max) {
            Frame::new(kind::DATA, 0, stream, chunk).write(&mut out);
        }
        if end && part.len() == bytes.len() {
            Frame::new(kind::DATA, flag::END_STREAM, stream, []).write(&mut out);
        }
        if !out.is_empty() {
            self.raw(&out).await?;
        }
        self.window -= part.len() as i64;
        self.streams.insert(stream, window - part.len() as i64);
        Ok(part.len())
    }

    /// Sends all of it, taking events while the windows are shut; they are handed to `on`.
    pub async fn send_all(
        &mut self,
        stream: u32,
        mut bytes: &[u8],
        end: bool,
        limit: Duration,
        mut on: impl FnMut(Event),
    ) -> Result<(), WireError> {
        loop {
            let sent = self.data(stream, bytes, end).await?;
            bytes = &bytes[sent..];
            if bytes.is_empty() {
                return Ok(());
            }
            if sent == 0 {
                on(self.next(limit).await?);
            }
        }
    }

    /// Gives the peer back what was consumed, on the stream and on the connection.
    pub async fn credit(&mut self, stream: u32, bytes: usize) -> Result<(), WireError> {
        if bytes == 0 {
            return Ok(());
        }
        let mut out = Frame::credit(0, bytes as u32).bytes();
        if self.streams.contains_key(&stream) {
            Frame::credit(stream, bytes as u32).write(&mut out);
        }
        self.raw(&out).await
    }

    /// The next event within `limit`.
    pub async fn next(&mut self, limit: Duration) -> Result<Event, WireError> {
        let wait = async {
            loop {
                let frame = self.frames.recv().await.ok_or(WireError::Closed)??;
                if let Some(event) = self.take(frame).await? {
                    return Ok(event);
                }
            }
        };
        timeout(limit, wait)
            .await
            .unwrap_or(Err(WireError::TimedOut))
    }

    /// Closes the writing side in good order (TLS close_notify).
    pub async fn close(&mut self) {
        let _ = timeout(Duration::from_secs(1), self.writer.shutdown()).await;
    }

    async fn take(&mut self, frame: Frame) -> Result<Option<Event>, WireError> {
        let stream = frame.stream;
        if let Some(block) = &mut self.block {
            if frame.kind != kind::CONTINUATION || stream != block.stream {
                return Err(WireError::Protocol(
                    "a header block that was interrupted".into(),
                ));
            }
            block.payload.extend_from_slice(&frame.payload);
            return if frame.has(flag::END_HEADERS) {
                self.header_block()
            } else {
                Ok(None)
            };
        }
        match frame.kind {
            kind::DATA => Ok(Some(Event::Data {
                stream,
                end: frame.has(flag::END_STREAM),
                bytes: frame.content()?.to_vec(),
            })),
            kind::HEADERS => {
                let content = frame.content()?.to_vec();
                self.block = Some(Frame::new(frame.kind, frame.flags, stream, content));
                if frame.has(flag::END_HEADERS) {
                    self.header_block()
                } else {
                    Ok(None)
                }
            }
            kind::RST_STREAM => {
                self.streams.remove(&stream);
                Ok(Some(Event::Reset {
                    stream,
                    code: frame.number(0)?,
                }))
            }
            kind::SETTINGS => self.settings(&frame).await.map(Some),
            kind::PING => self.ping(frame).await.map(Some),
            kind::GOAWAY => Ok(Some(Event::GoAway {
                last: frame.number(0)?,
                code: frame.number(4)?,
                debug: String::from_utf8_lossy(&frame.payload[8..]).into_owned(),
            })),
            kind::WINDOW_UPDATE => self.window_update(&frame).map(Some),
            kind::CONTINUATION | kind::PUSH_PROMISE => Err(WireError::Protocol(format!(
                "frame type {} out of place",
                frame.kind
            ))),
            _ => Ok(None),
        }
    }

    fn header_block(&mut self) -> Result<Option<Event>, WireError> {
        let Some(block) = self.block.take() else {
            return Ok(None);
        };
        let fields = self.decoder.decode(&block.payload)?;
        let stream = block.stream;
        let window = i64::from(self.peer.stream_window);
        self.streams.entry(stream).or_insert(window);
        Ok(Some(Event::Headers {
            stream,
            fields,
            end: block.has(flag::END_STREAM),
        }))
    }

    async fn settings(&mut self, frame: &Frame) -> Result<Event, WireError> {
        if frame.has(flag::ACK) {
            return Ok(Event::SettingsAck);
        }
        let before = i64::from(self.peer.stream_window);
        self.peer.update(frame)?;
        let change = i64::from(self.peer.stream_window) - before;
        self.streams.values_mut().for_each(|w| *w += change);
        self.frame(&Frame::new(kind::SETTINGS, flag::ACK, 0, []))
            .await?;
        Ok(Event::Settings)
    }

    async fn ping(&mut self, frame: Frame) -> Result<Event, WireError> {
        let Ok(data) = <[u8; 8]>::try_from(&frame.payload[..]) else {
            return Err(WireError::Protocol("a PING that is not 8 bytes".into()));
        };
        if frame.has(flag::ACK) {
            return Ok(Event::Pong(data));
        }
        self.frame(&Frame::new(kind::PING, flag::ACK, 0, data))
            .await?;
        Ok(Event::Ping)
    }

    fn window_update(&mut self, frame: &Frame) -> Result<Event, WireError> {
        let bytes = i64::from(frame.number(0)?);
        if bytes == 0 {
            return Err(WireError::Protocol("a WINDOW_UPDATE of 0".into()));
        }
        if frame.stream == 0 {
            self.window += bytes;
        } else if let Some(window) = self.streams.get_mut(&frame.stream) {
            *window += bytes;
        }
        Ok(Event::Credit)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn opening(local: &Settings, client: bool, out: &mut Vec<u8>) {
    local.frame(client).write(out);
    let more = local.connection_window.saturating_sub(FIRST_WINDOW);
    if more > 0 {
        Frame::credit(0, more).write(out);
    }
}
