//! Network namespaces of pods: a descriptor, the kernel's cookie, and work done inside.
//!
//! Work inside a namespace runs on a thread of its own that ends with it: a thread that has called setns(2) never goes back to a pool.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};

/// How long a trial may take.
const TRIAL_LIMIT: Duration = Duration::from_secs(1);
/// Longest queue of connections that the tunnel has not accepted yet.
const BACKLOG: i32 = 4096;

/// A pod's network namespace.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    /// Names the namespace in the kernel programs' maps; never used twice while the machine runs.
    pub cookie: u64,
    /// A sock_diag socket that looks into the namespace.
    pub diag: Mutex<OwnedFd>,
}

impl Netns {
    /// Opens the namespace at `path` (such as `/run/netns/NAME` or `/proc/PID/ns/net`).
    ///
    /// # Errors
    /// The path is missing or no network namespace, or this process lacks CAP_SYS_ADMIN.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = OwnedFd::from(File::open(path)?);
        let (cookie, diag) = inside(fd.as_fd(), || Ok((own_cookie()?, diag_socket()?)))?;
        Ok(Self {
            fd,
            cookie,
            diag: Mutex::new(diag),
        })
    }

    /// A namespace that is none, for tests that enter no namespace.
    #[cfg(test)]
    pub fn fake(cookie: u64) -> Self {
        let null = || OwnedFd::from(File::open("/dev/null").expect("/dev/null"));
        Self {
            fd: null(),
            cookie,
            diag: Mutex::new(null()),
        }
    }

    /// Runs `work` inside the namespace and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        inside(self.fd.as_fd(), work)
    }

    /// Makes the listeners of a pod: one a kind and family, in the order of `kinds` and `families`.
    pub fn listeners<K: Copy + Send + Sync>(
        &self,
        wanted: &[(K, IpAddr)],
    ) -> io::Result<Vec<(K, IpAddr, OwnedFd)>> {
        let one = |&(kind, ip): &(K, IpAddr)| Ok((kind, ip, listener(ip.is_ipv4())?));
        self.run(|| wanted.iter().map(one).collect())
    }
}

impl Netns {
    /// Whether the namespace is (still) the one at `path`.
    pub fn is_at(&self, path: &Path) -> bool {
        let Ok(own) = nix::sys::stat::fstat(&self.fd) else {
            return true;
        };
        std::fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (own.st_dev, own.st_ino))
    }

    /// Writes `value` into the sysctl whose file is `path`, which is the namespace's own whichever mount of procfs that lies on, and
    /// returns the value that it had.
    pub fn swap_sysctl(&self, path: &Path, value: u8) -> io::Result<u8> {
        self.run(|| {
            let bad = |e| io::Error::new(io::ErrorKind::InvalidData, e);
            let former = fs::read_to_string(path)?.trim().parse().map_err(bad)?;
            if former != value {
                fs::write(path, value.to_string())?;
            }
            Ok(former)
        })
    }

    /// A listener on any port of the pod's own address `ip`.
    pub fn listener_at(&self, ip: IpAddr) -> io::Result<(OwnedFd, u16)> {
        self.run(|| {
            let listener = std::net::TcpListener::bind((ip, 0))?;
            let port = listener.local_addr()?.port();
            Ok((listener.into(), port))
        })
    }

    /// Connects from inside to `destination`, where `listener` listens, and says whether the connection arrives there from
    /// `source`, within [`TRIAL_LIMIT`].
    pub fn trial(
        &self,
        source: IpAddr,
        destination: SocketAddr,
        listener: OwnedFd,
    ) -> Result<(), String> {
        let connected =
            self.run(|| std::net::TcpStream::connect_timeout(&destination, TRIAL_LIMIT));
        let client = connected.map_err(|e| format!("connecting: {e}"))?;
        let sent = client.local_addr().map_err(|e| e.to_string())?;
        let listener = Socket::from(listener);
        listener
            .set_read_timeout(Some(TRIAL_LIMIT))
            .map_err(|e| e.to_string())?;
        let accepted = listener
            .accept()
            .map_err(|e| format!("it did not arrive at its destination ({e})"))?;
        let seen = accepted.1.as_socket();
        if seen != Some(sent) || sent.ip() != source {
            return Err(format!("it was sent from {sent} and arrived from {seen:?}"));
        }
        Ok(())
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The cookie of the namespace that this thread is in (`SO_NETNS_COOKIE`, Linux 5.14).
pub fn own_cookie() -> io::Result<u64> {
    let any = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the value pointer is a live u64 and the length says so.
    let result = unsafe {
        libc::getsockopt(
            any.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The cookie of the namespace at `path`.
pub fn cookie_of(path: &Path) -> io::Result<u64> {
    let fd = File::open(path)?;
    inside(fd.as_fd(), own_cookie)
}

fn inside<T: Send>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let enter_and_work = || {
        setns(netns, CloneFlags::CLONE_NEWNET)?;
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, enter_and_work)?;
        thread.join().unwrap_or_else(|_| {
            Err(io::Error::other(
                "the thread inside the network namespace panicked",
            ))
        })
    })
}

fn diag_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags,
        SockProtocol::NetlinkSockDiag,
    )?)
}

/// A listener on any port of the loopback interface. Close-on-exec, and non-blocking for the one that accepts.
fn listener(v4: bool) -> io::Result<OwnedFd> {
    let socket = Socket::new(
        if v4 { Domain::IPV4 } else { Domain::IPV6 },
        Type::STREAM,
        None,
    )?;
    socket.set_nonblocking(true)?;
    let ip: IpAddr = if v4 {
        Ipv4Addr::LOCALHOST.into()
    } else {
        Ipv6Addr::LOCALHOST.into()
    };
    if !v4 {
        socket.set_only_v6(true)?;
    }
    let address = SocketAddr::new(ip, 0).into();
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrNotAvailable {
            return Err(error);
        }
        // The loopback interface is not up (yet).
        if v4 {
            socket.set_freebind_v4(true)?
        } else {
            socket.set_freebind_v6(true)?
        }
        socket.bind(&address)?;
    }
    // Accepted connections inherit it, so that they do not keep an application from listening on the virtual port that they carry.
    socket.set_reuse_address(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cookie_is_stable_and_not_zero() {
        let cookie = own_cookie().unwrap();
        assert_ne!(cookie, 0);
        assert_eq!(cookie, own_cookie().unwrap());
    }

    #[test]
    fn listeners_listen() {
        let fd = listener(true).unwrap();
        let listener = std::net::TcpListener::from(fd);
        let address = listener.local_addr().unwrap();
        std::net::TcpStream::connect(address).unwrap();
    }
}
