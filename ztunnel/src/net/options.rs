//! The private socket options of ARCHITECTURE.md, answered by the kernel programs.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use warren_abi::{ClientAddr, OriginalDst, SOL_WARREN, WARREN_CLIENT_ADDR, WARREN_ORIGINAL_DST};

/// Where a captured connection wanted to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginalDestination {
    /// The address asked for.
    pub asked: SocketAddr,
    /// The backend that the kernel chose for the service at that address.
    pub backend: Option<SocketAddr>,
}

/// What the tunnel asks of the kernel programs. A trait, so that flows can be tested without them.
pub trait Kernel: Send + Sync {
    /// The original destination of an accepted connection. An error means that there is none: nobody captured it.
    fn original_destination(&self, fd: BorrowedFd<'_>) -> io::Result<OriginalDestination>;
    /// Declares, before `connect`, which client the connection stands for.
    fn declare_client(&self, fd: BorrowedFd<'_>, client: SocketAddr) -> io::Result<()>;
}

/// The kernel programs, asked by socket options.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions;

impl Kernel for SocketOptions {
    fn original_destination(&self, fd: BorrowedFd<'_>) -> io::Result<OriginalDestination> {
        original_destination(fd)
    }

    fn declare_client(&self, fd: BorrowedFd<'_>, client: SocketAddr) -> io::Result<()> {
        declare_client(fd, client)
    }
}

fn original_destination(fd: BorrowedFd<'_>) -> io::Result<OriginalDestination> {
    let mut value = MaybeUninit::<OriginalDst>::zeroed();
    let mut len = size_of::<OriginalDst>() as libc::socklen_t;
    // SAFETY: the buffer is as long as `len` says, and any bytes are a valid `OriginalDst`.
    let (rc, value) = unsafe {
        let rc = libc::getsockopt(
            fd.as_raw_fd(),
            SOL_WARREN,
            WARREN_ORIGINAL_DST,
            value.as_mut_ptr().cast(),
            &mut len,
        );
        (rc, value.assume_init())
    };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    if len as usize != size_of::<OriginalDst>() || value.ip.is_none() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the kernel knows no original destination",
        ));
    }
    Ok(decode(&value))
}

fn declare_client(fd: BorrowedFd<'_>, client: SocketAddr) -> io::Result<()> {
    let value = ClientAddr {
        ip: client.ip().into(),
        port: client.port(),
        reserved: 0,
    };
    // SAFETY: the pointer and length describe `value`, which lives until the call returns.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            SOL_WARREN,
            WARREN_CLIENT_ADDR,
            (&raw const value).cast(),
            size_of::<ClientAddr>() as libc::socklen_t,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn decode(v: &OriginalDst) -> OriginalDestination {
    let backend =
        (!v.backend.is_none()).then(|| SocketAddr::new(IpAddr::from(v.backend), v.backend_port));
    OriginalDestination {
        asked: SocketAddr::new(IpAddr::from(v.ip), v.port),
        backend,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_both_families_and_no_backend() {
        let ip: IpAddr = "10.1.2.3".parse().unwrap();
        let six: IpAddr = "fd00::1".parse().unwrap();
        let v = OriginalDst {
            ip: ip.into(),
            port: 80,
            ..Default::default()
        };
        assert_eq!(
            decode(&v),
            OriginalDestination {
                asked: (ip, 80).into(),
                backend: None
            }
        );
        let v = OriginalDst {
            ip: six.into(),
            port: 80,
            backend: six.into(),
            backend_port: 8080,
        };
        assert_eq!(decode(&v).backend, Some((six, 8080).into()));
    }

    #[test]
    fn a_socket_that_nobody_captured_has_no_original_destination() {
        let s = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(original_destination(std::os::fd::AsFd::as_fd(&s)).is_err());
    }
}
