//! Keep-alive connections of one thread, and what waits on each.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::epoll::Poller;
use super::http;

/// Longest wait for a connection.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// A keep-alive connection; answers come in the order of requests.
#[derive(Debug)]
pub struct KeepAlive {
    stream: TcpStream,
    input: Vec<u8>,
}

impl KeepAlive {
    /// Connects `count` times and watches each under its index.
    ///
    /// # Errors
    /// A connection failed.
    pub fn open_many(target: SocketAddr, count: usize, poller: &Poller) -> io::Result<Vec<Self>> {
        let open = |token| {
            let stream = connect(target)?;
            stream.set_nonblocking(true)?;
            poller.add(&stream, token as u64)?;
            Ok(Self {
                stream,
                input: Vec::new(),
            })
        };
        (0..count).map(open).collect()
    }

    /// Sends a request whole.
    ///
    /// # Errors
    /// The connection failed, or the peer has let its queue fill up, which small requests never do.
    pub fn send(&mut self, request: &[u8]) -> io::Result<()> {
        match self.stream.write(request)? {
            n if n == request.len() => Ok(()),
            _ => Err(ErrorKind::WriteZero.into()),
        }
    }

    /// Reads what is there; returns how many answers were completed.
    ///
    /// # Errors
    /// The connection failed or was closed.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                // The usual case, one whole answer in one read, needs no copy.
                if self.input.is_empty() && http::response_length(&buffer[..n]) == Some(n) {
                    return Ok(1);
                }
                self.input.extend_from_slice(&buffer[..n]);
                Ok(self.completed())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(e) => Err(e),
        }
    }

    fn completed(&mut self) -> usize {
        let (mut answers, mut used) = (0, 0);
        while let Some(length) = http::response_length(&self.input[used..]) {
            if used + length > self.input.len() {
                break;
            }
            used += length;
            answers += 1;
        }
        self.input.drain(..used);
        answers
    }
}

/// A blocking connection without delays.
///
/// # Errors
/// No connection within 15 s.
pub fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, CONNECT_LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(CONNECT_LIMIT))?;
    stream.set_write_timeout(Some(CONNECT_LIMIT))?;
    Ok(stream)
}

/// Sends one request and reads its answer to the end.
///
/// # Errors
/// The connection failed or was closed early.
pub fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    stream.write_all(request)?;
    let mut filled = 0;
    loop {
        if http::response_length(&buffer[..filled]).is_some_and(|length| filled >= length) {
            return Ok(());
        }
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
    }
}

/// From `deadline` back to now, zero where it has passed.
pub fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
