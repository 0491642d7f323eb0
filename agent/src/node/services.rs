//! Services whose backend the kernel chooses. Each virtual address and port has a number of its own; its backends are written
//! under a new epoch, then the entry is switched, and the old epoch is removed once no program can be reading it any more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use warren_abi::{
    ANY_OTHER_PORT, Backend, BackendKey, SERVICE_KEEP_VIP, SERVICE_REFUSE, ServiceAddr,
    ServiceEntry,
};
use warren_core::address::Family;
use warren_core::balance::{AliasTable, Candidate, Origin, Request, Selection, candidates};
use warren_core::service::{BalanceMode, ServiceKey};
use warren_core::{Mesh, Service};

use crate::kernel::{Done, Kernel};

/// Services with more backends a port are left to the tunnel.
const MAX_BACKENDS: usize = 4096;
/// How long an old epoch is kept: a program that has read the entry reads the backends microseconds later.
const GRACE: Duration = Duration::from_secs(1);

/// What the kernel is to do with connections to one virtual address and port.
#[derive(Clone, Debug, PartialEq)]
enum Plan {
    /// Choose one of these; refuse where there is none.
    OneOf(Vec<Backend>),
    /// Leave the choice, to which it cannot do justice, to the tunnel.
    Tunnel,
}

/// What the kernel was told of one virtual address and port.
#[derive(Clone, Debug)]
struct Installed {
    key: ServiceKey,
    entry: ServiceEntry,
    plan: Plan,
}

/// Backends that nobody reads after a while.
#[derive(Clone, Copy, Debug)]
struct Garbage {
    at: Instant,
    service: u32,
    epoch: u32,
    count: u32,
}

/// All services that the kernel was told.
#[derive(Debug, Default)]
pub struct ServiceTable {
    installed: HashMap<ServiceAddr, Installed>,
    by_service: HashMap<ServiceKey, Vec<ServiceAddr>>,
    /// Left by an earlier agent, not claimed yet.
    stale: HashMap<ServiceAddr, ServiceEntry>,
    garbage: Vec<Garbage>,
    last_number: u32,
    /// Numbers given since they were last asked for.
    named: Vec<(u32, ServiceKey)>,
}

impl ServiceTable {
    /// Takes over what an earlier agent told the kernel; it stays until the controller has spoken.
    pub fn adopt(&mut self, existing: Vec<(ServiceAddr, ServiceEntry)>) {
        self.last_number = existing.iter().map(|(_, e)| e.service).max().unwrap_or(0);
        self.stale = existing.into_iter().collect();
    }

    /// Brings the kernel up to date with one service.
    pub fn update<K: Kernel>(
        &mut self,
        kernel: &mut K,
        mesh: &Mesh,
        key: &ServiceKey,
        origin: Origin<'_>,
        now: Instant,
    ) {
        let wanted = mesh
            .service(key)
            .map(|s| plans(s, mesh, origin))
            .unwrap_or_default();
        let old = self.by_service.remove(key).unwrap_or_default();
        // What refuses every other port goes first, and comes last: never may it stand for a port that is there.
        let mut gone: Vec<_> = old.iter().filter(|a| !wanted.contains_key(a)).collect();
        // An address may have passed to another service, which was looked at first.
        gone.retain(|a| self.installed.get(a).is_none_or(|i| i.key == *key));
        gone.sort_by_key(|address| address.port);
        for address in gone {
            self.remove(kernel, address, now);
        }
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_by_key(|(address, _)| std::cmp::Reverse(address.port));
        let mut kept = Vec::new();
        let mut full = false;
        for (address, plan) in wanted {
            if full && address.port == ANY_OTHER_PORT {
                self.remove(kernel, &address, now);
                continue;
            }
            match self.install(kernel, &address, key, plan, now) {
                Ok(()) => kept.push(address),
                Err(error) => {
                    tracing::error!(service = %key, "{error}; the tunnel chooses its endpoints");
                    self.remove(kernel, &address, now);
                    full = true;
                }
            }
        }
        if !kept.is_empty() {
            self.by_service.insert(key.clone(), kept);
        }
    }

    /// Removes what an earlier agent left and the controller does not know.
    pub fn drop_stale<K: Kernel>(&mut self, kernel: &mut K, now: Instant) {
        for (address, entry) in std::mem::take(&mut self.stale) {
            logged(kernel.remove_service(&address));
            self.discard(entry, now);
        }
    }

    /// Removes old epochs.
    pub fn collect<K: Kernel>(&mut self, kernel: &mut K, now: Instant) {
        let (due, rest): (Vec<_>, Vec<_>) = self.garbage.iter().partition(|g| g.at <= now);
        self.garbage = rest;
        for g in due {
            for index in 0..g.count {
                logged(kernel.remove_backend(&BackendKey {
                    service: g.service,
                    epoch: g.epoch,
                    index,
                }));
            }
        }
    }

    /// The service behind each number that was given since the last call.
    pub fn take_named(&mut self) -> Vec<(u32, ServiceKey)> {
        std::mem::take(&mut self.named)
    }

