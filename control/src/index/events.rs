//! Events about Namespaces, Nodes, Pods, Services and EndpointSlices: what they change, and what depends on it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use warren_core::workload::Locality;

use super::Index;
use super::endpoints::EndpointId;
use super::store::member;
use crate::model::labels::{self, REGION, SUBZONE, Traits, ZONE};
use crate::model::{EndpointSlice, Id, Kind, Labels, Meta, ObjectKey, Pod, Service};

impl Index {
    pub(super) fn put_namespace(&mut self, meta: Option<&Meta>, name: &Arc<str>) {
        let after = meta.map(|m| Traits::of(m).0);
        let before = match after {
            Some(traits) => self.store.namespaces.insert(name.clone(), traits),
            None => self.store.namespaces.remove(name),
        };
        let awaited = self.config.namespaces_come && before.is_some() != after.is_some();
        if awaited || before.unwrap_or_default() != after.unwrap_or_default() {
            self.dirty
                .pods
                .extend(self.store.pod_labels.in_namespace(name).cloned());
        }
        let key = ObjectKey {
            kind: Kind::Namespace,
            id: Id::new("", name.clone()),
        };
        self.warn_traits(key, meta);
    }

    pub(super) fn put_node(&mut self, meta: Option<&Meta>, name: &Arc<str>) {
        let label = |m: &Meta, key: &str| Arc::from(m.labels.get(key).map_or("", String::as_str));
        let after = meta.map(|m| Locality {
            region: label(m, REGION),
            zone: label(m, ZONE),
            subzone: label(m, SUBZONE),
        });
        let before = match &after {
            Some(locality) => self.store.nodes.insert(name.clone(), locality.clone()),
            None => self.store.nodes.remove(name),
        };
        if before.unwrap_or_default() != after.unwrap_or_default() {
            self.dirty.pods.extend(
                self.store
                    .pods_by_node
                    .get(name)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
        }
    }

    /// A finished pod counts as gone.
    pub(super) fn put_pod(&mut self, pod: Option<&Arc<Pod>>, id: &Id) {
        let after = pod.filter(|p| !p.finished).cloned();
        let before = self.store.pods.get(id).cloned();
        if before == after {
            return;
        }
        for (pod, present) in [(&before, false), (&after, true)] {
            let Some(pod) = pod else { continue };
            if present {
                self.store.pod_labels.insert(id, &pod.meta.labels);
            } else {
                self.store.pod_labels.remove(id, &pod.meta.labels);
            }
            member(
                &mut self.store.pods_by_node,
                pod.node.clone(),
                id.clone(),
                present,
            );
            for ip in own_addresses(pod) {
                member(&mut self.store.pods_by_ip, ip, id.clone(), present);
            }
        }
        let labels = |p: &Option<Arc<Pod>>| p.as_ref().map(|p| p.meta.labels.clone());
        let (labels_before, labels_after) = (labels(&before), labels(&after));
        if labels_before != labels_after {
            for (labels, present) in [(labels_before, false), (labels_after, true)] {
                if let Some(labels) = labels {
                    self.count_pod(id, &labels, present);
                }
            }
        }
        let ips = |p: &Option<Arc<Pod>>| p.as_deref().map(own_addresses).unwrap_or_default();
        let (ips_before, ips_after) = (ips(&before), ips(&after));
        for ip in ips_before.symmetric_difference(&ips_after) {
            self.dirty.endpoints.extend(
                self.store
                    .endpoints_by_ip
                    .get(ip)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
            // Others that claim the address have to be told apart anew.
            self.dirty
                .pods
                .extend(self.store.pods_by_ip.get(ip).into_iter().flatten().cloned());
        }
        self.note_draining(id, before.as_deref(), after.as_deref());
        match after {
            Some(pod) => self.store.pods.insert(id.clone(), pod),
            None => self.store.pods.remove(id),
        };
        self.dirty.pods.insert(id.clone());
    }

    /// Where the only ready pod of a Service comes or goes, its pods that are being deleted stop or begin to count.
    fn note_draining(&mut self, id: &Id, before: Option<&Pod>, after: Option<&Pod>) {
        let draining = after.is_some_and(|p| p.draining);
        let namespace = &id.namespace;
        member(
            &mut self.store.draining,
            namespace.clone(),
            id.clone(),
            draining,
        );
        let (was, is) = (
            before.filter(|p| p.ready).map(|p| &p.meta.labels),
            after.filter(|p| p.ready).map(|p| &p.meta.labels),
        );
        let Some(others) = self.store.draining.get(namespace).filter(|_| was != is) else {
            return;
        };
        for labels in [was, is].into_iter().flatten() {
            for service in self.store.service_selectors.choosing(namespace, labels) {
                let service = self.store.services.get(service);
                let Some(service) = service.filter(|s| !self.store.has_ready_pod(s, id)) else {
                    continue;
                };
                let chosen = others.iter().filter(|other| {
                    let pod = self.store.pods.get(*other);
                    pod.is_some_and(|p| labels::selects(&service.selector, &p.meta.labels))
                });
                self.dirty.pods.extend(chosen.cloned());
            }
        }
    }

    pub(super) fn put_service(&mut self, service: Option<&Arc<Service>>, id: &Id) {
        let after = service.cloned();
        let before = match &after {
            Some(service) => self.store.services.insert(id.clone(), service.clone()),
            None => self.store.services.remove(id),
        };
        if before == after {
            return;
        }
        self.note_addresses(id, before.as_deref(), after.as_deref());
        let reach = |s: &Option<Arc<Service>>| {
            s.as_ref().map(|s| {
                let flags = (s.external_name, s.publish_not_ready);
                (s.selector.clone(), s.ports.clone(), flags)
            })
        };
        if reach(&before) != reach(&after) {
            let selector = |s: &Option<Arc<Service>>| s.as_ref().map(|s| s.selector.clone());
            self.mark_selected(&id.namespace, selector(&before));
            self.mark_selected(&id.namespace, selector(&after));
            self.store
                .service_selectors
                .set(id, selector(&after).as_ref());
            for slice in self
                .store
                .slices_by_service
                .get(id)
                .cloned()
                .unwrap_or_default()
            {
                if let Some(slice) = self.store.slices.get(&slice).cloned() {
                    self.mark_endpoints(&slice);
                }
            }
        }
        if before.is_some() != after.is_some() {
            let policies = self.store.authorizations_by_service.get(id);
            self.dirty
                .authorization
                .extend(policies.into_iter().flatten().cloned());
        }
        self.dirty.services.insert(id.clone());
        let key = ObjectKey {
            kind: Kind::Service,
            id: id.clone(),
        };
        self.warn_traits(key, service.map(|s| &s.meta));
    }

    /// An address that comes to be a Service's is no endpoint any more, and the other way round.
    fn note_addresses(&mut self, id: &Id, before: Option<&Service>, after: Option<&Service>) {
        let (was, is) = (service_addresses(before), service_addresses(after));
        for ip in was.symmetric_difference(&is) {
            let present = is.contains(ip);
            member(&mut self.store.services_by_ip, *ip, id.clone(), present);
            for endpoint in self.store.endpoints_by_ip.get(ip).into_iter().flatten() {
                let slices = self.store.slices_by_endpoint.get(endpoint);
                self.dirty
                    .slices
                    .extend(slices.into_iter().flatten().cloned());
                self.dirty.endpoints.insert(endpoint.clone());
            }
        }
    }

    pub(super) fn put_slice(&mut self, slice: Option<&Arc<EndpointSlice>>, id: &Id) {
        let after = slice.cloned();
        let before = match &after {
            Some(slice) => self.store.slices.insert(id.clone(), slice.clone()),
            None => self.store.slices.remove(id),
        };
        if before == after {
            return;
        }
        for (slice, present) in [(&before, false), (&after, true)] {
            let Some(slice) = slice else { continue };
            let service = Id::new(id.namespace.clone(), slice.service.clone());
            member(
                &mut self.store.slices_by_service,
                service,
                id.clone(),
                present,
            );
            for endpoint in endpoint_ids(slice) {
                member(
                    &mut self.store.slices_by_endpoint,
                    endpoint.clone(),
                    id.clone(),
                    present,
                );
                let listed = self.store.slices_by_endpoint.contains_key(&endpoint);
                member(
                    &mut self.store.endpoints_by_ip,
                    endpoint.ip,
                    endpoint,
                    listed,
                );
            }
            self.mark_endpoints(slice);
        }
    }

    /// Pods that a Service's selector chooses; an empty one chooses none.
    fn mark_selected(&mut self, namespace: &str, selector: Option<Labels>) {
        if let Some(selector) = selector.filter(|s| !s.is_empty()) {
            self.dirty
                .pods
                .extend(self.store.chosen_pods(Some(namespace), &selector));
        }
    }

    fn mark_endpoints(&mut self, slice: &EndpointSlice) {
        for endpoint in endpoint_ids(slice) {
            self.dirty.pods.extend(
                self.store
                    .pods_by_ip
                    .get(&endpoint.ip)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
            self.dirty.endpoints.insert(endpoint);
        }
        self.dirty.slices.insert(slice.meta.id.clone());
    }
}

fn endpoint_ids(slice: &EndpointSlice) -> BTreeSet<EndpointId> {
    let namespace = &slice.meta.id.namespace;
    slice
        .endpoints
        .iter()
        .map(|e| EndpointId {
            namespace: namespace.clone(),
            ip: e.ip,
        })
        .collect()
}

/// One that is only a name has none.
fn service_addresses(service: Option<&Service>) -> BTreeSet<IpAddr> {
    let services = service.filter(|s| !s.external_name).into_iter();
    services
        .flat_map(|s| s.cluster_ips.iter().copied())
        .collect()
}

/// A pod on the host's network has none.
fn own_addresses(pod: &Pod) -> BTreeSet<IpAddr> {
    if pod.host_network {
        BTreeSet::new()
    } else {
        pod.ips.iter().copied().collect()
    }
}
