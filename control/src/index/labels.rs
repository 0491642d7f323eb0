//! Objects by label: which pods does a selector choose?

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{Id, Labels};

type Pair = (Arc<str>, Arc<str>);

/// Objects by namespace, and by namespace and label.
#[derive(Debug, Default)]
pub struct LabelIndex {
    all: HashMap<Arc<str>, BTreeSet<Id>>,
    by_label: HashMap<Pair, HashMap<Arc<str>, BTreeSet<Id>>>,
}

impl LabelIndex {
    /// Adds an object.
    pub fn insert(&mut self, id: &Id, labels: &Labels) {
        self.all
            .entry(id.namespace.clone())
            .or_default()
            .insert(id.clone());
        for pair in pairs(labels) {
            let namespaces = self.by_label.entry(pair).or_default();
            namespaces
                .entry(id.namespace.clone())
                .or_default()
                .insert(id.clone());
        }
    }

    /// Removes an object that was added with these labels.
    pub fn remove(&mut self, id: &Id, labels: &Labels) {
        remove(&mut self.all, id);
        for pair in pairs(labels) {
            if let Some(namespaces) = self.by_label.get_mut(&pair) {
                remove(namespaces, id);
                if namespaces.is_empty() {
                    self.by_label.remove(&pair);
                }
            }
        }
    }

    /// All objects of a namespace.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Id> {
        self.all.get(namespace).into_iter().flatten()
    }

    /// All objects.
    pub fn everywhere(&self) -> impl Iterator<Item = &Id> {
        self.all.values().flatten()
    }

    /// Objects that `selector` may choose: those with its rarest label, so callers compare the rest. An empty selector
    /// chooses all. `namespace` None means every namespace.
    pub fn candidates<'a>(&'a self, namespace: Option<&str>, selector: &Labels) -> Vec<&'a Id> {
        let of_pair = |pair: Pair| match (self.by_label.get(&pair), namespace) {
            (None, _) => Vec::new(),
            (Some(all), Some(ns)) => all.get(ns).map(|s| vec![s]).unwrap_or_default(),
            (Some(all), None) => all.values().collect(),
        };
        let rarest = pairs(selector)
            .map(of_pair)
            .min_by_key(|sets| sets.iter().map(|s| s.len()).sum::<usize>());
        match (rarest, namespace) {
            (Some(sets), _) => sets.into_iter().flatten().collect(),
            (None, Some(ns)) => self.in_namespace(ns).collect(),
            (None, None) => self.everywhere().collect(),
        }
    }
}

fn pairs(labels: &Labels) -> impl Iterator<Item = Pair> + '_ {
    labels
        .iter()
        .map(|(k, v)| (k.as_str().into(), v.as_str().into()))
}

fn remove(namespaces: &mut HashMap<Arc<str>, BTreeSet<Id>>, id: &Id) {
    if let Some(set) = namespaces.get_mut(&id.namespace) {
        set.remove(id);
        if set.is_empty() {
            namespaces.remove(&id.namespace);
        }
    }
}
