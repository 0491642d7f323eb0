//! The maps, as the agent writes them.
#![allow(unsafe_code)]

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, MapData, SockHash};
use warren_abi::{
    Backend, BackendKey, Config, DirectConn, Flow, FlowKey, Ip, ListenerKey, LocalWorkload, Pod,
    ProbePort, ServiceAddr, ServiceEntry, Verdict, VerdictKey, names,
};

use super::load::missing;
use super::table::{Plain, Table, error, is_missing};
use super::{BpfError, Pins, attach, pins};
use crate::kernel::{Done, Kernel, KernelError};
use crate::netns::Netns;

/// All maps that the agent writes, and the lookup program that it attaches to pods.
pub struct Maps {
    config: Array<MapData, Plain<Config>>,
    pods: Table<u64, Pod>,
    local: Table<Ip, LocalWorkload>,
    services: Table<ServiceAddr, ServiceEntry>,
    backends: Table<BackendKey, Backend>,
    verdicts: Table<VerdictKey, Verdict>,
    flows: Table<FlowKey, Flow>,
    direct: Table<u64, DirectConn>,
    probe_ports: Table<ProbePort, u32>,
    listeners: SockHash<MapData, Plain<ListenerKey>>,
    lookup: OwnedFd,
    pins: Pins,
}

/// What an earlier agent left in the maps.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// The settings, generation included.
    pub config: Config,
    /// Enrolled pods by cookie.
    pub pods: Vec<(u64, Pod)>,
    /// Services.
    pub services: Vec<(ServiceAddr, ServiceEntry)>,
    /// Addresses of enrolled workloads.
    pub local: Vec<IpAddr>,
    /// Probe ports.
    pub probe_ports: Vec<(IpAddr, u16)>,
    /// Highest workload number in use.
    pub max_workload: u32,
}

impl Maps {
    /// Takes the maps out of the object.
    pub(super) fn open(ebpf: &mut Ebpf, lookup: OwnedFd, pins: Pins) -> Result<Self, BpfError> {
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or_else(|| missing("map", name));
        let typed = |name: &str, e: aya::maps::MapError| BpfError::Maps(format!("{name}: {e}"));
        let config = Array::try_from(take(names::CONFIG)?).map_err(|e| typed(names::CONFIG, e))?;
        let listeners =
            SockHash::try_from(take(names::LISTENERS)?).map_err(|e| typed(names::LISTENERS, e))?;
        Ok(Self {
            config,
            pods: Table::open(ebpf, names::PODS)?,
            local: Table::open(ebpf, names::LOCAL_WORKLOADS)?,
            services: Table::open(ebpf, names::SERVICES)?,
            backends: Table::open(ebpf, names::BACKENDS)?,
            verdicts: Table::open(ebpf, names::VERDICTS)?,
            flows: Table::open(ebpf, names::FLOWS)?,
            direct: Table::open(ebpf, names::DIRECT_CONNS)?,
            probe_ports: Table::open(ebpf, names::PROBE_PORTS)?,
            listeners,
            lookup,
            pins,
        })
    }

    /// Reads what an earlier agent left. Backends that no service names any more are removed on the way.
    pub fn existing(&mut self) -> Existing {
        let pods = self.pods.entries();
        let services = self.services.entries();
        let current: HashSet<_> = services.iter().map(|(_, s)| (s.service, s.epoch)).collect();
        for (key, _) in self.backends.entries() {
            if !current.contains(&(key.service, key.epoch)) {
                // Left by an agent that was killed between two epochs; what cannot be removed now is only memory.
                let _ = self.backends.remove(&key);
            }
        }
        let direct = self.direct.entries();
        let numbers = pods.iter().map(|(_, p)| p.workload);
        let numbers = numbers.chain(direct.iter().flat_map(|(_, d)| [d.source, d.destination]));
        Existing {
            config: self.config.get(&0, 0).map(|c| c.0).unwrap_or_default(),
            max_workload: numbers.max().unwrap_or(0),
            local: self
                .local
                .entries()
                .into_iter()
                .map(|(ip, _)| ip.into())
                .collect(),
            probe_ports: self
                .probe_ports
                .entries()
                .into_iter()
                .map(|(p, _)| (p.ip.into(), p.port))
                .collect(),
            pods,
            services,
        }
    }
}

