//! The calls for which no safe wrapper is at hand.

use std::io;
use std::os::fd::AsRawFd;

use socket2::Socket;

/// Connects to AF_UNSPEC, which dissolves a TCP connection and frees the socket for another connect (connect(2)).
#[allow(unsafe_code)]
pub(crate) fn disconnect(socket: &Socket) -> io::Result<()> {
    let address = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    // SAFETY: `address` is a complete sockaddr that outlives the call, and its true length is passed.
    let result = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            &address,
            size_of::<libc::sockaddr>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lets a listener take data with the SYN (TCP_FASTOPEN, RFC 7413).
#[allow(unsafe_code)]
pub(crate) fn accept_fast_open(socket: &Socket) -> io::Result<()> {
    let queue: libc::c_int = 16;
    // SAFETY: the option's value is a c_int that outlives the call, and its true length is passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN,
            (&raw const queue).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Waits until a connect in progress is decided.
#[allow(unsafe_code)]
pub(crate) fn wait_writable(socket: &Socket, timeout_ms: u64) -> io::Result<()> {
    let mut fd = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    let limit = libc::c_int::try_from(timeout_ms).unwrap_or(libc::c_int::MAX);
    // SAFETY: one pollfd that outlives the call, and a count of one.
    match unsafe { libc::poll(&raw mut fd, 1, limit) } {
        0 => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
        n if n < 0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