    /// How many virtual addresses and ports the kernel was told.
    pub fn len(&self) -> usize {
        self.installed.len()
    }

    fn install<K: Kernel>(
        &mut self,
        kernel: &mut K,
        address: &ServiceAddr,
        key: &ServiceKey,
        plan: Plan,
        now: Instant,
    ) -> Done {
        let old = self.installed.get(address);
        if old.is_some_and(|o| o.key == *key && o.plan == plan) {
            return Ok(());
        }
        let (backends, flags) = match &plan {
            Plan::OneOf(backends) if backends.is_empty() => (&[][..], SERVICE_REFUSE),
            Plan::OneOf(backends) => (&backends[..], 0),
            Plan::Tunnel => (&[][..], SERVICE_KEEP_VIP),
        };
        let before = old.map(|o| o.entry).or_else(|| self.stale.remove(address));
        let number = before.map_or_else(|| self.next_number(), |e| e.service);
        let entry = ServiceEntry {
            service: number,
            epoch: before.map_or(0, |e| e.epoch.wrapping_add(1)),
            count: backends.len() as u32,
            flags,
        };
        for (index, backend) in backends.iter().enumerate() {
            let backend_key = BackendKey {
                service: number,
                epoch: entry.epoch,
                index: index as u32,
            };
            if let Err(error) = kernel.put_backend(&backend_key, backend) {
                self.discard(
                    ServiceEntry {
                        count: index as u32,
                        ..entry
                    },
                    now,
                );
                return Err(error);
            }
        }
        kernel.put_service(address, &entry)?;
        if let Some(before) = before {
            self.discard(before, now);
        }
        self.named.push((number, key.clone()));
        self.installed.insert(
            *address,
            Installed {
                key: key.clone(),
                entry,
                plan,
            },
        );
        Ok(())
    }

    fn remove<K: Kernel>(&mut self, kernel: &mut K, address: &ServiceAddr, now: Instant) {
        logged(kernel.remove_service(address));
        if let Some(installed) = self.installed.remove(address) {
            self.discard(installed.entry, now);
        }
    }

    fn discard(&mut self, entry: ServiceEntry, now: Instant) {
        let Some(at) = now.checked_add(GRACE).filter(|_| entry.count > 0) else {
            return;
        };
        self.garbage.push(Garbage {
            at,
            service: entry.service,
            epoch: entry.epoch,
            count: entry.count,
        });
    }

    fn next_number(&mut self) -> u32 {
        // 0 means no service.
        self.last_number = self.last_number.checked_add(1).unwrap_or(1);
        self.last_number
    }
}

fn logged(done: Done) {
    if let Err(error) = done {
        tracing::error!("{error}");
    }
}

/// What the kernel should do for each virtual address and port of a service; nothing where it stands for an address outside.
fn plans(service: &Service, mesh: &Mesh, origin: Origin<'_>) -> HashMap<ServiceAddr, Plan> {
    let mut plans = HashMap::new();
    if service.load_balancing.mode == BalanceMode::Passthrough {
        return plans;
    }
    let key = service.key();
    for address in service
        .addresses
        .iter()
        .filter(|a| *a.network == *origin.network)
    {
        // Another service may hold the address, or a pod.
        let holder = mesh.service_by_address(address).map(|s| s.key());
        if holder.as_ref() != Some(&key) || mesh.workload_by_address(address).is_some() {
            continue;
        }
        for port in &service.ports {
            let request = Request {
                origin,
                port: port.service_port,
                family: Some(Family::of(address.ip)),
            };
            let plan = plan(service, mesh, &request);
            plans.insert(service_addr(address.ip, port.service_port), plan);
        }
        let none = Plan::OneOf(Vec::new());
        plans.insert(service_addr(address.ip, ANY_OTHER_PORT), none);
    }
    plans
}

fn plan(service: &Service, mesh: &Mesh, request: &Request<'_>) -> Plan {
    if service.waypoint.is_some() || service.load_balancing.client_ip_affinity.is_some() {
        return Plan::Tunnel;
    }
    let found = match candidates(service, mesh, request) {
        Err(_) => return Plan::OneOf(Vec::new()),
        Ok(Selection::OneOf(found)) if found.len() <= MAX_BACKENDS => found,
        Ok(_) => return Plan::Tunnel,
    };
    let table = AliasTable::new(&found.iter().map(|c| c.weight).collect::<Vec<_>>());
    let one = |(c, e): (&Candidate, &warren_core::balance::AliasEntry)| {
        Some(Backend {
            ip: c.ip?.into(),
            port: c.target_port,
            reserved: 0,
            threshold: e.threshold,
            alias: e.alias,
        })
    };
    let backends: Option<Vec<_>> = found.iter().zip(table.entries()).map(one).collect();
    backends.map_or(Plan::Tunnel, Plan::OneOf)
}

fn service_addr(ip: IpAddr, port: u16) -> ServiceAddr {
    ServiceAddr {
        ip: ip.into(),
        port,
        reserved: 0,
    }
}
