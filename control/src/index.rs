//! The pure heart of the controller: events in, changes of workloads, services and policies out. No I/O.
//!
//! ```text
//! Event --store, mark dirty--> {pods, services, policies, endpoints} --derive--> compare with what is published --> Delta
//! ```
//! An event marks only what can depend on it, found by label and selector indexes, so a change costs what it changes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use warren_core::policy::{Policy, PolicyKey};
use warren_core::service::ServiceKey;
use warren_core::workload::Uid;

use crate::model::{Event, Id, Object, ObjectKey, Origin};
use crate::warning::Warning;

pub mod authorization;
pub mod derive;
pub mod endpoints;
pub mod events;
pub mod labels;
pub mod peer;
pub mod placement;
pub mod publish;
pub mod reach;
pub mod scoped;
pub mod selector;
pub mod services;
pub mod store;

pub use placement::{KnownPod, Placement};

use store::Store;

/// The namespace whose policies without a selector cover the whole mesh.
pub const ROOT_NAMESPACE: &str = warren_api::codec::ROOT_NAMESPACES[0];

/// What the index is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// First part of every uid, such as `Kubernetes`.
    pub cluster: Arc<str>,
    /// Trust domain of every identity.
    pub trust_domain: Arc<str>,
    /// Domain of service names: `<name>.<namespace>.svc.<domain>`.
    pub cluster_domain: Arc<str>,
    /// See [`ROOT_NAMESPACE`].
    pub root_namespace: Arc<str>,
    /// The mesh is about to be taken away: no pod is in it any more, whatever labels say.
    pub leaving: bool,
    /// Every namespace is an object, which may come later than its pods: until then nobody knows whether they are in the mesh.
    pub namespaces_come: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster: "Kubernetes".into(),
            trust_domain: warren_core::identity::DEFAULT_TRUST_DOMAIN.into(),
            cluster_domain: "cluster.local".into(),
            root_namespace: ROOT_NAMESPACE.into(),
            leaving: false,
            namespaces_come: false,
        }
    }
}

/// What changed; None means removed. Each name at most once.
#[derive(Debug, Default)]
pub struct Delta {
    /// Workloads by uid.
    pub workloads: Vec<(Uid, Option<Arc<warren_core::Workload>>)>,
    /// Services.
    pub services: Vec<(ServiceKey, Option<Arc<warren_core::Service>>)>,
    /// Policies.
    pub policies: Vec<(PolicyKey, Option<Arc<Policy>>)>,
    /// Warnings about an object, replacing those before.
    pub warnings: Vec<(ObjectKey, Vec<Warning>)>,
}

impl Delta {
    /// Whether tunnels and agents need not be told anything.
    pub fn is_empty(&self) -> bool {
        self.workloads.is_empty() && self.services.is_empty() && self.policies.is_empty()
    }
}

/// How much was worked out; the tests hold it against the size of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Pods whose workload was derived.
    pub pods: u64,
    /// Services derived.
    pub services: u64,
    /// Policies compiled.
    pub policies: u64,
    /// Endpoints outside of pods derived.
    pub endpoints: u64,
}

/// What has to be derived again.
#[derive(Debug, Default)]
struct Dirty {
    pods: HashSet<Id>,
    services: HashSet<Id>,
    /// Objects whose warnings or compiled policies may be different.
    authorization: BTreeSet<Id>,
    peer: BTreeSet<Id>,
    endpoints: HashSet<endpoints::EndpointId>,
    /// EndpointSlices whose warnings may be different.
    slices: BTreeSet<Id>,
    policies: BTreeSet<PolicyKey>,
}

/// The index.
#[derive(Debug)]
pub struct Index {
    config: Config,
    store: Store,
    dirty: Dirty,
    counters: Counters,
    published: publish::Published,
    origins: HashMap<ObjectKey, Origin>,
}

impl Index {
    /// An index that knows nothing.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            store: Store::default(),
            dirty: Dirty::default(),
            counters: Counters::default(),
            published: publish::Published::default(),
            origins: HashMap::new(),
        }
    }

    /// Takes in events and returns what changed for tunnels and agents.
    pub fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Delta {
        for event in events {
            match event {
                Event::Apply(object, origin) => {
                    let key = object.key();
                    match origin {
                        Some(origin) => self.origins.insert(key, origin),
                        None => self.origins.remove(&key),
                    };
                    self.put(&object);
                }
                Event::Delete(key) => {
                    self.origins.remove(&key);
                    self.delete(&key);
                }
            }
        }
        self.publish()
    }

    /// Work done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Numbers of published workloads, services and policies.
    pub fn sizes(&self) -> (usize, usize, usize) {
        self.published.sizes()
    }

    fn put(&mut self, object: &Arc<Object>) {
        match &**object {
            Object::Namespace(meta) => self.put_namespace(Some(meta), &meta.id.name),
            Object::Node(meta) => self.put_node(Some(meta), &meta.id.name),
            Object::ServiceAccount(_) => {}
            Object::Pod(pod) => self.put_pod(Some(pod), &pod.meta.id),
            Object::Service(service) => self.put_service(Some(service), &service.meta.id),
            Object::EndpointSlice(slice) => self.put_slice(Some(slice), &slice.meta.id),
            Object::AuthorizationPolicy(meta, spec) => {
                self.put_authorization(Some((meta, spec)), &meta.id)
            }
            Object::PeerAuthentication(meta, spec) => self.put_peer(Some((meta, spec)), &meta.id),
        }
    }

    fn delete(&mut self, key: &ObjectKey) {
        use crate::model::Kind;
        match key.kind {
            Kind::Namespace => self.put_namespace(None, &key.id.name),
            Kind::Node => self.put_node(None, &key.id.name),
            Kind::ServiceAccount
            | Kind::GatewayClass
            | Kind::Gateway
            | Kind::HTTPRoute
            | Kind::GRPCRoute
            | Kind::TLSRoute
            | Kind::TCPRoute => {}
            Kind::Pod => self.put_pod(None, &key.id),
            Kind::Service => self.put_service(None, &key.id),
            Kind::EndpointSlice => self.put_slice(None, &key.id),
            Kind::AuthorizationPolicy => self.put_authorization(None, &key.id),
            Kind::PeerAuthentication => self.put_peer(None, &key.id),
        }
    }
}
