//! One packet with file descriptors: `sendmsg` and `recvmsg`.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use tokio::io::unix::AsyncFd;

use super::{Error, MAX_FDS, MAX_PACKET};

/// SCM_MAX_FD of the kernel: with room for so many, only the limit of open files can truncate what is received.
const KERNEL_MAX_FDS: usize = 253;
const FD_BYTES: usize = mem::size_of::<RawFd>();

/// A control buffer, aligned for `cmsghdr`.
#[repr(C, align(8))]
struct Control([u8; 1536]);

/// Registers a socket with the runtime.
pub(super) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and keeps its number for as long as the `AsyncFd` owns it; nothing replaces it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Sends one packet, without waiting.
pub(super) fn send(socket: BorrowedFd<'_>, data: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    debug_assert!(fds.len() <= MAX_FDS);
    let mut control = Control([0; 1536]);
    let mut iov = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    let mut header = message(&mut iov);
    if !fds.is_empty() {
        attach(&mut header, &mut control, fds);
    }
    // SAFETY: `header` points to `iov`, `data` and `control`, which outlive the call.
    let sent = unsafe {
        libc::sendmsg(
            socket.as_raw_fd(),
            &header,
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Receives one packet into `buffer`, without waiting; no bytes mean that the peer is gone. Received descriptors are
/// close-on-exec, and closed where an error is returned.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8; MAX_PACKET],
) -> io::Result<Result<(usize, Vec<OwnedFd>), Error>> {
    let mut control = Control([0; 1536]);
    let mut iov = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut header = message(&mut iov);
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: `header` points to `iov`, `buffer` and `control`, which outlive the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) };
    let Ok(length) = usize::try_from(received) else {
        return Err(io::Error::last_os_error());
    };
    let fds = detach(&header);
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        return Ok(Err(Error::TooLong));
    }
    if header.msg_flags & libc::MSG_CTRUNC != 0 || fds.len() > MAX_FDS {
        return Ok(Err(Error::TooManyFds));
    }
    Ok(Ok((length, fds)))
}

fn message(iov: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeroes are a valid, empty `msghdr`.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = iov;
    header.msg_iovlen = 1;
    header
}

fn attach(header: &mut libc::msghdr, control: &mut Control, fds: &[BorrowedFd<'_>]) {
    let bytes = u32::try_from(fds.len() * FD_BYTES).unwrap_or(u32::MAX);
    // SAFETY: CMSG_SPACE only computes a size.
    let space = unsafe { libc::CMSG_SPACE(bytes) } as usize;
    assert!(
        space <= control.0.len(),
        "callers pass at most MAX_FDS descriptors"
    );
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = space;
    // SAFETY: the control buffer is aligned, zeroed and has room for one header with `bytes` of data.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(bytes) as usize;
        let data = libc::CMSG_DATA(first).cast::<RawFd>();
        for (i, fd) in fds.iter().enumerate() {
            ptr::write_unaligned(data.add(i), fd.as_raw_fd());
        }
    }
}

fn detach(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel filled the control buffer; the CMSG macros stay within `msg_controllen`. Each descriptor of
    // SCM_RIGHTS was installed for this call and is owned by nobody else.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(header);
        while !cmsg.is_null() {
            if (*cmsg).cmsg_level == libc::SOL_SOCKET && (*cmsg).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*cmsg).cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                let data = libc::CMSG_DATA(cmsg).cast::<RawFd>();
                for i in 0..(bytes / FD_BYTES).min(KERNEL_MAX_FDS) {
                    fds.push(OwnedFd::from_raw_fd(ptr::read_unaligned(data.add(i))));
                }
            }
            cmsg = libc::CMSG_NXTHDR(header, cmsg);
        }
    }
    fds
}
