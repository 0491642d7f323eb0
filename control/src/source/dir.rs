//! A directory of YAML and JSON files, as `kubectl apply -f` takes them, watched by inotify.
//!
//! ```text
//! inotify --dirty paths--> wait 20 ms --read--> documents --decode--> Files (merge, diff) --events--> index
//!              rescan every 30 s ----^
//! ```

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Batch, Source};
use crate::warning::WarningStore;

pub mod document;
pub mod files;
pub mod scan;
pub mod watch;

use files::Files;
use scan::Scanner;
use watch::{Change, Watch};

/// How long changes are collected before the files are read.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// How long a file that is open for writing may go without a further write before it is read all the same.
const WRITE_QUIET: Duration = Duration::from_secs(1);
/// How often everything is looked at again, in case a notification was lost.
const RESCAN: Duration = Duration::from_secs(30);

/// The source.
#[derive(Debug)]
pub struct DirSource {
    /// The directory; its direct subdirectories are read as well.
    pub path: PathBuf,
    /// Where bad files and objects are reported.
    pub warnings: WarningStore,
}

impl Source for DirSource {
    async fn run(
        self,
        batches: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.path.is_dir(),
            "source directory {} does not exist or is no directory: create it, or name another with --source dir:PATH",
            self.path.display()
        );
        let watch = Watch::start(&self.path);
        let mut state = State {
            scanner: Scanner::new(self.path.clone()),
            files: Files::new(self.warnings.clone()),
            batches,
            unsettled: false,
        };
        // A directory that cannot be listed is not one that is empty.
        while !state.scanner.is_started() {
            if !state.rescan().await {
                return Ok(());
            }
            if !state.scanner.is_started()
                && stop
                    .run_until_cancelled(tokio::time::sleep(WRITE_QUIET))
                    .await
                    .is_none()
            {
                return Ok(());
            }
        }
        state.follow(watch, stop).await;
        Ok(())
    }
}

struct State {
    scanner: Scanner,
    files: Files,
    batches: mpsc::Sender<Batch>,
    unsettled: bool,
}

impl State {
    /// Runs until `stop`. Files that were closed are read after [`DEBOUNCE`], files still being written after
    /// [`WRITE_QUIET`].
    async fn follow(&mut self, mut watch: Watch, stop: CancellationToken) {
        let mut next_scan = Instant::now() + RESCAN;
        let mut closed: BTreeSet<PathBuf> = BTreeSet::new();
        let mut writing: BTreeSet<PathBuf> = BTreeSet::new();
        let mut due: Option<Instant> = None;
        let mut quiet: Option<Instant> = None;
        loop {
            let wake = [Some(next_scan), due, quiet]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(next_scan);
            tokio::select! {
                () = stop.cancelled() => return,
                change = watch.next() => match change {
                    Change::Closed(path) => {
                        writing.remove(&path);
                        closed.insert(path);
                        due.get_or_insert(Instant::now() + DEBOUNCE);
                    }
                    Change::Writing(path) => {
                        writing.insert(path);
                        quiet = Some(Instant::now() + WRITE_QUIET);
                    }
                    Change::Lost => next_scan = Instant::now() + DEBOUNCE,
                },
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    if quiet.is_some_and(|q| q <= now) {
                        closed.append(&mut writing);
                        quiet = None;
                        due = Some(now);
                    }
                    let alive = if next_scan <= now {
                        closed.clear();
                        due = None;
                        next_scan = now + RESCAN;
                        self.rescan().await
                    } else if due.is_some_and(|d| d <= now) {
                        due = None;
                        let paths = std::mem::take(&mut closed);
                        self.read(paths).await
                    } else {
                        true
                    };
                    if !alive {
                        return;
                    }
                    if std::mem::take(&mut self.unsettled) {
                        next_scan = now + WRITE_QUIET;
                    }
                }
            }
        }
    }

    async fn rescan(&mut self) -> bool {
        let outcome = self.scanner.scan();
        if !self.scanner.is_started() {
            return !self.batches.is_closed();
        }
        self.unsettled |= outcome.unsettled;
        let events = self.files.update(outcome);
        self.send(events).await
    }

    async fn read(&mut self, paths: BTreeSet<PathBuf>) -> bool {
        let outcome = self.scanner.read(&paths);
        self.unsettled |= outcome.unsettled;
        let events = self.files.update(outcome);
        self.send(events).await
    }

    async fn send(&self, events: Vec<crate::model::Event>) -> bool {
        let batch = Batch {
            events,
            ..Batch::default()
        };
        self.batches.send(batch).await.is_ok()
    }
}
