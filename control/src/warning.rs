//! What is wrong with the objects that were read, for `/warnings` and the log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{ObjectKey, Origin};
use crate::status::Board;

/// One thing that could not be honoured. The rest of the mesh goes on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// Where the object was read; None where it did not come from a file.
    pub origin: Option<Origin>,
    /// The object; None where the file could not be read as objects.
    pub object: Option<ObjectKey>,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub next_step: String,
}

impl Warning {
    /// A warning about an object.
    pub fn object(
        object: ObjectKey,
        origin: Option<Origin>,
        reason: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self {
            origin,
            object: Some(object),
            reason: reason.into(),
            next_step: next_step.into(),
        }
    }

    /// A warning about a place in a file.
    pub fn file(origin: Origin, reason: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self {
            origin: Some(origin),
            object: None,
            reason: reason.into(),
            next_step: next_step.into(),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        write!(f, "{}; {}", self.reason, self.next_step)
    }
}

/// Who raised warnings; its next report replaces them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Raiser {
    /// The source, for one file.
    File(Arc<str>),
    /// A source that is no file, for one object.
    Source(ObjectKey),
    /// The index, for one object.
    Object(ObjectKey),
}

/// All warnings in force. Cheap to clone; clones share.
#[derive(Clone, Debug, Default)]
pub struct WarningStore {
    all: Arc<Mutex<BTreeMap<Raiser, Vec<Warning>>>>,
    board: Board,
}

impl WarningStore {
    /// No warnings; `board` is told whose change.
    pub fn new(board: Board) -> Self {
        Self {
            board,
            ..Self::default()
        }
    }

    /// Replaces the warnings of `raiser` and logs those that are new.
    pub fn replace(&self, raiser: Raiser, warnings: Vec<Warning>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.remove(&raiser).unwrap_or_default();
        if before == warnings {
            if !warnings.is_empty() {
                all.insert(raiser, warnings);
            }
            return;
        }
        for warning in warnings.iter().filter(|w| !before.contains(w)) {
            tracing::warn!(target: "warren_control::objects", "{warning}");
        }
        let object = match &raiser {
            Raiser::Source(object) | Raiser::Object(object) => Some(object.clone()),
            Raiser::File(_) => None,
        };
        if !warnings.is_empty() {
            all.insert(raiser, warnings);
        }
        drop(all);
        if let Some(object) = object {
            self.board.touch(&object);
        }
    }

    /// The warnings of one object, by whomever.
    pub fn of(&self, object: &ObjectKey) -> Vec<Warning> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let raisers = [
            Raiser::Source(object.clone()),
            Raiser::Object(object.clone()),
        ];
        let raised = raisers.iter().filter_map(|r| all.get(r));
        raised.flatten().cloned().collect()
    }

    /// Every warning, by who raised it.
    pub fn all(&self) -> Vec<Warning> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().flatten().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(Vec::len)
            .sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
