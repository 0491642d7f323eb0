//! One file on its way in. Documents that did not change since are not parsed again, so that one change in a file of a whole
//! cluster costs what it changes.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use serde_json::Value;

use crate::model::labels::ORIGIN;
use crate::model::{Object, ObjectKey, Origin};
use crate::source::decode::{NO_EFFECT, Note, VERSION_BEFORE, decode};
use crate::source::dir::document::{Malformed, Part, parts, read};
use crate::warning::Warning;

/// An object and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub object: Arc<Object>,
    pub origin: Origin,
    /// Whether it only stands in for one that cannot be read.
    pub stand_in: bool,
}

/// Documents of one file by the hash of their text.
#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<u128, Arc<Vec<Item>>>);

/// What a document, or one item of a List, turned out to be.
#[derive(Debug)]
struct Item {
    /// Where the object says that it was written, for those that wrote this file from another one.
    origin: Option<Origin>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Good(Option<(ObjectKey, Arc<Object>)>, Vec<Note>),
    Bad(Option<ObjectKey>, Note, Option<(Arc<Object>, String)>),
    Malformed(Malformed),
}

/// An object that is there and bad.
#[derive(Debug)]
struct Bad {
    key: ObjectKey,
    origin: Origin,
    note: Note,
    stand_in: Option<(Arc<Object>, String)>,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Load {
    pub objects: BTreeMap<ObjectKey, Entry>,
    pub warnings: Vec<Warning>,
    pub cache: Cache,
    bad: Vec<Bad>,
    /// Whether a document is not well-formed, so that objects may be missing that are meant to be there.
    malformed: bool,
}

/// Documents that are worth another thread.
const WORTH_A_THREAD: usize = 128;

/// Parses the documents that are new in any of the files, on all processors where they are many.
pub(super) fn prepare<'a>(
    files: impl Iterator<Item = (&'a Arc<str>, &'a str)>,
    caches: &mut BTreeMap<Arc<str>, Cache>,
) {
    let mut new = Vec::new();
    for (file, text) in files {
        let json = is_json(file);
        let known = caches.get(file);
        for Part { text, .. } in parts(text, json) {
            let hash = hash(text);
            if known.is_none_or(|k| !k.0.contains_key(&hash)) {
                new.push((file, hash, text, json));
            }
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = new.len().div_ceil(threads).max(WORTH_A_THREAD);
    let parse = |share: &[(&'a Arc<str>, u128, &'a str, bool)]| {
        let one = |&(file, hash, text, json): &(&'a Arc<str>, u128, &'a str, bool)| {
            (file, hash, Arc::new(items(text, json)))
        };
        share.iter().map(one).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = new
            .chunks(share)
            .map(|share| scope.spawn(move || parse(share)))
            .collect();
        // A document on which a worker broke is parsed where it is needed.
        for (file, hash, items) in workers.into_iter().filter_map(|w| w.join().ok()).flatten() {
            caches
                .entry(file.clone())
                .or_default()
                .0
                .insert(hash, items);
        }
    });
}

/// Reads a file, given what its documents were before. Where a document is malformed or an object bad, what the file held
/// before stays in force for what is now missing.
pub(super) fn load(
    file: &Arc<str>,
    text: &str,
    known: Cache,
    before: Option<&BTreeMap<ObjectKey, Entry>>,
) -> Load {
    let json = is_json(file);
    let mut load = Load {
        objects: BTreeMap::new(),
        warnings: Vec::new(),
        bad: Vec::new(),
        malformed: false,
        cache: Cache::default(),
    };
    for Part { line, text } in parts(text, json) {
        let hash = hash(text);
        let items = match known.0.get(&hash) {
            Some(items) => items.clone(),
            None => Arc::new(items(text, json)),
        };
        for item in items.iter() {
            load.item(item, file, line);
        }
        load.cache.0.insert(hash, items);
    }
    load.keep(before);
    load
}

impl Load {
    fn item(&mut self, item: &Item, file: &Arc<str>, line: u32) {
        let here = |line| Origin {
            file: file.clone(),
            line,
        };
        let at = || item.origin.clone().unwrap_or_else(|| here(line));
        match &item.content {
            Content::Good(object, notes) => {
                for note in notes {
                    self.warn(at(), object.as_ref().map(|(k, _)| k), note.clone());
                }
                if let Some((key, object)) = object {
                    self.add(key, object, at());
                }
            }
            Content::Bad(None, note, _) => self.warn(at(), None, note.clone()),
            Content::Bad(Some(key), note, stand_in) => self.bad.push(Bad {
                key: key.clone(),
                origin: at(),
                note: note.clone(),
                stand_in: stand_in.clone(),
            }),
            Content::Malformed(bad) => {
                self.malformed = true;
                self.warnings.push(Warning::file(
                    here(line + bad.line - 1),
                    format!("malformed document: {}", bad.reason),
                    "correct it; objects that the file held before and that are missing now stay in force",
                ));
            }
        }
    }

    fn keep(&mut self, before: Option<&BTreeMap<ObjectKey, Entry>>) {
        for Bad {
            key,
            origin,
            note,
            stand_in,
        } in std::mem::take(&mut self.bad)
        {
            let known = before.and_then(|b| b.get(&key)).filter(|e| !e.stand_in);
            let kept = self.objects.get(&key).or(known).cloned();
            let (entry, effect) = match (kept, stand_in) {
                (Some(entry), _) => (Some(entry), VERSION_BEFORE.to_owned()),
                (None, Some((object, effect))) => {
                    let (origin, stand_in) = (origin.clone(), true);
                    let entry = Entry {
                        object,
                        origin,
                        stand_in,
                    };
                    (Some(entry), effect)
                }
                (None, None) => (None, NO_EFFECT.to_owned()),
            };
            self.warn(origin, Some(&key), note.until_then(&effect));
            self.objects.extend(entry.map(|e| (key, e)));
        }
        for (key, entry) in before.into_iter().flatten().filter(|_| self.malformed) {
            let missing = self.objects.entry(key.clone());
            missing.or_insert_with(|| entry.clone());
        }
    }

    fn add(&mut self, key: &ObjectKey, object: &Arc<Object>, origin: Origin) {
        if let Some(Entry { origin: first, .. }) = self.objects.get(key) {
            let note = Note {
                reason: format!("{first} holds an object of the same name, which is in force"),
                next_step: "remove or rename one of them".into(),
            };
            self.warn(origin, Some(key), note);
            return;
        }
        let entry = Entry {
            object: object.clone(),
            origin,
            stand_in: false,
        };
        self.objects.insert(key.clone(), entry);
    }

    fn warn(&mut self, origin: Origin, key: Option<&ObjectKey>, note: Note) {
        let mut warning = Warning::file(origin, note.reason, note.next_step);
        warning.object = key.cloned();
        self.warnings.push(warning);
    }
}

fn is_json(file: &str) -> bool {
    file.ends_with(".json")
}

fn items(text: &str, json: bool) -> Vec<Item> {
    let values = match read(text, json) {
        Ok(values) => values,
        Err(bad) => {
            let content = Content::Malformed(bad);
            return vec![Item {
                origin: None,
                content,
            }];
        }
    };
    let item = |value: Value| {
        let origin = origin(&value);
        let content = match decode(value) {
            Ok(decoded) => {
                let object = decoded.object.map(|o| (o.key(), Arc::new(o)));
                Content::Good(object, decoded.notes)
            }
            Err(rejected) => {
                let stand_in = rejected.stand_in.map(|s| (Arc::new(s.object), s.effect));
                Content::Bad(rejected.object, rejected.note, stand_in)
            }
        };
        Item { origin, content }
    };
    values.into_iter().map(item).collect()
}

/// The annotation [`ORIGIN`]: `<file>:<line>`.
fn origin(value: &Value) -> Option<Origin> {
    let annotations = value.get("metadata")?.get("annotations")?;
    let (file, line) = annotations.get(ORIGIN)?.as_str()?.rsplit_once(':')?;
    let line = line.parse().ok()?;
    let file = file.into();
    Some(Origin { file, line })
}

/// 128 bits, as for resource versions: equal hashes are taken for equal texts.
fn hash(text: &str) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        hasher.write(text.as_bytes());
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}
