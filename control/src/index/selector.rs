//! Objects by selector: which Services or policies choose a pod?

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{Id, Labels, labels};

/// Selectors, found by their first label; an empty selector is not held.
#[derive(Debug, Default)]
pub struct SelectorIndex {
    selectors: HashMap<Id, Labels>,
    by_first: HashMap<(Arc<str>, String, String), BTreeSet<Id>>,
}

impl SelectorIndex {
    /// Sets or, with None or an empty selector, removes the selector of an object.
    pub fn set(&mut self, id: &Id, selector: Option<&Labels>) {
        if let Some(old) = self.selectors.remove(id)
            && let Some(first) = first(id, &old)
            && let Some(set) = self.by_first.get_mut(&first)
        {
            set.remove(id);
            if set.is_empty() {
                self.by_first.remove(&first);
            }
        }
        let Some(selector) = selector else { return };
        if let Some(first) = first(id, selector) {
            self.by_first.entry(first).or_default().insert(id.clone());
            self.selectors.insert(id.clone(), selector.clone());
        }
    }

    /// The objects of `namespace` whose selector chooses something with these labels.
    pub fn choosing<'a>(
        &'a self,
        namespace: &Arc<str>,
        of: &'a Labels,
    ) -> impl Iterator<Item = &'a Id> {
        of.iter()
            .filter_map(|(k, v)| {
                self.by_first
                    .get(&(namespace.clone(), k.clone(), v.clone()))
            })
            .flatten()
            .filter(|id| {
                self.selectors
                    .get(*id)
                    .is_some_and(|s| labels::selects(s, of))
            })
    }
}

fn first(id: &Id, selector: &Labels) -> Option<(Arc<str>, String, String)> {
    selector
        .first_key_value()
        .map(|(k, v)| (id.namespace.clone(), k.clone(), v.clone()))
}
