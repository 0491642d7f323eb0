//! What a kind holds, so that a list tells what is gone. No I/O.

use std::collections::HashSet;

use kube::runtime::watcher::Event;

use super::convert::Item;
use crate::model::Id;

/// One change of one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is new or changed, or appeared in a list.
    Apply(Id, Box<Item>),
    /// It is gone.
    Delete(Id),
}

/// What an event amounts to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing to tell yet.
    Nothing,
    /// One object changed.
    Changed(Change),
    /// A list is complete: everything in it, and what was known before and is not.
    Listed(Vec<Change>),
}

/// The objects of one kind, by name.
#[derive(Debug, Default)]
pub struct Known {
    ids: HashSet<Id>,
    listing: Option<Vec<(Id, Box<Item>)>>,
}

impl Known {
    /// Takes in an event. A list that breaks off is forgotten with the next one's beginning.
    pub fn take(&mut self, event: Event<(Id, Box<Item>)>) -> Outcome {
        match event {
            Event::Init => {
                self.listing = Some(Vec::new());
                Outcome::Nothing
            }
            Event::InitApply(entry) => {
                self.listing.get_or_insert_default().push(entry);
                Outcome::Nothing
            }
            Event::InitDone => Outcome::Listed(self.listed()),
            Event::Apply((id, item)) => {
                self.ids.insert(id.clone());
                Outcome::Changed(Change::Apply(id, item))
            }
            Event::Delete((id, _)) => {
                self.ids.remove(&id);
                Outcome::Changed(Change::Delete(id))
            }
        }
    }

    /// The kind is not there any more: everything is gone.
    pub fn clear(&mut self) -> Vec<Change> {
        self.listing = None;
        self.ids.drain().map(Change::Delete).collect()
    }

    fn listed(&mut self) -> Vec<Change> {
        let entries = self.listing.take().unwrap_or_default();
        let now: HashSet<Id> = entries.iter().map(|(id, _)| id.clone()).collect();
        let gone = self.ids.difference(&now).cloned().map(Change::Delete);
        // What is gone goes first: an address may have passed on to an object of the list.
        let mut changes: Vec<Change> = gone.collect();
        changes.extend(
            entries
                .into_iter()
                .map(|(id, item)| Change::Apply(id, item)),
        );
        self.ids = now;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> (Id, Box<Item>) {
        (Id::new("shop", name), Box::default())
    }

    fn apply(name: &str) -> Change {
        let (id, item) = entry(name);
        Change::Apply(id, item)
    }

    fn list(known: &mut Known, names: &[&str]) -> Outcome {
        known.take(Event::Init);
        for name in names {
            assert_eq!(known.take(Event::InitApply(entry(name))), Outcome::Nothing);
        }
        known.take(Event::InitDone)
    }

    #[test]
    fn a_list_deletes_what_is_gone_and_nothing_else() {
        let mut known = Known::default();
        let first = list(&mut known, &["a", "b"]);
        assert_eq!(first, Outcome::Listed(vec![apply("a"), apply("b")]));
        let c = known.take(Event::Apply(entry("c")));
        assert_eq!(c, Outcome::Changed(apply("c")));
        let again = list(&mut known, &["b", "c"]);
        let gone = Change::Delete(Id::new("shop", "a"));
        assert_eq!(again, Outcome::Listed(vec![gone, apply("b"), apply("c")]));
    }

    #[test]
    fn a_list_that_breaks_off_deletes_nothing() {
        let mut known = Known::default();
        list(&mut known, &["a", "b"]);
        known.take(Event::Init);
        known.take(Event::InitApply(entry("a")));
        let again = list(&mut known, &["a", "b"]);
        assert_eq!(again, Outcome::Listed(vec![apply("a"), apply("b")]));
    }

    #[test]
    fn what_was_deleted_is_not_deleted_twice() {
        let mut known = Known::default();
        list(&mut known, &["a"]);
        let deleted = known.take(Event::Delete(entry("a")));
        assert_eq!(
            deleted,
            Outcome::Changed(Change::Delete(Id::new("shop", "a")))
        );
        assert_eq!(list(&mut known, &[]), Outcome::Listed(Vec::new()));
        assert!(known.ids.is_empty());
    }
}