impl Kernel for Maps {
    fn set_config(&mut self, config: &Config) -> Done {
        self.config
            .set(0, Plain(*config), 0)
            .map_err(|e| error(names::CONFIG, "set", &e))
    }

    fn put_pod(&mut self, cookie: u64, pod: &Pod) -> Done {
        self.pods.put(&cookie, pod)
    }

    fn remove_pod(&mut self, cookie: u64) -> Done {
        self.pods.remove(&cookie)
    }

    fn put_local(&mut self, ip: IpAddr, workload: &LocalWorkload) -> Done {
        self.local.put(&ip.into(), workload)
    }

    fn remove_local(&mut self, ip: IpAddr) -> Done {
        self.local.remove(&ip.into())
    }

    fn put_service(&mut self, address: &ServiceAddr, entry: &ServiceEntry) -> Done {
        self.services.put(address, entry)
    }

    fn remove_service(&mut self, address: &ServiceAddr) -> Done {
        self.services.remove(address)
    }

    fn put_backend(&mut self, key: &BackendKey, backend: &Backend) -> Done {
        self.backends.put(key, backend)
    }

    fn remove_backend(&mut self, key: &BackendKey) -> Done {
        self.backends.remove(key)
    }

    fn put_verdict(&mut self, key: &VerdictKey, verdict: &Verdict) -> Done {
        self.verdicts.put(key, verdict)
    }

    fn remove_verdict(&mut self, key: &VerdictKey) -> Done {
        self.verdicts.remove(key)
    }

    fn clear_flows(&mut self) -> Done {
        let flows = self.flows.entries();
        let of_pods = flows.iter().filter(|(_, flow)| flow.generation != 0);
        of_pods
            .map(|(key, _)| key)
            .try_for_each(|key| self.flows.remove(key))
    }

    fn direct_conns(&mut self) -> Result<Vec<DirectConn>, KernelError> {
        Ok(self
            .direct
            .entries()
            .into_iter()
            .map(|(_, conn)| conn)
            .collect())
    }

    fn put_probe_port(&mut self, ip: IpAddr, port: u16) -> Done {
        self.probe_ports.put(
            &ProbePort {
                ip: ip.into(),
                port,
                reserved: 0,
            },
            &1,
        )
    }

    fn remove_probe_port(&mut self, ip: IpAddr, port: u16) -> Done {
        self.probe_ports.remove(&ProbePort {
            ip: ip.into(),
            port,
            reserved: 0,
        })
    }

    fn put_listener(&mut self, key: &ListenerKey, socket: BorrowedFd<'_>) -> Done {
        let put = self.listeners.insert(Plain(*key), socket.as_raw_fd(), 0);
        put.map_err(|e| error(names::LISTENERS, "insert", &e))
    }

    fn remove_listener(&mut self, key: &ListenerKey) -> Done {
        match self.listeners.remove(&Plain(*key)) {
            Err(e) if !is_missing(&e) => Err(error(names::LISTENERS, "remove", &e)),
            _ => Ok(()),
        }
    }

    fn attach_lookup(&mut self, cookie: u64, netns: BorrowedFd<'_>) -> Done {
        let attached = attach::attach_netns(self.lookup.as_fd(), netns, &self.pins.pod(cookie));
        attached.map_err(|e| KernelError {
            object: names::SK_LOOKUP_PROGRAM,
            action: "attach",
            cause: e.to_string(),
        })
    }

    fn detach_lookup(&mut self, cookie: u64) -> Done {
        let removed = pins::remove(&self.pins.pod(cookie));
        removed.map_err(|e| KernelError {
            object: names::SK_LOOKUP_PROGRAM,
            action: "detach",
            cause: e.to_string(),
        })
    }

    fn set_port_reuse(&mut self, netns: &Netns, sysctl: &Path, value: u8) -> io::Result<u8> {
        netns.swap_sysctl(sysctl, value)
    }
}
