//! The victim's resident memory while it is attacked.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_millis(50);

/// Bytes before the attack and at most during it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) before: u64,
    pub(super) peak: u64,
    pub(super) gone: bool,
}

/// Watches a process.
pub(super) struct Watch {
    pid: Option<u32>,
    before: u64,
    peak: Arc<AtomicU64>,
    gone: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(pid: Option<u32>) -> Result<Self> {
        let before = match pid {
            Some(pid) => rss(pid).with_context(|| format!("there is no process {pid}"))?,
            None => 0,
        };
        let (peak, gone) = (
            Arc::new(AtomicU64::new(before)),
            Arc::new(AtomicBool::new(false)),
        );
        let task = pid.map(|pid| {
            let (peak, gone) = (peak.clone(), gone.clone());
            tokio::spawn(async move {
                loop {
                    match rss(pid) {
                        Some(now) => peak.fetch_max(now, Ordering::Relaxed),
                        None => return gone.store(true, Ordering::Relaxed),
                    };
                    tokio::time::sleep(EVERY).await;
                }
            })
        });
        Ok(Self {
            pid,
            before,
            peak,
            gone,
            task,
        })
    }

    pub(super) async fn stop(self) -> Option<Memory> {
        tokio::time::sleep(2 * EVERY).await;
        if let Some(task) = self.task {
            task.abort();
        }
        self.pid.map(|_| Memory {
            before: self.before,
            peak: self.peak.load(Ordering::Relaxed),
            gone: self.gone.load(Ordering::Relaxed),
        })
    }
}

/// `VmRSS` in bytes; none for a process that ended.
fn rss(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn growth_is_seen() {
        let watch = Watch::start(Some(std::process::id())).unwrap();
        let block = vec![1_u8; 64 << 20];
        tokio::time::sleep(3 * EVERY).await;
        let memory = watch.stop().await.unwrap();
        assert!(block[block.len() - 1] == 1 && memory.peak > memory.before + (40 << 20));
        assert!(!memory.gone);
        assert!(Watch::start(Some(u32::MAX)).is_err());
    }
}
