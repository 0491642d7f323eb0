//! What was received: names and versions, and the difference that a response makes. Pure; no I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prost_types::Any;
use warren_core::policy::{PolicyKey, PolicyScope};
use warren_core::service::ServiceKey;
use warren_core::workload::Uid;

use super::Update;
use super::intern::Interner;
use crate::codec::{self, ADDRESS_TYPE, AUTHORIZATION_TYPE, Address, DecodeError};
use crate::r#gen::discovery::{DeltaDiscoveryResponse, Resource};

/// The two types of resources that are subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Policies,
    Addresses,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Policies, Self::Addresses];

    pub fn type_url(self) -> &'static str {
        match self {
            Self::Policies => AUTHORIZATION_TYPE,
            Self::Addresses => ADDRESS_TYPE,
        }
    }

    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.type_url() == url)
    }
}

/// What a resource name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Object {
    Policy(PolicyKey),
    Workload(Uid),
    Service(ServiceKey),
}

#[derive(Debug)]
struct Entry {
    version: String,
    object: Object,
}

/// Everything received, by the names under which it was sent.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    policies: HashMap<String, Entry>,
    addresses: HashMap<String, Entry>,
    /// An object can be known by several names; it is gone when the last one is.
    names: HashMap<Object, u32>,
    /// Policies of which there is no version that could be read.
    unreadable: BTreeMap<String, (PolicyKey, PolicyScope)>,
    synced: [bool; 2],
    counts: Counts,
    texts: Interner,
}

/// How many objects are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub workloads: usize,
    pub services: usize,
    pub policies: usize,
}

impl Counts {
    fn of(&mut self, object: &Object) -> &mut usize {
        match object {
            Object::Workload(_) => &mut self.workloads,
            Object::Service(_) => &mut self.services,
            Object::Policy(_) => &mut self.policies,
        }
    }
}

/// The effect of one response.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub update: Update,
    /// Names that the response answers, aliases included; empty unless asked for.
    pub present: Vec<String>,
    /// Names of which the response says that there is nothing; empty unless asked for.
    pub absent: Vec<String>,
    /// Names whose newest version is good, or that are gone: no longer rejected.
    pub accepted: Vec<String>,
    pub rejected: Vec<(String, DecodeError)>,
}

impl Inventory {
    /// Takes a response in. Bad resources leave their earlier version in place.
    pub fn apply(
        &mut self,
        kind: Kind,
        response: DeltaDiscoveryResponse,
        list_names: bool,
    ) -> Applied {
        let mut applied = Applied::default();
        for resource in response.resources {
            let result = self.upsert(kind, &resource, &mut applied, list_names);
            if list_names {
                applied.present.push(resource.name.clone());
                applied.present.extend(resource.aliases);
            }
            match result {
                Ok(()) => {
                    self.readable(kind, &resource.name, &mut applied.update);
                    applied.accepted.push(resource.name);
                }
                Err(e) => {
                    if kind == Kind::Policies {
                        let any = resource.resource.unwrap_or_default();
                        self.unreadable(&resource.name, &any, &mut applied.update);
                    }
                    applied.update.rejected.push(e.clone());
                    applied.rejected.push((resource.name, e));
                }
            }
        }
        for name in response.removed_resources {
            if let Some(entry) = self.entries(kind).remove(&name) {
                self.release(entry.object, &mut applied.update);
            }
            self.readable(kind, &name, &mut applied.update);
            if list_names {
                applied.absent.push(name.clone());
            }
            applied.accepted.push(name);
        }
        self.keep_readded(&mut applied.update);
        if !response.more {
            self.synced[kind as usize] = true;
        }
        applied.update.policies_synced = self.is_synced(Kind::Policies);
        applied.update.addresses_synced = self.is_synced(Kind::Addresses);
        applied
    }

    /// Whether all of `kind` arrived at least once.
    pub fn is_synced(&self, kind: Kind) -> bool {
        self.synced[kind as usize]
    }

    /// Names and versions of `kind`, as `initial_resource_versions` wants them.
    pub fn versions(&self, kind: Kind) -> impl Iterator<Item = (String, String)> {
        let entries = match kind {
            Kind::Policies => &self.policies,
            Kind::Addresses => &self.addresses,
        };
        // Told as well, without a version: so the controller sends them again, or says that they are gone.
        let unreadable = self
            .unreadable
            .keys()
            .filter(move |_| kind == Kind::Policies);
        entries
            .iter()
            .map(|(name, e)| (name.clone(), e.version.clone()))
            .chain(unreadable.map(|name| (name.clone(), String::new())))
    }

    /// Policies without a version that could be read, and what they may cover.
    pub fn closed(&self) -> &BTreeMap<String, (PolicyKey, PolicyScope)> {
        &self.unreadable
    }

