//! Memory for streams whose readers stall, shared by all connections of the process: the more of them, the smaller the
//! windows of all streams.
//!
//! ```text
//! copy: a write stalls -> Room counts it -> Level (watch) -> Windows of each connection -> SETTINGS (RFC 9113 §6.9.2)
//! ```

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::Limits;

/// Stalled streams up to which every stream has its full window.
const AMPLE: usize = 64;
/// Stalled streams up to which every stream has [`SCARCE_WINDOW`].
const SCARCE: usize = 512;
const SCARCE_WINDOW: u32 = 256 << 10;
const DIRE_WINDOW: u32 = 32 << 10;

/// Windows narrow at once, but widen only after there was room for this long: readers come and go.
const PATIENCE: Duration = Duration::from_secs(1);
/// A peer answers SETTINGS within a round trip; until then no others can be sent.
const RETRY: Duration = Duration::from_millis(10);

/// One for the process, since its memory is one.
static ROOM: LazyLock<Room> = LazyLock::new(Room::default);

/// Counts the stalled streams.
pub(crate) struct Room {
    stalled: AtomicUsize,
    level: watch::Sender<Level>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ample,
    Scarce,
    Dire,
}

/// One stalled stream, until dropped.
pub(crate) struct Stalled(&'static Room);

/// What one connection has told its peer of the windows of its streams, and what it is to tell.
pub(crate) struct Windows {
    level: watch::Receiver<Level>,
    full: u32,
    told: u32,
    wanted: u32,
    at: Option<Instant>,
}

impl Stalled {
    pub(crate) fn new() -> Self {
        let room = &*ROOM;
        room.add();
        Self(room)
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.0.remove();
    }
}

impl Windows {
    /// For a connection that begins now.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self::of(&ROOM, limits)
    }

    fn of(room: &Room, limits: &Limits) -> Self {
        let mut level = room.level.subscribe();
        let now = level.borrow_and_update().window(limits.stream_window);
        Self {
            level,
            full: limits.stream_window,
            told: now,
            wanted: now,
            at: None,
        }
    }

    /// The window that the peer knows of.
    pub(crate) fn told(&self) -> u32 {
        self.told
    }

    /// Waits until the peer is to be told of another window. May be dropped and called again.
    pub(crate) async fn due(&mut self) -> u32 {
        loop {
            self.look(Instant::now());
            let timer = sleep_until(self.at.unwrap_or_else(Instant::now));
            tokio::select! {
                () = timer, if self.at.is_some() => return self.wanted,
                end = self.level.changed() => if end.is_err() {
                    std::future::pending::<()>().await;
                },
            }
        }
    }

    /// Whether the connection took what [`Windows::due`] gave; if not, it is due again a little later.
    pub(crate) fn sent(&mut self, taken: bool) {
        if taken {
            self.told = self.wanted;
        }
        self.at = (!taken).then(|| Instant::now() + RETRY);
    }

    fn look(&mut self, now: Instant) {
        let wanted = self.level.borrow_and_update().window(self.full);
        if wanted == self.wanted {
            return;
        }
        self.wanted = wanted;
        self.at = match wanted {
            same if same == self.told => None,
            narrower if narrower < self.told => Some(now),
            _ => Some(now + PATIENCE),
        };
    }
}

impl Default for Room {
    fn default() -> Self {
        Self {
            stalled: AtomicUsize::new(0),
            level: watch::Sender::new(Level::Ample),
        }
    }
}

impl Room {
    fn add(&self) {
        let n = self.stalled.fetch_add(1, Ordering::AcqRel) + 1;
        // Counts in between change nothing, and are not worth a lock.
        if n == AMPLE + 1 || n == SCARCE + 1 {
            self.settle();
        }
    }

    fn remove(&self) {
        let n = self.stalled.fetch_sub(1, Ordering::AcqRel) - 1;
        if n == AMPLE / 2 || n == SCARCE / 2 {
            self.settle();
        }
    }

    fn settle(&self) {
        self.level.send_if_modified(|level| {
            let next = level.next(self.stalled.load(Ordering::Acquire));
            next != std::mem::replace(level, next)
        });
    }
}

impl Level {
    fn of(stalled: usize) -> Self {
        if stalled <= AMPLE {
            Self::Ample
        } else if stalled <= SCARCE {
            Self::Scarce
        } else {
            Self::Dire
        }
    }

    /// A level is left only when half of the streams that led to it are gone.
    fn next(self, stalled: usize) -> Self {
        self.clamp(Self::of(stalled), Self::of(stalled * 2))
    }

    fn window(self, full: u32) -> u32 {
        match self {
            Self::Ample => full,
            Self::Scarce => full.min(SCARCE_WINDOW),
            Self::Dire => full.min(DIRE_WINDOW),
        }
    }
}

#[cfg(test)]
mod tests;
