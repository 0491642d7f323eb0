//! From changes of single kinds to batches: the first one complete, the later ones as they come.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::convert::Item;
use super::known::Change;
use crate::model::{Event, Kind, ObjectKey};
use crate::source::Batch;
use crate::source::decode::{NO_EFFECT, Note, VERSION_BEFORE};
use crate::source::stand_in::StandIn;
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
    let mut gatherer = Gatherer {
        warnings,
        held: HashMap::new(),
    };
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
                gatherer.add(&mut batch, message);
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
        gatherer.add(&mut batch, message);
        while batch.events.len() < BATCH
            && let Ok(message) = messages.try_recv()
        {
            gatherer.add(&mut batch, message);
        }
        if batches.send(batch).await.is_err() {
            return;
        }
    }
}

/// Which version of a policy the index holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    /// One of the object with this unique id.
    Good(Arc<str>),
    /// What stands in for it.
    StandIn,
}

struct Gatherer<'a> {
    warnings: &'a WarningStore,
    /// Of the kinds whose objects may be refused.
    held: HashMap<ObjectKey, Held>,
}

impl Gatherer<'_> {
    fn add(&mut self, batch: &mut Batch, message: Message) {
        let kind = message.kind;
        for change in message.changes {
            match change {
                Change::Delete(id) => {
                    let key = ObjectKey { kind, id };
                    self.warn(&key, Vec::new());
                    self.held.remove(&key);
                    if kind.has_status() || kind.is_gateway_api() {
                        batch.observed.push((key.clone(), None));
                    }
                    batch.events.push(Event::Delete(key));
                }
                Change::Apply(id, item) => self.apply(batch, ObjectKey { kind, id }, *item),
            }
        }
    }

    fn apply(&mut self, batch: &mut Batch, key: ObjectKey, item: Item) {
        let Item {
            object,
            mut notes,
            observed,
            stand_in,
        } = item;
        let uid = observed.as_ref().map(|o| (o.uid.clone(), o.rejected));
        let event = match (uid, object) {
            (Some((uid, true)), _) => {
                let (event, effect) = self.refused(&key, uid, stand_in);
                notes = notes.into_iter().map(|n| n.until_then(&effect)).collect();
                event
            }
            (Some((uid, false)), Some(object)) => {
                self.held.insert(key.clone(), Held::Good(uid));
                Some(Event::Apply(Arc::new(object), None))
            }
            (_, object) => object.map(|o| Event::Apply(Arc::new(o), None)),
        };
        self.warn(&key, notes);
        if observed.is_some() {
            batch.observed.push((key, observed));
        }
        batch.events.extend(event);
    }

    /// What a version that cannot be taken changes, and what is in force until it is corrected.
    fn refused(
        &mut self,
        key: &ObjectKey,
        uid: Arc<str>,
        stand_in: Option<Box<StandIn>>,
    ) -> (Option<Event>, String) {
        // An object of this name that was deleted meanwhile is no earlier version of it.
        if self.held.get(key) == Some(&Held::Good(uid)) {
            return (None, VERSION_BEFORE.to_owned());
        }
        match stand_in.map(|s| *s) {
            Some(StandIn { object, effect }) => {
                self.held.insert(key.clone(), Held::StandIn);
                (Some(Event::Apply(Arc::new(object), None)), effect)
            }
            None => {
                let gone = self.held.remove(key).map(|_| Event::Delete(key.clone()));
                (gone, NO_EFFECT.to_owned())
            }
        }
    }

    fn warn(&self, key: &ObjectKey, notes: Vec<Note>) {
        let raised = notes
            .into_iter()
            .map(|note| Warning::object(key.clone(), None, note.reason, note.next_step));
        self.warnings
            .replace(Raiser::Source(key.clone()), raised.collect());
    }
}
