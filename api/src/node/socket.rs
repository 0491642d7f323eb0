//! An asynchronous end of the node socket.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::{Error, MAX_FDS, MAX_PACKET, packet};

/// How long a peer may leave a full queue.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// One end: sends `S`, receives `R`. Both directions may be used from several tasks at once.
#[derive(Debug)]
pub struct Socket<S, R> {
    fd: AsyncFd<OwnedFd>,
    messages: PhantomData<fn(S) -> R>,
}

impl<S: Serialize, R: DeserializeOwned> Socket<S, R> {
    /// Takes a connected, non-blocking `SOCK_SEQPACKET` socket. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// The descriptor cannot be polled.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            fd: packet::register(fd)?,
            messages: PhantomData,
        })
    }

    /// Two connected ends.
    ///
    /// # Errors
    /// No socket could be made.
    pub fn pair() -> io::Result<(Self, Socket<R, S>)>
    where
        S: DeserializeOwned,
        R: Serialize,
    {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Self::new(a)?, Socket::new(b)?))
    }

    /// Sends one message with duplicates of `fds`. Nothing was sent where the future is dropped before it is ready.
    ///
    /// # Errors
    /// The message or `fds` exceed the limits, the peer is gone, or it took no packet for 10 s.
    pub async fn send(&self, message: &S, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let data = serde_json::to_vec(message)?;
        if data.len() > MAX_PACKET {
            return Err(Error::TooLong);
        }
        if fds.len() > MAX_FDS {
            return Err(Error::TooManyFds);
        }
        let sent = self.fd.async_io(Interest::WRITABLE, |fd| {
            packet::send(fd.as_fd(), &data, fds)
        });
        timeout(SEND_LIMIT, sent)
            .await
            .map_err(|_| Error::Stalled(SEND_LIMIT))??;
        Ok(())
    }

    /// Receives one message and its descriptors; None once the peer is gone. No message is lost where the future is
    /// dropped. An error of kind [`Error::Malformed`], [`Error::TooLong`] or [`Error::TooManyFds`] concerns one packet:
    /// the next one can still be received.
    ///
    /// # Errors
    /// The packet is no message of type `R` or exceeds the limits, or the socket failed.
    pub async fn recv(&self) -> Result<Option<(R, Vec<OwnedFd>)>, Error> {
        let mut buffer = Box::new([0; MAX_PACKET]);
        let received = self.fd.async_io(Interest::READABLE, |fd| {
            packet::receive(fd.as_fd(), &mut buffer)
        });
        let (length, fds) = match received.await {
            Ok(packet) => packet?,
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        if length == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&buffer[..length])?, fds)))
    }
}

impl<S, R> AsFd for Socket<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}
