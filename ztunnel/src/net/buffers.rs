//! How much a socket may hold. The kernel lets buffers grow to many megabytes where a reader is slower than its writer.
//! Between two ends that are close together that gains nothing, and bytes that wait long have left the processor's cache when
//! they are copied: bounded buffers move a stream half as fast again for a third less work (docs/BENCHMARKS.md).
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::SockRef;

/// Bytes asked for; the kernel doubles them, for its own book-keeping (socket(7)).
const SEND: usize = 128 << 10;
const RECEIVE: usize = 208 << 10;

/// A peer this close needs no more than the kernel's double of [`SEND`] on its way: 1.7 GB/s.
const NEAR: Duration = Duration::from_micros(150);

/// Bounds both buffers of a socket towards an application in its own pod.
pub fn bound_local(s: &impl AsFd) {
    let s = SockRef::from(s);
    // Fails only on a socket that is gone.
    let _ = s.set_send_buffer_size(SEND);
    let _ = s.set_recv_buffer_size(RECEIVE);
}

/// Bounds what is on its way to a peer that is near; to one farther off the kernel goes by the path.
pub fn bound_if_near(s: &impl AsFd) {
    if shortest_round_trip(s).is_ok_and(|time| time <= NEAR) {
        let _ = SockRef::from(s).set_send_buffer_size(SEND);
    }
}

/// The kernel's shortest measurement so far (tcp_info, tcpi_min_rtt); the handshake gives the first.
fn shortest_round_trip(s: &impl AsFd) -> io::Result<Duration> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the buffer is as long as `len` says, and any bytes are a valid `tcp_info`.
    let (rc, info) = unsafe {
        let rc = libc::getsockopt(
            s.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut len,
        );
        (rc, info.assume_init())
    };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::from_micros(info.tcpi_min_rtt.into()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_to_this_machine_is_near_and_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let time = shortest_round_trip(&stream).unwrap();
        assert!(time < Duration::from_millis(50), "{time:?}");
        assert!(time > Duration::ZERO);
        bound_local(&stream);
        assert_eq!(SockRef::from(&stream).send_buffer_size().unwrap(), 2 * SEND);
    }

    #[test]
    fn what_is_not_connected_is_not_near() {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let before = socket.send_buffer_size().unwrap();
        bound_if_near(&socket);
        assert_eq!(socket.send_buffer_size().unwrap(), before);
    }
}
