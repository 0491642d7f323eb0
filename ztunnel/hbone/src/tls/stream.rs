//! TLS records over a socket, beneath HTTP/2. What is written is encrypted at once. With a [`Flush`] it leaves after each turn
//! of the connection's task: frames of many streams, or the last bytes and the end of one, then share a system call.

use std::future::{Future, poll_fn};
use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are encrypted before they are written: one system call for as many records.
const UNSENT: usize = 256 << 10;

/// The encrypted stream of an established connection.
pub struct TlsStream<I>(Arc<Mutex<Records<I>>>);

/// Sends what [`TlsStream`] holds back.
pub struct Flush<I>(Arc<Mutex<Records<I>>>);

struct Records<I> {
    io: I,
    tls: Connection,
    /// [`Flush`] sends, not `poll_flush`.
    deferred: bool,
    /// Why nothing can be sent any more. The next write tells it.
    broken: Option<ErrorKind>,
}

impl<I> TlsStream<I> {
    /// Takes over after the handshake.
    pub(super) fn new(io: I, mut tls: Connection) -> Self {
        tls.set_buffer_limit(Some(UNSENT));
        Self(Arc::new(Mutex::new(Records {
            io,
            tls,
            deferred: false,
            broken: None,
        })))
    }

    /// The handle that sends from now on, in place of `poll_flush`.
    pub(crate) fn flush_handle(&self) -> Flush<I> {
        self.0.lock().deferred = true;
        Flush(self.0.clone())
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Flush<I> {
    /// Runs a future that uses the stream, and sends what each of its turns wrote.
    pub(crate) async fn after_each_turn<F: Future>(self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let turn = future.as_mut().poll(cx);
            self.send(cx);
            turn
        })
        .await
    }

    /// A socket that takes no more wakes the task by itself; one that broke is told to whoever writes next, which is now.
    fn send(&self, cx: &mut Context<'_>) {
        let mut records = self.0.lock();
        if let Poll::Ready(Err(e)) = records.poll_send(cx)
            && records.broken.replace(e.kind()).is_none()
        {
            cx.waker().wake_by_ref();
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Records<I> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut io = Blocking {
                io: &mut self.io,
                cx,
            };
            if ready!(pending(self.tls.write_tls(&mut io)))? == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes from the socket until there is plaintext, or the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut reader = self.tls.reader();
            match reader.fill_buf() {
                Ok(data) => {
                    let n = data.len().min(out.remaining());
                    out.put_slice(&data[..n]);
                    reader.consume(n);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
            let mut io = Blocking {
                io: &mut self.io,
                cx,
            };
            ready!(pending(self.tls.read_tls(&mut io)))?;
            if let Err(e) = self.tls.process_new_packets() {
                // The alert that says why; best effort.
                let _ = self.poll_send(cx);
                return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, e)));
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.broken {
            return Poll::Ready(Err(kind.into()));
        }
        loop {
            let n = self.tls.writer().write_vectored(data)?;
            if n > 0 || data.iter().all(|d| d.is_empty()) {
                return Poll::Ready(Ok(n));
            }
            ready!(self.poll_send(cx))?;
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tls.send_close_notify();
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.lock().poll_read(cx, out)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut records = self.0.lock();
        match records.broken {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None if records.deferred => Poll::Ready(Ok(())),
            None => records.poll_send(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_shutdown(cx)
    }
}

/// The socket as rustls wants it: what is pending would block.
struct Blocking<'a, 'b, I> {
    io: &'a mut I,
    cx: &'a mut Context<'b>,
}

fn pending(r: io::Result<usize>) -> Poll<io::Result<usize>> {
    match r {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Poll::Pending,
        other => Poll::Ready(other),
    }
}

fn blocking<T>(p: Poll<io::Result<T>>) -> io::Result<T> {
    match p {
        Poll::Ready(r) => r,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

impl<I: AsyncRead + Unpin> Read for Blocking<'_, '_, I> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        blocking(Pin::new(&mut *self.io).poll_read(self.cx, &mut buf))?;
        Ok(buf.filled().len())
    }
}

impl<I: AsyncWrite + Unpin> Write for Blocking<'_, '_, I> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.io).poll_write(self.cx, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.io).poll_write_vectored(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
