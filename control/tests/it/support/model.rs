//! An index fed with YAML.

use std::collections::BTreeMap;
use std::sync::Arc;

use warren_control::index::{Config, Delta, Index};
use warren_control::model::{Event, Object};
use warren_control::source::decode::decode;
use warren_control::source::dir::document::parse;
use warren_core::policy::Policy;
use warren_core::{Service, Workload};

/// The objects of a YAML text; every one has to be good.
pub fn objects(yaml: &str) -> Vec<Object> {
    let (documents, malformed) = parse(yaml, false);
    assert_eq!(malformed, [], "{yaml}");
    documents
        .into_iter()
        .map(|d| {
            let decoded = decode(d.value).unwrap_or_else(|r| panic!("{:?}", r.note));
            // Short Services of tests.
            let mut notes = decoded.notes;
            notes.retain(|n| !n.reason.contains("it has no ports"));
            assert_eq!(notes, [], "{yaml}");
            decoded.object.expect("a kind that the controller takes")
        })
        .collect()
}

/// An index and everything that it published, as a client would hold it.
pub struct World {
    pub index: Index,
    pub workloads: BTreeMap<String, Arc<Workload>>,
    pub services: BTreeMap<String, Arc<Service>>,
    pub policies: BTreeMap<String, Arc<Policy>>,
    pub warnings: BTreeMap<String, Vec<String>>,
}

impl World {
    pub fn new(yaml: &str) -> Self {
        Self::with(Config::default(), yaml)
    }

    /// The same with other settings.
    pub fn with(config: Config, yaml: &str) -> Self {
        let mut world = Self {
            index: Index::new(config),
            workloads: BTreeMap::new(),
            services: BTreeMap::new(),
            policies: BTreeMap::new(),
            warnings: BTreeMap::new(),
        };
        world.apply(yaml);
        world
    }

    pub fn apply(&mut self, yaml: &str) -> Delta {
        let events = objects(yaml).into_iter();
        self.events(events.map(|o| Event::Apply(Arc::new(o), None)))
    }

    /// Takes in what a source reported.
    pub fn events(&mut self, events: impl IntoIterator<Item = Event>) -> Delta {
        let delta = self.index.apply(events);
        self.take(&delta);
        delta
    }

    pub fn delete(&mut self, yaml: &str) -> Delta {
        let events = objects(yaml).into_iter().map(|o| Event::Delete(o.key()));
        let delta = self.index.apply(events);
        self.take(&delta);
        delta
    }

    fn take(&mut self, delta: &Delta) {
        fn merge<K: ToString, V>(
            into: &mut BTreeMap<String, Arc<V>>,
            from: &[(K, Option<Arc<V>>)],
        ) {
            for (key, value) in from {
                match value {
                    Some(value) => into.insert(key.to_string(), value.clone()),
                    None => into.remove(&key.to_string()),
                };
            }
        }
        merge(&mut self.workloads, &delta.workloads);
        merge(&mut self.services, &delta.services);
        merge(&mut self.policies, &delta.policies);
        for (key, warnings) in &delta.warnings {
            let texts: Vec<String> = warnings.iter().map(|w| w.reason.clone()).collect();
            self.warnings.insert(key.to_string(), texts);
        }
        self.warnings.retain(|_, w| !w.is_empty());
    }

    /// The workload of pod `<namespace>/<name>`.
    pub fn pod(&self, name: &str) -> &Workload {
        let key = format!("Kubernetes//Pod/{name}");
        self.workloads
            .get(&key)
            .unwrap_or_else(|| panic!("{key} in {:?}", self.workloads.keys()))
    }

    pub fn policy(&self, name: &str) -> &Policy {
        self.policies
            .get(name)
            .unwrap_or_else(|| panic!("{name} in {:?}", self.policies.keys()))
    }

    /// Names of the policies that a pod names.
    pub fn attached(&self, pod: &str) -> Vec<String> {
        self.pod(pod)
            .policies
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

/// A ready pod with an address, as a kubelet would report it.
pub fn pod(namespace: &str, name: &str, app: &str, ip: &str, port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}}}
spec:
  nodeName: a
  serviceAccountName: {app}
  containers: [{{name: c, image: i, ports: [{{name: http, containerPort: {port}}}]}}]
status:
  phase: Running
  podIP: \"{ip}\"
  podIPs: [{{ip: \"{ip}\"}}]
  conditions: [{{type: Ready, status: \"True\"}}]
---
"
    )
}

/// A namespace with the mesh switched on.
pub fn meshed(namespace: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}, labels: {{warren.dev/mesh: enabled}}}}}}\n---\n"
    )
}
