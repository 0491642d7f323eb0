//! Which pods are on which node: what the CA has to know.

use std::sync::Arc;

use super::Index;
use crate::model::{Id, Pod};

/// A pod as far as a token can be held against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPod {
    /// Kubernetes' unique id; empty where unknown.
    pub uid: Arc<str>,
    /// Node.
    pub node: Arc<str>,
    /// Service account.
    pub service_account: Arc<str>,
}

/// Answers questions about pods.
pub trait Placement: Send + Sync {
    /// The pod of this name, unless it has finished.
    fn pod(&self, namespace: &str, name: &str) -> Option<KnownPod>;
    /// Whether any pod of this service account is known.
    fn knows_account(&self, namespace: &str, service_account: &str) -> bool;
    /// Whether a pod of this service account is on the node.
    fn runs_on(&self, node: &str, namespace: &str, service_account: &str) -> bool;
}

impl Placement for Index {
    fn pod(&self, namespace: &str, name: &str) -> Option<KnownPod> {
        let pod = self.store.pods.get(&Id::new(namespace, name))?;
        Some(KnownPod {
            uid: pod.meta.uid.clone(),
            node: pod.node.clone(),
            service_account: pod.service_account.clone(),
        })
    }

    fn knows_account(&self, namespace: &str, service_account: &str) -> bool {
        let pods = self
            .store
            .pod_labels
            .in_namespace(namespace)
            .filter_map(|id| self.store.pods.get(id));
        pods.into_iter()
            .any(|p| &*p.service_account == service_account)
    }

    fn runs_on(&self, node: &str, namespace: &str, service_account: &str) -> bool {
        let pods = self.store.pods_by_node.get(node).into_iter().flatten();
        let is = |p: &&Arc<Pod>| {
            *p.meta.id.namespace == *namespace && &*p.service_account == service_account
        };
        pods.filter_map(|id| self.store.pods.get(id))
            .any(|p| is(&p))
    }
}
