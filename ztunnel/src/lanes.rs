//! The threads that carry connections. Each has a runtime of its own, and everything of one connection, the HBONE
//! connection under it included, stays on one of them: no hand-over between processors while bytes move.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

mod recent;

use recent::Recent;

/// Short connections stay where they were accepted until this lane has so many more than another.
const SHORT_ONES: usize = 32;

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
    static RECENT: Cell<Recent> = Cell::default();
}

/// The number of the lane that this thread is; 0 elsewhere.
pub fn here() -> usize {
    HERE.get()
}

#[derive(Clone, Debug)]
struct Lane {
    runtime: Handle,
    live: Arc<AtomicUsize>,
}

/// All lanes.
#[derive(Clone, Debug)]
pub struct Lanes {
    lanes: Arc<[Lane]>,
    next: Arc<AtomicUsize>,
}

/// The threads behind the lanes.
#[derive(Debug)]
pub struct Threads {
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

/// A connection that counts towards its lane's load.
#[derive(Debug)]
pub struct Load {
    live: Arc<AtomicUsize>,
    began: Instant,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
        let (mut recent, now) = (RECENT.get(), Instant::now());
        recent.ended(now, now.duration_since(self.began));
        RECENT.set(recent);
    }
}

impl Lanes {
    /// Starts `count` threads.
    pub fn start(count: usize) -> io::Result<(Self, Threads)> {
        let stop = CancellationToken::new();
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            lanes.push(Lane {
                runtime: runtime.handle().clone(),
                live: Arc::default(),
            });
            let stop = stop.clone();
            let run = move || {
                HERE.set(index);
                runtime.block_on(stop.cancelled());
                runtime.shutdown_timeout(Duration::from_millis(200));
            };
            threads.push(
                std::thread::Builder::new()
                    .name(format!("lane-{index}"))
                    .spawn(run)?,
            );
        }
        Ok((Self::of(lanes), Threads { stop, threads }))
    }

    /// The runtime of the caller as the only lane.
    pub fn current() -> Self {
        Self::of(vec![Lane {
            runtime: Handle::current(),
            live: Arc::default(),
        }])
    }

    fn of(lanes: Vec<Lane>) -> Self {
        Self {
            lanes: lanes.into(),
            next: Arc::default(),
        }
    }

    /// A lane for something that stays for long, in turn.
    pub fn in_turn(&self) -> &Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.lanes[turn % self.lanes.len()].runtime
    }

    /// Hands a connection to the least busy lane: this one, unless another has clearly less to do. `carry` runs there.
    pub fn carry<F, Fut>(&self, stream: TcpStream, carry: F) -> io::Result<()>
    where
        F: FnOnce(TcpStream, Load) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let now = Instant::now();
        let own = here().min(self.lanes.len() - 1);
        let chosen = self.choose(own, now);
        let lane = &self.lanes[chosen];
        lane.live.fetch_add(1, Ordering::Relaxed);
        let load = Load {
            live: lane.live.clone(),
            began: now,
        };
        if chosen == own {
            lane.runtime.spawn(carry(stream, load));
            return Ok(());
        }
        let stream = stream.into_std()?;
        lane.runtime.spawn(async move {
            // Fails only where the lane's runtime is ending; the connection then closes.
            if let Ok(stream) = TcpStream::from_std(stream) {
                carry(stream, load).await;
            }
        });
        Ok(())
    }

    /// Handing over costs two wake-ups: among many connections, or for one that will soon be gone, it is not worth it.
    fn choose(&self, own: usize, now: Instant) -> usize {
        let load = |i: usize| self.lanes[i].live.load(Ordering::Relaxed);
        let least = (0..self.lanes.len()).min_by_key(|i| load(*i));
        let least = least.unwrap_or(own);
        let mut recent = RECENT.get();
        let short = if recent.are_short(now) { SHORT_ONES } else { 0 };
        RECENT.set(recent);
        if load(own) <= load(least) + load(own) / 4 + short {
            own
        } else {
            least
        }
    }

    /// Connections on each lane.
    pub fn loads(&self) -> Vec<usize> {
        self.lanes
            .iter()
            .map(|l| l.live.load(Ordering::Relaxed))
            .collect()
    }
}

impl Threads {
    /// Ends the threads; waits at most a second.
    pub fn stop(self) {
        self.stop.cancel();
        let until = Instant::now() + Duration::from_secs(1);
        for thread in self.threads {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_evenly() {
        let (lanes, threads) = Lanes::start(3).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut clients = Vec::new();
            for _ in 0..9 {
                clients.push(
                    TcpStream::connect(listener.local_addr().unwrap())
                        .await
                        .unwrap(),
                );
                let (stream, _) = listener.accept().await.unwrap();
                let stays = |stream: TcpStream, load: Load| async move {
                    let _ = stream.peek(&mut [0]).await;
                    drop(load);
                };
                lanes.carry(stream, stays).unwrap();
            }
            assert_eq!(lanes.loads(), [3, 3, 3]);
            drop(clients);
            for _ in 0..200 {
                if lanes.loads() == [0, 0, 0] {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{:?}", lanes.loads());
        });
        threads.stop();
    }
}
