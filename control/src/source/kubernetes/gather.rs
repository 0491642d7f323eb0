//! From changes of single kinds to batches: the first one complete, the later ones as they come.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::known::Change;
use crate::model::{Event, Kind, ObjectKey};
use crate::source::Batch;
use crate::warning::{Raiser, Warning, WarningStore};

/// Events of one batch, as long as more are waiting.
const BATCH: usize = 4_096;
/// How often to say what the first batch waits for.
const REMIND: Duration = Duration::from_secs(15);

/// What a kind reports.
#[derive(Debug)]
pub struct Message {
    /// The kind.
    pub kind: Kind,
    /// Its changes, in order.
    pub changes: Vec<Change>,
    /// Whether they complete a list.
    pub listed: bool,
}

/// Passes changes on until the watches or the receiver end; nothing before every kind of `awaited` was listed.
pub async fn gather(
    mut messages: mpsc::Receiver<Message>,
    mut awaited: HashSet<Kind>,
    warnings: &WarningStore,
    batches: &mpsc::Sender<Batch>,
) {
    let mut batch = Batch::default();
    let mut remind = interval_at(Instant::now() + REMIND, REMIND);
    remind.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !awaited.is_empty() {
        tokio::select! {
            message = messages.recv() => {
                let Some(message) = message else { return };
                if message.listed {
                    awaited.remove(&message.kind);
                }
                add(&mut batch, message, warnings);
            }
            _ = remind.tick() => {
                let mut kinds: Vec<String> = awaited.iter().map(ToString::to_string).collect();
                kinds.sort();
                tracing::warn!("still waiting for the first list of {}; nothing is served before it", kinds.join(", "));
            }
        }
    }
    if batches.send(batch).await.is_err() {
        return;
    }
    while let Some(message) = messages.recv().await {
        let mut batch = Batch::default();
        add(&mut batch, message, warnings);
        while batch.events.len() < BATCH
            && let Ok(message) = messages.try_recv()
        {
            add(&mut batch, message, warnings);
        }
        if batches.send(batch).await.is_err() {
            return;
        }
    }
}

fn add(batch: &mut Batch, message: Message, warnings: &WarningStore) {
    let kind = message.kind;
    for change in message.changes {
        match change {
            Change::Delete(id) => {
                let key = ObjectKey { kind, id };
                warnings.replace(Raiser::Source(key.clone()), Vec::new());
                if kind.has_status() {
                    batch.observed.push((key.clone(), None));
                }
                batch.events.push(Event::Delete(key));
            }
            Change::Apply(id, item) => {
                let key = ObjectKey { kind, id };
                let raised = item.notes.iter().map(|note| {
                    Warning::object(key.clone(), None, &*note.reason, &*note.next_step)
                });
                warnings.replace(Raiser::Source(key.clone()), raised.collect());
                if item.observed.is_some() {
                    batch.observed.push((key, item.observed));
                }
                if let Some(object) = item.object {
                    batch.events.push(Event::Apply(Arc::new(object), None));
                }
            }
        }
    }
}
