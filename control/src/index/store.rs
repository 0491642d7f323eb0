//! What the index remembers of the objects, with the indexes that find dependents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use warren_core::workload::Locality;

use super::authorization::Compiled;
use super::endpoints::EndpointId;
use super::labels::LabelIndex;
use super::peer::Peer;
use super::reach::Chosen;
use super::selector::SelectorIndex;
use crate::model::labels::Traits;
use crate::model::{EndpointSlice, Id, Labels, Pod, Service, labels};

/// Everything known.
#[derive(Debug, Default)]
pub struct Store {
    /// Namespaces.
    pub namespaces: HashMap<Arc<str>, Traits>,
    /// Nodes.
    pub nodes: HashMap<Arc<str>, Locality>,
    /// Pods that have not finished.
    pub pods: HashMap<Id, Arc<Pod>>,
    /// Those pods by label.
    pub pod_labels: LabelIndex,
    /// Those pods by node.
    pub pods_by_node: HashMap<Arc<str>, BTreeSet<Id>>,
    /// Those pods that have an address of their own, by address.
    pub pods_by_ip: HashMap<IpAddr, BTreeSet<Id>>,
    /// Pods that are being deleted and still serve, by namespace.
    pub draining: HashMap<Arc<str>, BTreeSet<Id>>,
    /// Services.
    pub services: HashMap<Id, Arc<Service>>,
    /// Services by selector.
    pub service_selectors: SelectorIndex,
    /// Services by the addresses that are their own.
    pub services_by_ip: HashMap<IpAddr, BTreeSet<Id>>,
    /// EndpointSlices.
    pub slices: HashMap<Id, Arc<EndpointSlice>>,
    /// EndpointSlices by Service.
    pub slices_by_service: HashMap<Id, BTreeSet<Id>>,
    /// EndpointSlices by the addresses they list.
    pub slices_by_endpoint: HashMap<EndpointId, BTreeSet<Id>>,
    /// Endpoints by address.
    pub endpoints_by_ip: HashMap<IpAddr, BTreeSet<EndpointId>>,
    /// AuthorizationPolicies.
    pub authorizations: HashMap<Id, Compiled>,
    /// Those with a selector.
    pub authorization_selectors: SelectorIndex,
    /// Those with targetRefs, by Service.
    pub authorizations_by_service: HashMap<Id, BTreeSet<Id>>,
    /// Enforced ALLOW policies without selector, by namespace; the root namespace's cover the mesh.
    pub wide_allows: HashMap<Arc<str>, BTreeSet<Id>>,
    /// PeerAuthentications.
    pub peers: HashMap<Id, Peer>,
    /// Those with a selector.
    pub peer_selectors: SelectorIndex,
    /// Those without, by namespace, the one in force first.
    pub wide_peers: HashMap<Arc<str>, BTreeSet<(i64, Arc<str>)>>,
    /// How many pods policies choose.
    pub chosen: Chosen,
    /// Pods to which an ALLOW policy with targetRefs applies; ordered, so that those of a namespace are together.
    pub pods_in_service_allow: BTreeMap<Arc<str>, BTreeSet<Id>>,
}

impl Store {
    /// Pods that a selector chooses; `namespace` None means everywhere. An empty selector chooses all.
    pub fn chosen_pods(&self, namespace: Option<&str>, selector: &Labels) -> Vec<Id> {
        let candidates = self.pod_labels.candidates(namespace, selector);
        let chosen = |id: &&&Id| {
            self.pods
                .get(**id)
                .is_some_and(|p| labels::selects(selector, &p.meta.labels))
        };
        candidates
            .iter()
            .filter(chosen)
            .map(|id| (*id).clone())
            .collect()
    }

    /// Whether a Service has a ready pod other than this one.
    pub fn has_ready_pod(&self, service: &Service, other_than: &Id) -> bool {
        let namespace = Some(&*service.meta.id.namespace);
        let candidates = self.pod_labels.candidates(namespace, &service.selector);
        candidates.iter().any(|id| {
            let pod = self.pods.get(*id).filter(|p| p.ready && *id != other_than);
            pod.is_some_and(|p| labels::selects(&service.selector, &p.meta.labels))
        })
    }

    /// Traits of a namespace; those of an unknown one are empty.
    pub fn namespace(&self, name: &str) -> Traits {
        self.namespaces.get(name).copied().unwrap_or_default()
    }
}

/// Adds `value` to, or removes it from, the set of `key`; an empty set goes.
pub fn member<K: std::hash::Hash + Eq, V: Ord>(
    map: &mut HashMap<K, BTreeSet<V>>,
    key: K,
    value: V,
    present: bool,
) {
    if present {
        map.entry(key).or_default().insert(value);
    } else if let Some(set) = map.get_mut(&key) {
        set.remove(&value);
        if set.is_empty() {
            map.remove(&key);
        }
    }
}
