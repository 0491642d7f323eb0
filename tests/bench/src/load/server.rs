//! The server side on one thread: HTTP/1.1 answers of a size that the path names, and a sink that counts what it is sent.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::epoll::{Poller, Ready};
use super::http;

const LISTENER: u64 = u64::MAX;
/// First bytes of a connection whose other bytes are only counted.
pub const SINK: &[u8] = b"SINK\n";
/// Read from one sink before the others get their turn.
const SINK_TURN: usize = 1 << 20;
const MAX_HEAD: usize = 16 * 1024;

/// Serves until the process ends. Binds both families.
///
/// # Errors
/// The port cannot be bound or epoll fails; a failing connection is closed and forgotten.
pub fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([0u16; 8], port)))?;
    listener.set_nonblocking(true)?;
    run(&listener)
}

/// Serves connections of a non-blocking listener.
pub fn run(listener: &TcpListener) -> io::Result<()> {
    let mut poller = Poller::new()?;
    poller.add(listener, LISTENER)?;
    let mut connections = Connections::default();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let ready: Vec<Ready> = poller.wait(Duration::from_secs(60))?.collect();
        for event in ready {
            if event.token == LISTENER {
                accept(listener, &poller, &mut connections);
            } else {
                connections.turn(event, &poller, &mut buffer);
            }
        }
    }
}

fn accept(listener: &TcpListener, poller: &Poller, connections: &mut Connections) {
    // Out of descriptors or a client that left at once: the next readiness tries again.
    while let Ok((stream, _)) = listener.accept() {
        let token = connections.free_token();
        let prepared = stream
            .set_nonblocking(true)
            .and_then(|()| stream.set_nodelay(true));
        if prepared.and_then(|()| poller.add(&stream, token)).is_ok() {
            connections.put(token, Connection::new(stream));
        }
    }
}

#[derive(Default)]
struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<u64>,
}

impl Connections {
    fn free_token(&mut self) -> u64 {
        self.free.pop().unwrap_or(self.slots.len() as u64)
    }

    fn put(&mut self, token: u64, connection: Connection) {
        let index = token as usize;
        if index == self.slots.len() {
            self.slots.push(Some(connection));
        } else {
            self.slots[index] = Some(connection);
        }
    }

    fn turn(&mut self, event: Ready, poller: &Poller, buffer: &mut [u8]) {
        let Some(Some(connection)) = self.slots.get_mut(event.token as usize) else {
            return;
        };
        let alive = connection.turn(event, poller, buffer).unwrap_or(false);
        if !alive {
            self.slots[event.token as usize] = None;
            self.free.push(event.token);
        }
    }
}

enum Protocol {
    Unknown,
    Http,
    Sink(u64),
}

struct Connection {
    stream: TcpStream,
    protocol: Protocol,
    input: Vec<u8>,
    output: Vec<u8>,
    close_after_output: bool,
    waits_for_room: bool,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            protocol: Protocol::Unknown,
            input: Vec::new(),
            output: Vec::new(),
            close_after_output: false,
            waits_for_room: false,
        }
    }

    /// False where the connection is done.
    fn turn(&mut self, event: Ready, poller: &Poller, buffer: &mut [u8]) -> io::Result<bool> {
        if event.readable && !self.close_after_output && !self.read(buffer)? {
            return Ok(false);
        }
        self.flush(event.token, poller)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let mut taken = 0;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(self.end_of_input()),
                Ok(n) => {
                    taken += n;
                    self.take(&buffer[..n])?;
                    // A short read has emptied the socket: asking once more would only cost a system call.
                    if n < buffer.len() || taken >= SINK_TURN {
                        return Ok(true);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn end_of_input(&mut self) -> bool {
        if let Protocol::Sink(count) = self.protocol {
            self.output.extend(count.to_be_bytes());
            self.close_after_output = true;
            return true;
        }
        false
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Protocol::Sink(count) = &mut self.protocol {
            *count += bytes.len() as u64;
            return Ok(());
        }
        self.input.extend_from_slice(bytes);
        if matches!(self.protocol, Protocol::Unknown) && self.input.len() >= SINK.len() {
            if self.input.starts_with(SINK) {
                self.protocol = Protocol::Sink((self.input.len() - SINK.len()) as u64);
                self.input = Vec::new();
                return Ok(());
            }
            self.protocol = Protocol::Http;
        }
        self.answer()
    }

    fn answer(&mut self) -> io::Result<()> {
        let mut used = 0;
        while let Some(request) = http::request(&self.input[used..]) {
            used += request.length;
            http::respond(&mut self.output, request.size, request.close);
            self.close_after_output |= request.close;
        }
        self.input.drain(..used);
        if self.input.is_empty() {
            // Ten thousand idle connections keep no buffers.
            self.input = Vec::new();
        }
        if self.input.len() > MAX_HEAD {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "a request head without an end",
            ));
        }
        Ok(())
    }

    fn flush(&mut self, token: u64, poller: &Poller) -> io::Result<bool> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let waits = !self.output.is_empty();
        if waits != self.waits_for_room {
            poller.modify(&self.stream, token, waits)?;
            self.waits_for_room = waits;
        }
        if !waits && self.output.capacity() > 64 * 1024 {
            self.output = Vec::new();
        }
        Ok(waits || !self.close_after_output)
    }
}
