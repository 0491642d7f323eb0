//! When what a stream was given has left it. h2 does not tell; but each turn of the connection's task sends what windows and socket
//! take, so a turn that began later has sent it. A reset throws away what still waits in its stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Counts the turns of a connection's task.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    begun: AtomicU64,
    ended: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

/// There are no more turns once this is dropped.
pub(crate) struct Last(Arc<Turns>);

impl Turns {
    /// To be held by the connection's task.
    pub(crate) fn last(self: &Arc<Self>) -> Last {
        Last(self.clone())
    }

    /// How many have begun. One that is under way on another thread may have passed a stream by.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Runs a turn.
    pub(crate) fn turn<T>(&self, turn: impl FnOnce() -> T) -> T {
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let result = turn();
        self.ended.store(number, Ordering::Release);
        self.wake();
        result
    }

    /// Ready once a turn has ended that began after `mark` had, or no more will come. Only where something was given to the connection
    /// since, which wakes its task.
    pub(crate) fn poll_after(&self, mark: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting.lock();
        if self.ended.load(Ordering::Acquire) > mark {
            return Poll::Ready(());
        }
        waiting.push(cx.waker().clone());
        Poll::Pending
    }

    fn wake(&self) {
        for waker in std::mem::take(&mut *self.waiting.lock()) {
            waker.wake();
        }
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        self.0.ended.store(u64::MAX, Ordering::Release);
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_goes_on_after_a_turn_or_the_last() {
        let turns = Arc::<Turns>::default();
        let last = turns.last();
        for end in [true, false] {
            let (mark, other) = (turns.begun(), turns.clone());
            let waits = tokio::spawn(std::future::poll_fn(move |cx| other.poll_after(mark, cx)));
            tokio::task::yield_now().await;
            assert!(!waits.is_finished());
            if end {
                turns.turn(|| ());
                waits.await.expect("a turn has passed");
            }
        }
        drop(last);
        std::future::poll_fn(|cx| turns.poll_after(7, cx)).await;
    }
}
