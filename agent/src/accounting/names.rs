//! What the numbers in the kernel maps stand for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

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
    /// Its address.
    pub address: SocketAddr,
    /// Its workload, where known.
    pub workload: Option<Arc<Workload>>,
}

/// The names; written by the node, read by accounting.
#[derive(Debug, Default)]
pub struct Names(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    workloads: HashMap<u32, Arc<Workload>>,
    retired: VecDeque<u32>,
    services: BTreeMap<u32, (ServiceKey, u16)>,
    policies: HashMap<VerdictKey, String>,
    /// Destinations of the agent's own trials.
    trials: VecDeque<SocketAddr>,
}

impl Names {
    /// A pod's number and workload.
    pub fn set(&self, number: u32, workload: Arc<Workload>) {
        self.0.write().workloads.insert(number, workload);
    }

    /// A pod is gone; its name is kept for a while.
    pub fn retire(&self, number: u32) {
        let mut inner = self.0.write();
        inner.retired.push_back(number);
        if inner.retired.len() > MAX_RETIRED
            && let Some(oldest) = inner.retired.pop_front()
        {
            inner.workloads.remove(&oldest);
        }
    }

    /// Services that the kernel was told.
    pub fn name_services(&self, named: Vec<(u32, ServiceKey, u16)>) {
        if named.is_empty() {
            return;
        }
        let mut inner = self.0.write();
        inner.services.extend(
            named
                .into_iter()
                .map(|(number, key, port)| (number, (key, port))),
        );
        while inner.services.len() > MAX_KEPT {
            inner.services.pop_first();
        }
    }

    /// Why a question was answered as it was.
    pub fn decided(&self, question: VerdictKey, reason: &Reason) {
        let mut inner = self.0.write();
        if inner.policies.len() >= MAX_KEPT {
            inner.policies.clear();
        }
        match reason.policy() {
            Some(policy) => drop(inner.policies.insert(question, policy.to_string())),
            None => drop(inner.policies.remove(&question)),
        }
    }

    /// The agent is about to connect to this address itself.
    pub fn begin_trial(&self, destination: SocketAddr) {
        let mut inner = self.0.write();
        inner.trials.push_back(destination);
        if inner.trials.len() > MAX_RETIRED {
            inner.trials.pop_front();
        }
    }

    /// Whether a flow that ended was the agent's own; true once for each trial.
    pub fn end_trial(&self, destination: SocketAddr) -> bool {
        if self.0.read().trials.is_empty() {
            return false;
        }
        let trials = &mut self.0.write().trials;
        let found = trials.iter().position(|t| *t == destination);
        found.and_then(|at| trials.remove(at)).is_some()
    }

    /// One end of a flow.
    pub fn party(&self, number: u32, address: SocketAddr) -> Party {
        Party {
            address,
            workload: self.0.read().workloads.get(&number).cloned(),
        }
    }

    /// A service's `<namespace>/<hostname>` and its hostname.
    pub fn service(&self, number: u32) -> Option<(String, String)> {
        self.0
            .read()
            .services
            .get(&number)
            .map(|(key, _)| (key.to_string(), key.hostname.to_string()))
    }

    /// The policy that decided, as far as it is remembered.
    pub fn policy(&self, question: &VerdictKey) -> Option<String> {
        self.0.read().policies.get(question).cloned()
    }
}
