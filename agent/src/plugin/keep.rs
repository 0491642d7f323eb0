//! Keeps the plugin in place: inotify tells of changes, and every few seconds everything is looked at anyway.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};

use super::{Done, Plugin, PluginError};

/// How often everything is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Pause after a change: installers that write in place are not done at once.
const SETTLE: Duration = Duration::from_millis(50);

/// Pause after a failure, whose traces are changes as well.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Installs and repairs until the task is dropped. `repaired` is told of every change: pods may have started without us.
pub async fn keep(plugin: Plugin, repaired: Arc<Notify>) {
    let (events, mut changes) = mpsc::channel(1);
    let mut watcher = None;
    let mut said = None;
    loop {
        if watcher.is_none() {
            watcher = watch(plugin.conf_dir(), events.clone());
        }
        let again = plugin.clone();
        let mut pause = SETTLE;
        match tokio::task::spawn_blocking(move || again.install()).await {
            Ok(Ok(done)) if done.any() => {
                said = None;
                report(&done);
                repaired.notify_one();
            }
            Ok(Ok(_)) => said = None,
            Ok(Err(error)) => {
                complain(&error, &mut said);
                pause = AFTER_FAILURE;
            }
            Err(_) => return,
        }
        if tokio::time::timeout(LOOK, changes.recv()).await.is_ok() {
            tokio::time::sleep(pause).await;
            // What came meanwhile is seen by the look that follows.
            while changes.try_recv().is_ok() {}
        } else if !plugin.conf_dir().is_dir() {
            watcher = None;
        }
    }
}

fn report(done: &Done) {
    if done.program {
        tracing::info!("the CNI plugin was copied to the host");
    }
    for path in &done.networks {
        tracing::info!(network = %path.display(), "the CNI plugin was put into the node's network");
    }
}

/// Once a problem, not once a look.
fn complain(error: &PluginError, said: &mut Option<String>) {
    let text = error.to_string();
    if said.as_ref() != Some(&text) {
        tracing::warn!("the CNI plugin is not installed, so pods start outside the mesh: {text}");
        *said = Some(text);
    }
}

fn watch(dir: &Path, events: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        // Our own reading makes events as well.
        let of_reading = |e: &notify::Event| matches!(e.kind, EventKind::Access(kind) if !matches!(kind, notify::event::AccessKind::Close(notify::event::AccessMode::Write)));
        if !event.as_ref().is_ok_and(of_reading) {
            // A full queue means that a look is due anyway.
            let _ = events.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(tell).ok()?;
    watcher.watch(dir, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}
