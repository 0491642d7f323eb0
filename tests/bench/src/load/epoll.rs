//! Readiness of many sockets, with timeouts in nanoseconds (epoll_pwait2(2), Linux 5.11).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

const MAX_EVENTS: usize = 256;

/// One socket that is ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// What it was registered with.
    pub token: u64,
    /// It can be read, or has ended.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
}

/// A level-triggered epoll instance.
#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    /// An empty instance.
    pub fn new() -> io::Result<Self> {
        // SAFETY: plain system call; the descriptor is checked before it is owned.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        check(fd)?;
        // SAFETY: just created, owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; MAX_EVENTS];
        Ok(Self { fd, events })
    }

    /// Watches `socket` for reading. It leaves the instance by being closed.
    pub fn add(&self, socket: &impl AsFd, token: u64) -> io::Result<()> {
        self.control(socket, libc::EPOLL_CTL_ADD, token, false)
    }

    /// Watches `socket` for reading and, where `write` says so, for writing.
    pub fn modify(&self, socket: &impl AsFd, token: u64, write: bool) -> io::Result<()> {
        self.control(socket, libc::EPOLL_CTL_MOD, token, write)
    }

    fn control(&self, socket: &impl AsFd, op: i32, token: u64, write: bool) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLRDHUP | if write { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event {
            events: interest as u32,
            u64: token,
        };
        // SAFETY: both descriptors are open for the call, `event` outlives it.
        check(unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                op,
                socket.as_fd().as_raw_fd(),
                &mut event,
            )
        })
    }

    /// Waits for readiness, at most `limit`; nothing is ready where the time has passed.
    pub fn wait(&mut self, limit: Duration) -> io::Result<impl Iterator<Item = Ready> + '_> {
        let limit = libc::timespec {
            tv_sec: limit.as_secs().min(3600) as libc::time_t,
            tv_nsec: libc::c_long::from(limit.subsec_nanos()),
        };
        let room = self.events.len() as i32;
        // SAFETY: the kernel writes at most `room` events into the buffer.
        let count = unsafe {
            libc::epoll_pwait2(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                room,
                &limit,
                ptr::null(),
            )
        };
        let count = match check(count) {
            Ok(()) => count as usize,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => return Err(e),
        };
        Ok(self.events[..count].iter().map(|e| {
            let flags = e.events as i32;
            let ended = flags & (libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLRDHUP) != 0;
            Ready {
                token: e.u64,
                readable: ended || flags & libc::EPOLLIN != 0,
                writable: flags & libc::EPOLLOUT != 0,
            }
        }))
    }
}

/// Lets timers of this thread fire when they are due instead of up to 50 µs later.
pub fn precise_timers() {
    // SAFETY: sets one attribute of the calling thread; a failure leaves the default, which only adds noise.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