    /// How many objects are known.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn entries(&mut self, kind: Kind) -> &mut HashMap<String, Entry> {
        match kind {
            Kind::Policies => &mut self.policies,
            Kind::Addresses => &mut self.addresses,
        }
    }

    fn upsert(
        &mut self,
        kind: Kind,
        resource: &Resource,
        applied: &mut Applied,
        list_names: bool,
    ) -> Result<(), DecodeError> {
        let empty = Any::default();
        let any = resource.resource.as_ref().unwrap_or(&empty);
        let update = &mut applied.update;
        let object = match kind {
            Kind::Policies => {
                let policy = codec::unpack_policy(&resource.name, any)?;
                let key = policy.key.clone();
                update.policies.push(Arc::new(policy));
                Object::Policy(key)
            }
            Kind::Addresses => {
                let address = codec::unpack_address(&resource.name, any)?;
                if list_names {
                    applied.present.extend(names_of(&address));
                }
                match address {
                    Address::Workload(mut w) => {
                        self.texts.workload(Arc::make_mut(&mut w));
                        let uid = w.uid.clone();
                        update.workloads.push(w);
                        Object::Workload(uid)
                    }
                    Address::Service(mut s) => {
                        self.texts.service(Arc::make_mut(&mut s));
                        let key = s.key();
                        update.services.push(s);
                        Object::Service(key)
                    }
                }
            }
        };
        self.remember(kind, resource, object, update);
        Ok(())
    }

    /// A policy without an earlier version cannot be read.
    fn unreadable(&mut self, name: &str, any: &Any, update: &mut Update) {
        if self.policies.contains_key(name) {
            return;
        }
        let covers = codec::unreadable_policy(name, any);
        let before = self.unreadable.insert(name.to_owned(), covers.clone());
        if before.as_ref() == Some(&covers) {
            return;
        }
        tracing::warn!(
            policy = name,
            "a policy cannot be read: {}",
            describe_closed(&covers)
        );
        update.readable.extend(before.map(|(key, _)| key));
        update.unreadable.push(covers);
    }

    fn readable(&mut self, kind: Kind, name: &str, update: &mut Update) {
        if kind == Kind::Policies
            && let Some((key, _)) = self.unreadable.remove(name)
        {
            tracing::info!(
                policy = name,
                "a policy that could not be read holds nothing closed any more"
            );
            update.readable.push(key);
        }
    }

    fn remember(&mut self, kind: Kind, resource: &Resource, object: Object, update: &mut Update) {
        let names = self.names.entry(object.clone()).or_insert(0);
        if *names == 0 {
            *self.counts.of(&object) += 1;
        }
        *names += 1;
        let entry = Entry {
            version: resource.version.clone(),
            object,
        };
        if let Some(old) = self.entries(kind).insert(resource.name.clone(), entry) {
            self.release(old.object, update);
        }
    }

    /// One name less for `object`; without any it is reported as removed.
    fn release(&mut self, object: Object, update: &mut Update) {
        if let Some(count) = self.names.get_mut(&object) {
            *count -= 1;
            if *count > 0 {
                return;
            }
        }
        self.names.remove(&object);
        *self.counts.of(&object) -= 1;
        match object {
            Object::Policy(key) => update.removed_policies.push(key),
            Object::Workload(uid) => update.removed_workloads.push(uid),
            Object::Service(key) => update.removed_services.push(key),
        }
    }

    /// An object that lost its last name and got another one in the same response is not removed.
    fn keep_readded(&self, update: &mut Update) {
        let names = &self.names;
        update
            .removed_policies
            .retain(|k| !names.contains_key(&Object::Policy(k.clone())));
        update
            .removed_workloads
            .retain(|u| !names.contains_key(&Object::Workload(u.clone())));
        update
            .removed_services
            .retain(|k| !names.contains_key(&Object::Service(k.clone())));
    }
}

/// What an unreadable policy closes, for people.
pub(super) fn describe_closed((key, scope): &(PolicyKey, PolicyScope)) -> String {
    match scope {
        PolicyScope::Mesh => "the whole mesh takes no new connections".into(),
        PolicyScope::Namespace => {
            format!("the namespace {} takes no new connections", key.namespace)
        }
        PolicyScope::Selector => "the pods that it selects take no new connections".into(),
    }
}

/// All names by which an object can be asked for.
fn names_of(address: &Address) -> Vec<String> {
    match address {
        Address::Workload(w) => {
            let ips = w.addresses.iter().map(|ip| format!("{}/{ip}", w.network));
            std::iter::once(w.uid.to_string()).chain(ips).collect()
        }
        Address::Service(s) => std::iter::once(s.key().to_string())
            .chain(s.addresses.iter().map(ToString::to_string))
            .collect(),
    }
}
