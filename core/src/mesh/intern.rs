//! One copy of each string that many workloads share: namespaces, nodes, clusters, service names.

use std::collections::HashSet;
use std::sync::Arc;

use crate::service::ServiceKey;
use crate::workload::Workload;

/// Strings that are in use, each once. What nobody else holds any more goes when the set has doubled.
#[derive(Debug, Default)]
pub(super) struct Interner {
    strings: HashSet<Arc<str>>,
    sweep_at: usize,
}

/// Small sets are not worth a sweep.
const FIRST_SWEEP: usize = 1024;

/// A copy starts empty: two sets that hold the same strings would never let go of any.
impl Clone for Interner {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Interner {
    /// Makes `workload` share its strings with those that were here before; its own names stay.
    pub(super) fn workload(&mut self, workload: &mut Workload) {
        let locality = &mut workload.locality;
        for s in [
            &mut workload.namespace,
            &mut workload.hostname,
            &mut workload.network,
            &mut workload.trust_domain,
            &mut workload.service_account,
            &mut workload.node,
            &mut workload.cluster,
            &mut workload.canonical_name,
            &mut workload.canonical_revision,
            &mut workload.workload_name,
            &mut locality.region,
            &mut locality.zone,
            &mut locality.subzone,
        ] {
            self.string(s);
        }
        for key in &mut workload.policies {
            self.string(&mut key.namespace);
            self.string(&mut key.name);
        }
        let services = std::mem::take(&mut workload.services);
        let shared = services
            .into_iter()
            .map(|(key, ports)| (self.service(key), ports));
        workload.services = shared.collect();
        self.sweep();
    }

    fn service(&mut self, mut key: ServiceKey) -> ServiceKey {
        self.string(&mut key.namespace);
        self.string(&mut key.hostname);
        key
    }

    fn string(&mut self, s: &mut Arc<str>) {
        match self.strings.get(s) {
            Some(shared) => *s = shared.clone(),
            None => drop(self.strings.insert(s.clone())),
        }
    }

    fn sweep(&mut self) {
        if self.strings.len() >= self.sweep_at.max(FIRST_SWEEP) {
            self.strings.retain(|s| Arc::strong_count(s) > 1);
            self.sweep_at = 2 * self.strings.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_become_one() {
        let mut interner = Interner::default();
        let [mut a, mut b] = ["a", "b"].map(|name| {
            let web = (ServiceKey::new("shop", "web.example"), Vec::new());
            Workload {
                services: [web].into(),
                ..Workload::new(name, "shop", name)
            }
        });
        let unshared = (a.clone(), b.clone());
        interner.workload(&mut a);
        interner.workload(&mut b);
        assert!(Arc::ptr_eq(&a.namespace, &b.namespace));
        let host = |w: &Workload| w.services.keys().next().map(|k| k.hostname.clone());
        assert!(Arc::ptr_eq(
            &host(&a).expect("a service"),
            &host(&b).expect("a service")
        ));
        assert_eq!((a, b), unshared, "the same to read");
    }

    #[test]
    fn strings_that_nobody_holds_go() {
        let mut interner = Interner::default();
        for i in 0..10 * FIRST_SWEEP {
            interner.workload(&mut Workload::new("a", &format!("ns{i}"), "a"));
        }
        assert!(interner.strings.len() <= FIRST_SWEEP);
    }
}
