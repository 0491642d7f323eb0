//! inotify, by the notify crate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Notifications that may wait; beyond these, everything is looked at again.
const QUEUE: usize = 4096;

/// What happened.
#[derive(Debug)]
pub enum Change {
    /// The file is complete: closed after writing, renamed, made or removed.
    Closed(PathBuf),
    /// The file was written to and is still open.
    Writing(PathBuf),
    /// Look at everything again.
    Lost,
}

/// A running watch. Where the kernel refuses one, only the regular rescan finds changes.
#[derive(Debug)]
pub struct Watch {
    _watcher: Option<RecommendedWatcher>,
    changes: mpsc::Receiver<Change>,
    overflowed: Arc<AtomicBool>,
}

impl Watch {
    /// Watches `path` and everything below.
    pub fn start(path: &Path) -> Self {
        let (sender, changes) = mpsc::channel(QUEUE);
        let overflowed = Arc::new(AtomicBool::new(false));
        match watcher(path, sender, overflowed.clone()) {
            Ok(watcher) => Self {
                _watcher: Some(watcher),
                changes,
                overflowed,
            },
            Err(e) => {
                tracing::warn!(
                    "cannot watch {}: {e}; changes are seen by the rescan every 30 s only. Raise fs.inotify.max_user_watches and max_user_instances",
                    path.display()
                );
                Self {
                    _watcher: None,
                    changes,
                    overflowed,
                }
            }
        }
    }

    /// The next change; waits for ever where the watch could not be started.
    pub async fn next(&mut self) -> Change {
        if self.overflowed.swap(false, Ordering::AcqRel) {
            return Change::Lost;
        }
        match self.changes.recv().await {
            Some(change) => change,
            None => std::future::pending().await,
        }
    }
}

fn watcher(
    path: &Path,
    sender: mpsc::Sender<Change>,
    overflowed: Arc<AtomicBool>,
) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        for change in changes(event) {
            if sender.try_send(change).is_err() {
                overflowed.store(true, Ordering::Release);
            }
        }
    })?;
    watcher.watch(path, RecursiveMode::Recursive)?;
    Ok(watcher)
}

fn changes(event: notify::Result<notify::Event>) -> Vec<Change> {
    let Ok(event) = event else {
        return vec![Change::Lost];
    };
    if event.need_rescan() {
        return vec![Change::Lost];
    }
    let each = |make: fn(PathBuf) -> Change| event.paths.iter().cloned().map(make).collect();
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => each(Change::Closed),
        EventKind::Create(CreateKind::Folder) => vec![Change::Lost],
        // A link or rename makes a complete file, but so does open(O_CREAT), which is followed by writes.
        EventKind::Create(_) => each(Change::Writing),
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => each(Change::Writing),
        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => each(Change::Closed),
        _ => Vec::new(),
    }
}
