//! The ring buffer of events, and the kernel programs' log.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;
use warren_abi::Event;

/// Most events handed out at once.
const BATCH: usize = 1024;

/// Reads events. Those read are gone, whoever wrote them, and in whatever agent's time.
pub struct EventReader {
    ring: RingBuf<MapData>,
}

impl EventReader {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// Registers with the runtime; has to be called within it.
    pub fn into_async(self) -> io::Result<AsyncEvents> {
        // SAFETY: the ring buffer owns its descriptor and gives the same one until it is dropped, together with the `AsyncFd`.
        Ok(AsyncEvents {
            fd: unsafe { AsyncFd::register(self) }?,
        })
    }

    fn take(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < BATCH {
            let Some(item) = self.ring.next() else { break };
            events.extend(decode(&item));
        }
        events
    }
}

impl AsRawFd for EventReader {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// [`EventReader`] within the runtime.
pub struct AsyncEvents {
    fd: AsyncFd<EventReader>,
}

impl AsyncEvents {
    /// Waits for events and returns up to 1024. Nothing is lost where the future is dropped.
    pub async fn next(&mut self) -> io::Result<Vec<Event>> {
        loop {
            let mut ready = self.fd.readable_mut().await?;
            let events = ready.get_inner_mut().take();
            if !events.is_empty() {
                return Ok(events);
            }
            ready.clear_ready();
        }
    }
}

/// One record of the ring buffer; None where it is too short for an event.
pub fn decode(data: &[u8]) -> Option<Event> {
    if data.len() < size_of::<Event>() {
        return None;
    }
    // SAFETY: there are enough bytes, and `Event` has no padding and no invalid bit patterns.
    Some(unsafe { data.as_ptr().cast::<Event>().read_unaligned() })
}

/// Forwards the kernel programs' log lines, which they write only while `CONFIG_LOG` is set. Returns at once.
pub fn spawn_kernel_log(ebpf: &mut Ebpf) {
    let logger = match aya_log::EbpfLogger::init(ebpf) {
        Ok(logger) => logger,
        Err(error) => return tracing::debug!(%error, "the kernel programs have no log"),
    };
    // SAFETY: as for the events: the log's ring buffer owns its descriptor for as long as it lives.
    let mut fd = match unsafe { AsyncFd::register(logger) } {
        Ok(fd) => fd,
        Err(error) => return tracing::warn!(%error, "the kernel programs' log cannot be read"),
    };
    tokio::spawn(async move {
        while let Ok(mut ready) = fd.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_events_are_ignored_and_whole_ones_decoded() {
        let mut data = vec![0u8; size_of::<Event>()];
        data[..4].copy_from_slice(&3u32.to_ne_bytes());
        assert_eq!(decode(&data).unwrap().kind, 3);
        assert!(decode(&data[1..]).is_none());
    }
}
