//! What an on-demand client asked for and was given.

use std::collections::HashSet;
use std::sync::Arc;

use super::push::Named;
use super::store::Resources;

/// Names that one stream may ask for.
pub const MAX_NAMES: usize = 500_000;

/// The state of one type of one stream that names what it wants.
#[derive(Debug, Default)]
pub struct Demand {
    /// Names and aliases, as they were asked for.
    asked: HashSet<Arc<str>>,
    /// Services among the answers, whose endpoints are wanted as well.
    followed: HashSet<Arc<str>>,
    /// Resources given under their own names, asked for or not.
    given: HashSet<Arc<str>>,
}

/// Resources and removals to send.
#[derive(Debug, Default)]
pub struct Answer {
    /// Resources.
    pub resources: Vec<Named>,
    /// Names for which there is nothing.
    pub removed: Vec<Arc<str>>,
}

impl Demand {
    /// How many names are asked for.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Adds names and answers them: each under the name asked for, and the endpoints of services under their own.
    pub fn subscribe<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
        from: &Resources,
    ) -> Answer {
        let mut answer = Answer::default();
        for name in names {
            let name: Arc<str> = name.into();
            self.asked.insert(name.clone());
            self.answer(&name, from, &mut answer);
        }
        answer
    }

    /// Stops following names.
    pub fn unsubscribe<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            self.asked.remove(name);
            self.followed.remove(name);
            self.given.remove(name);
        }
    }

    /// What changed for this client after `seq`.
    pub fn changed(&mut self, seq: u64, from: &Resources) -> Answer {
        let mut answer = Answer::default();
        let changed: Vec<_> = from.changed(seq).cloned().collect();
        for entry in changed {
            let followed = entry.services.iter().any(|s| self.followed.contains(s));
            if self.asked.contains(&entry.name) {
                self.answer(&entry.name.clone(), from, &mut answer);
            } else if followed || self.given.contains(&entry.name) {
                self.given.insert(entry.name.clone());
                answer.resources.push(Named {
                    name: entry.name.clone(),
                    entry,
                });
            }
        }
        for name in from.removed(seq) {
            if self.asked.contains(name) || self.given.remove(name) {
                answer.removed.push(name.clone());
            }
        }
        for alias in from.changed_aliases(seq) {
            if self.asked.contains(alias) {
                self.answer(alias, from, &mut answer);
            }
        }
        answer
    }

    fn answer(&mut self, asked: &Arc<str>, from: &Resources, answer: &mut Answer) {
        let found = from.resolve(asked);
        if found.is_empty() {
            answer.removed.push(asked.clone());
        }
        for entry in found {
            answer.resources.push(Named {
                name: asked.clone(),
                entry: entry.clone(),
            });
            for endpoint in from.endpoints(&entry.name) {
                self.followed.insert(entry.name.clone());
                if self.given.insert(endpoint.name.clone()) && !self.asked.contains(&endpoint.name)
                {
                    answer.resources.push(Named {
                        name: endpoint.name.clone(),
                        entry: endpoint.clone(),
                    });
                }
            }
            if entry.services.is_empty() {
                // A service without endpoints so far, or a workload that backs none: later ones are found by name.
                self.followed.insert(entry.name.clone());
            }
        }
    }
}
