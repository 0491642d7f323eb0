//! What every file holds, and the one object in force of each name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::scan::Outcome;
use crate::model::{Event, ObjectKey, Origin};
use crate::warning::{Raiser, Warning, WarningStore};

mod load;

use load::{Cache, Entry, Load};

/// The last good objects of each file, and what stands in for policies that never were good. Of objects with one name, the one
/// of the first file by name is in force.
#[derive(Debug)]
pub struct Files {
    files: BTreeMap<Arc<str>, BTreeMap<ObjectKey, Entry>>,
    holders: HashMap<ObjectKey, BTreeSet<Arc<str>>>,
    in_force: HashMap<ObjectKey, Entry>,
    /// What the documents of each file turned out to be, so that only those that changed are parsed.
    caches: BTreeMap<Arc<str>, Cache>,
    /// Warnings about a file's own content, without those about duplicates.
    own_warnings: BTreeMap<Arc<str>, Vec<Warning>>,
    warnings: WarningStore,
}

impl Files {
    /// No files.
    pub fn new(warnings: WarningStore) -> Self {
        Self {
            files: BTreeMap::new(),
            holders: HashMap::new(),
            in_force: HashMap::new(),
            caches: BTreeMap::new(),
            own_warnings: BTreeMap::new(),
            warnings,
        }
    }

    /// Takes in what changed on disk and returns what changed of the objects in force.
    pub fn update(&mut self, outcome: Outcome) -> Vec<Event> {
        let mut touched = BTreeSet::new();
        let mut reported = BTreeSet::new();
        let readable = outcome.read.iter();
        let readable = readable.filter_map(|(f, t)| Some((f, t.as_deref().ok()?)));
        load::prepare(readable, &mut self.caches);
        for (file, text) in outcome.read {
            reported.insert(file.clone());
            match text {
                Ok(text) => self.load(&file, &text, &mut touched),
                Err(e) => {
                    let at = Origin {
                        file: file.clone(),
                        line: 1,
                    };
                    let warning = Warning::file(
                        at,
                        format!("cannot be read: {e}"),
                        format!(
                            "{}; the objects read from it before stay in force",
                            e.next_step()
                        ),
                    );
                    self.own_warnings.insert(file, vec![warning]);
                }
            }
        }
        for file in outcome.gone {
            self.replace(&file, BTreeMap::new(), &mut touched);
            self.own_warnings.remove(&file);
            self.caches.remove(&file);
            reported.insert(file);
        }
        self.settle(touched, reported)
    }

    fn load(&mut self, file: &Arc<str>, text: &str, touched: &mut BTreeSet<ObjectKey>) {
        let cache = self.caches.remove(file).unwrap_or_default();
        let Load {
            objects,
            warnings,
            cache,
            ..
        } = load::load(file, text, cache, self.files.get(file));
        self.replace(file, objects, touched);
        self.own_warnings.insert(file.clone(), warnings);
        self.caches.insert(file.clone(), cache);
    }

    fn replace(
        &mut self,
        file: &Arc<str>,
        objects: BTreeMap<ObjectKey, Entry>,
        touched: &mut BTreeSet<ObjectKey>,
    ) {
        let before = self.files.remove(file).unwrap_or_default();
        for key in before.keys().filter(|k| !objects.contains_key(*k)) {
            if let Some(holders) = self.holders.get_mut(key) {
                holders.remove(file);
            }
        }
        for key in objects.keys() {
            self.holders
                .entry(key.clone())
                .or_default()
                .insert(file.clone());
        }
        touched.extend(before.into_keys());
        touched.extend(objects.keys().cloned());
        if !objects.is_empty() {
            self.files.insert(file.clone(), objects);
        }
    }

    fn settle(
        &mut self,
        touched: BTreeSet<ObjectKey>,
        mut reported: BTreeSet<Arc<str>>,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for key in touched {
            let holders = self.holders.get(&key).cloned().unwrap_or_default();
            if holders.is_empty() {
                self.holders.remove(&key);
            }
            reported.extend(holders.iter().cloned());
            let entry = self.first(&key).map(|(_, entry)| entry.clone());
            match entry {
                Some(entry) if self.in_force.get(&key) != Some(&entry) => {
                    events.push(Event::Apply(
                        entry.object.clone(),
                        Some(entry.origin.clone()),
                    ));
                    self.in_force.insert(key, entry);
                }
                Some(_) => {}
                None if self.in_force.remove(&key).is_some() => events.push(Event::Delete(key)),
                None => {}
            }
        }
        for file in reported {
            self.report(&file);
        }
        events
    }

    /// The file whose object of this name is in force: the first that can be read, else the first.
    fn first(&self, key: &ObjectKey) -> Option<(&Arc<str>, &Entry)> {
        let holders = self.holders.get(key)?.iter();
        let entries = holders.filter_map(|f| Some((f, self.files.get(f)?.get(key)?)));
        entries.min_by_key(|(_, entry)| entry.stand_in)
    }

    fn report(&self, file: &Arc<str>) {
        let mut warnings = self.own_warnings.get(file).cloned().unwrap_or_default();
        for (key, Entry { origin, .. }) in self.files.get(file).into_iter().flatten() {
            let first = self.first(key).map(|(first, _)| first);
            if let Some(first) = first.filter(|f| *f != file) {
                warnings.push(Warning::object(
                    key.clone(),
                    Some(origin.clone()),
                    format!("{first} holds an object of the same name, which is in force"),
                    "remove or rename one of them",
                ));
            }
        }
        self.warnings.replace(Raiser::File(file.clone()), warnings);
    }
}
