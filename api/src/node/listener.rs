//! Making and reaching the node socket.
#![allow(unsafe_code)]

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Error, Socket, packet};

const BACKLOG: i32 = 16;
const CONNECT_ATTEMPTS: u32 = 50;
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// The agent's listening node socket.
#[derive(Debug)]
pub struct Listener {
    fd: AsyncFd<OwnedFd>,
}

impl Listener {
    /// Binds `path`, replacing a socket left there by an earlier process; mode 0600.
    ///
    /// # Errors
    /// `path` is no socket, or cannot be bound.
    pub fn bind(path: &Path) -> Result<Self, Error> {
        let at = |source| Error::Path {
            path: path.display().to_string(),
            source,
        };
        remove_stale(path).map_err(at)?;
        let fd = new_socket().map_err(at)?;
        let address = UnixAddr::new(path).map_err(|e| at(e.into()))?;
        socket::bind(fd.as_raw_fd(), &address).map_err(|e| at(e.into()))?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(at)?;
        let backlog = Backlog::new(BACKLOG).map_err(|e| at(e.into()))?;
        socket::listen(&fd, backlog).map_err(|e| at(e.into()))?;
        Ok(Self {
            fd: packet::register(fd).map_err(at)?,
        })
    }

    /// Accepts one connection. [`Error::Peer`] concerns that connection only, which is closed.
    ///
    /// # Errors
    /// The peer is neither root nor this process's user, or the socket failed.
    pub async fn accept<S, R>(&self) -> Result<Socket<S, R>, Error>
    where
        S: Serialize,
        R: DeserializeOwned,
    {
        let accepted = self.fd.async_io(Interest::READABLE, |fd| {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let raw = socket::accept4(fd.as_raw_fd(), flags)?;
            // SAFETY: accept4 returned a new descriptor that nobody else owns.
            Ok(unsafe { OwnedFd::from_raw_fd(raw) })
        });
        let fd = accepted.await?;
        let uid = socket::getsockopt(&fd, PeerCredentials)
            .map_err(io::Error::from)?
            .uid();
        if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
            return Err(Error::Peer(uid));
        }
        Ok(Socket::new(fd)?)
    }
}

/// Connects to the node socket at `path`; waits at most 5 s for a place in its queue.
///
/// # Errors
/// Nobody listens there, or the queue stays full.
pub async fn connect<S, R>(path: &Path) -> Result<Socket<S, R>, Error>
where
    S: Serialize,
    R: DeserializeOwned,
{
    let at = |source| Error::Path {
        path: path.display().to_string(),
        source,
    };
    let fd = new_socket().map_err(at)?;
    let address = UnixAddr::new(path).map_err(|e| at(e.into()))?;
    for _ in 0..CONNECT_ATTEMPTS {
        match socket::connect(fd.as_fd().as_raw_fd(), &address) {
            Ok(()) => return Ok(Socket::new(fd)?),
            Err(Errno::EAGAIN) => tokio::time::sleep(CONNECT_PAUSE).await,
            Err(e) => return Err(at(e.into())),
        }
    }
    Err(at(Errno::EAGAIN.into()))
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket::socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        flags,
        None,
    )?)
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "exists and is no socket",
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}
