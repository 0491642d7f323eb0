//! What the controller says: the mesh is updated first, then what of it concerns this node.

use std::collections::BTreeSet;
use std::time::Instant;

use warren_api::xds::Update;
use warren_core::Workload;
use warren_core::mesh::Change;
use warren_core::service::ServiceKey;
use warren_core::workload::{Locality, Uid};

use super::Node;
use crate::kernel::Kernel;

/// What of an update concerns this node.
#[derive(Default)]
struct Touched {
    services: BTreeSet<ServiceKey>,
    pods: BTreeSet<Uid>,
    /// A verdict may differ now.
    verdicts: bool,
}

impl<K: Kernel> Node<K> {
    pub(super) fn apply(&mut self, update: Update, now: Instant) {
        for rejected in &update.rejected {
            tracing::warn!("a resource of the controller is refused: {rejected}");
        }
        let touched = self.apply_to_mesh(&update);
        let first = update.addresses_synced && !self.addresses_synced;
        let before = self.model_complete();
        self.policies_synced |= update.policies_synced;
        self.addresses_synced |= update.addresses_synced;
        if touched.verdicts || before != self.model_complete() {
            self.reconsider(now);
        }
        for uid in &touched.pods {
            self.reconcile(uid, now);
        }
        self.update_services(touched.services, first, now);
        // Whoever demanded something wakes when the update is dropped, now that it was applied.
    }

    /// Whether everything has arrived: before, a policy that denies may be missing.
    pub(super) fn model_complete(&self) -> bool {
        self.policies_synced && self.addresses_synced
    }

    fn apply_to_mesh(&mut self, update: &Update) -> Touched {
        let mut memory = std::mem::take(&mut self.memory);
        let mut memory_changed = false;
        let mesh = self.mesh.clone();
        let mut mesh = mesh.write();
        let mut touched = Touched::default();
        for policy in &update.policies {
            self.touch(mesh.upsert_policy(policy.clone()), &mesh, &mut touched);
        }
        for key in &update.readable {
            self.touch(mesh.reopen(key), &mesh, &mut touched);
        }
        for (key, scope) in &update.unreadable {
            self.touch(mesh.close(key.clone(), *scope), &mesh, &mut touched);
        }
        for workload in &update.workloads {
            let old = mesh.workload(&workload.uid).cloned();
            let change = mesh.upsert_workload(workload.clone());
            let mine = self.pods.contains_key(&workload.uid);
            memory_changed |= memory.hear(workload);
            touched.verdicts |=
                mine && !change.is_empty() && old.is_none_or(|old| differ(&old, workload));
            self.touch(change, &mesh, &mut touched);
        }
        for service in &update.services {
            self.touch(mesh.upsert_service(service.clone()), &mesh, &mut touched);
        }
        for key in &update.removed_policies {
            self.touch(mesh.remove_policy(key), &mesh, &mut touched);
        }
        for uid in &update.removed_workloads {
            touched.verdicts |= self.pods.contains_key(uid);
            self.touch(mesh.remove_workload(uid), &mesh, &mut touched);
        }
        for key in &update.removed_services {
            self.touch(mesh.remove_service(key), &mesh, &mut touched);
        }
        self.memory = memory;
        self.memory_changed |= memory_changed;
        touched
    }

    /// Costs as much as the change, not as the node or the mesh; only a change of policies looks at every pod.
    fn touch(&self, change: Change, mesh: &warren_core::Mesh, touched: &mut Touched) {
        if !change.policies.is_empty() && !touched.verdicts {
            let covered = |uid| {
                mesh.workload(uid)
                    .is_some_and(|w| change.policies.covers(w))
            };
            touched.verdicts = self.pods.keys().any(covered);
        }
        touched.pods.extend(
            change
                .workloads
                .into_iter()
                .filter(|uid| self.pods.contains_key(uid)),
        );
        touched.services.extend(change.services);
    }

    fn update_services(&mut self, mut keys: BTreeSet<ServiceKey>, first: bool, now: Instant) {
        // Before everything has arrived, a service may be known without its endpoints.
        if !self.addresses_synced {
            return;
        }
        let mesh = self.mesh.clone();
        let mesh = mesh.read();
        let locality = mesh
            .workloads_on(&self.options.node)
            .map(|w| &w.locality)
            .find(|l| **l != Locality::default());
        let locality = locality.cloned().unwrap_or_default();
        let moved = std::mem::replace(&mut self.locality, locality) != self.locality;
        if first || moved {
            keys = mesh.services().map(|s| s.key()).collect();
        }
        let origin = warren_core::balance::Origin {
            network: mesh.network(),
            cluster: &self.options.cluster,
            node: &self.options.node,
            locality: &self.locality,
        };
        for key in keys {
            self.services
                .update(&mut self.kernel, &mesh, &key, origin, now);
        }
        if first {
            self.services.drop_stale(&mut self.kernel, now);
        }
        self.names.name_services(self.services.take_named());
    }
}

/// Whether a verdict about connections from or to a workload may differ; readiness and the like play no part.
fn differ(a: &Workload, b: &Workload) -> bool {
    a.identity() != b.identity()
        || a.addresses != b.addresses
        || a.protocol != b.protocol
        || a.node != b.node
        || a.cluster != b.cluster
        || a.waypoint != b.waypoint
        || a.policies != b.policies
        || a.native_tunnel != b.native_tunnel
        || a.host_network != b.host_network
        || a.direct_flows_off != b.direct_flows_off
}
