//! One copy of each text that many resources share: namespaces, nodes, accounts, names of services. In a large mesh these
//! are most of a workload's memory.

use std::collections::HashSet;
use std::sync::Arc;

use warren_core::service::ServiceKey;
use warren_core::workload::{GatewayAddress, GatewayDestination};
use warren_core::{Service, Workload};

/// Entries below which it is not worth looking for unused ones.
const FIRST_SWEEP: usize = 1024;

/// The texts in use. Texts that only this table still holds are dropped whenever it has doubled.
#[derive(Debug)]
pub(super) struct Interner {
    texts: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            texts: HashSet::new(),
            sweep_at: FIRST_SWEEP,
        }
    }
}

impl Interner {
    /// Shares the texts of a workload, all but its own name.
    pub fn workload(&mut self, w: &mut Workload) {
        for text in [
            &mut w.namespace,
            &mut w.hostname,
            &mut w.network,
            &mut w.trust_domain,
            &mut w.service_account,
            &mut w.node,
            &mut w.cluster,
            &mut w.canonical_name,
            &mut w.canonical_revision,
            &mut w.workload_name,
            &mut w.locality.region,
            &mut w.locality.zone,
            &mut w.locality.subzone,
        ] {
            self.share(text);
        }
        for key in &mut w.policies {
            self.share(&mut key.namespace);
            self.share(&mut key.name);
        }
        for gateway in [&mut w.waypoint, &mut w.network_gateway]
            .into_iter()
            .flatten()
        {
            self.gateway(gateway);
        }
        let services = std::mem::take(&mut w.services);
        w.services = services
            .into_iter()
            .map(|(key, ports)| (self.service_key(key), ports))
            .collect();
    }

    /// Shares the texts of a service.
    pub fn service(&mut self, s: &mut Service) {
        self.share(&mut s.namespace);
        self.share(&mut s.hostname);
        for address in &mut s.addresses {
            self.share(&mut address.network);
        }
        if let Some(gateway) = &mut s.waypoint {
            self.gateway(gateway);
        }
    }

    fn gateway(&mut self, gateway: &mut GatewayAddress) {
        match &mut gateway.destination {
            GatewayDestination::Service(key) => *key = self.service_key(key.clone()),
            GatewayDestination::Address(address) => self.share(&mut address.network),
        }
    }

    fn service_key(&mut self, mut key: ServiceKey) -> ServiceKey {
        self.share(&mut key.namespace);
        self.share(&mut key.hostname);
        key
    }

    fn share(&mut self, text: &mut Arc<str>) {
        if let Some(known) = self.texts.get(&**text) {
            text.clone_from(known);
            return;
        }
        if self.texts.len() >= self.sweep_at {
            self.texts.retain(|t| Arc::strong_count(t) > 1);
            self.sweep_at = (self.texts.len() * 2).max(FIRST_SWEEP);
        }
        self.texts.insert(text.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_forgets() {
        let mut interner = Interner::default();
        let (mut a, mut b): (Arc<str>, Arc<str>) = ("shop".into(), "shop".into());
        interner.share(&mut a);
        interner.share(&mut b);
        assert!(Arc::ptr_eq(&a, &b));
        for i in 0..10 * FIRST_SWEEP {
            interner.share(&mut i.to_string().into());
        }
        assert!(
            interner.texts.len() <= FIRST_SWEEP,
            "unused texts are dropped: {}",
            interner.texts.len()
        );
        let mut c: Arc<str> = "shop".into();
        interner.share(&mut c);
        assert!(Arc::ptr_eq(&a, &c), "used texts stay");
    }
}
