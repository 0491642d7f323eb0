//! What the numbers in the kernel maps stand for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use warren_abi::VerdictKey;
use warren_core::Workload;
use warren_core::policy::Reason;
use warren_core::service::ServiceKey;

/// Workloads that left are known a while longer: the last events of their flows come later.
const MAX_RETIRED: usize = 4096;
/// Most decisions and services kept.
const MAX_KEPT: usize = 65_536;

/// One end of a direct flow.
#[derive(Clone, Debug)]
pub struct Party {
    /// Its number in the kernel maps.
    pub number: u32,
    /// Its address.
    pub address: SocketAddr,
    /// Its workload, where known.
    pub workload: Option<Arc<Workload>>,
}

/// A service that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    /// Its number in the kernel maps.
    pub number: u32,
    /// `<namespace>/<hostname>`.
    pub name: Arc<str>,
    /// Its hostname.
    pub hostname: Arc<str>,
}

/// The names; written by the node, read by accounting.
#[derive(Debug, Default)]
pub struct Names {
    inner: RwLock<Inner>,
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    workloads: HashMap<u32, Arc<Workload>>,
    retired: VecDeque<u32>,
    services: BTreeMap<u32, ServiceName>,
    policies: HashMap<VerdictKey, Arc<str>>,
    /// Destinations of the agent's own trials.
    trials: VecDeque<SocketAddr>,
}

impl Names {
    /// A pod's number and workload.
    pub fn set(&self, number: u32, workload: Arc<Workload>) {
        let known = |inner: &Inner| {
            inner
                .workloads
                .get(&number)
                .is_some_and(|old| Arc::ptr_eq(old, &workload))
        };
        if known(&self.inner.read()) {
            return;
        }
        self.inner.write().workloads.insert(number, workload);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever a number may stand for something else.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// A pod is gone; its name is kept for a while.
    pub fn retire(&self, number: u32) {
        let mut inner = self.inner.write();
        inner.retired.push_back(number);
        if inner.retired.len() > MAX_RETIRED
            && let Some(oldest) = inner.retired.pop_front()
        {
            inner.workloads.remove(&oldest);
        }
    }

    /// Services that the kernel was told.
    pub fn name_services(&self, named: Vec<(u32, ServiceKey)>) {
        if named.is_empty() {
            return;
        }
        let mut inner = self.inner.write();
        for (number, key) in named {
            let name = ServiceName {
                number,
                name: key.to_string().into(),
                hostname: key.hostname,
            };
            inner.services.insert(number, name);
        }
        while inner.services.len() > MAX_KEPT {
            inner.services.pop_first();
        }
        drop(inner);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Why a question was answered as it was.
    pub fn decided(&self, question: VerdictKey, reason: &Reason) {
        let mut inner = self.inner.write();
        if inner.policies.len() >= MAX_KEPT {
            inner.policies.clear();
        }
        match reason.policy() {
            Some(policy) => drop(inner.policies.insert(question, policy.to_string().into())),
            None => drop(inner.policies.remove(&question)),
        }
    }

    /// The agent is about to connect to this address itself.
    pub fn begin_trial(&self, destination: SocketAddr) {
        let mut inner = self.inner.write();
        inner.trials.push_back(destination);
        if inner.trials.len() > MAX_RETIRED {
            inner.trials.pop_front();
        }
    }

    /// Whether a flow that ended was the agent's own; true once for each trial.
    pub fn end_trial(&self, destination: SocketAddr) -> bool {
        if self.inner.read().trials.is_empty() {
            return false;
        }
        let trials = &mut self.inner.write().trials;
        let found = trials.iter().position(|t| *t == destination);
        found.and_then(|at| trials.remove(at)).is_some()
    }

    /// One end of a flow.
    pub fn party(&self, number: u32, address: SocketAddr) -> Party {
        Party {
            number,
            address,
            workload: self.inner.read().workloads.get(&number).cloned(),
        }
    }

    /// A service.
    pub fn service(&self, number: u32) -> Option<ServiceName> {
        self.inner.read().services.get(&number).cloned()
    }

    /// The policy that decided, as far as it is remembered.
    pub fn policy(&self, question: &VerdictKey) -> Option<Arc<str>> {
        self.inner.read().policies.get(question).cloned()
    }
}
