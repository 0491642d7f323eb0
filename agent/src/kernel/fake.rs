//! A kernel that remembers what it was told, for tests.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;

use warren_abi::{
    Backend, BackendKey, Config, DirectConn, ListenerKey, LocalWorkload, Pod, ServiceAddr,
    ServiceEntry, Verdict, VerdictKey,
};

use super::{Done, Kernel, KernelError};
use crate::netns::Netns;

/// What it was told.
#[derive(Debug, Default)]
pub struct FakeKernel {
    /// Settings.
    pub config: Config,
    /// Captured pods.
    pub pods: BTreeMap<u64, Pod>,
    /// Addresses.
    pub local: BTreeMap<IpAddr, u32>,
    /// Services.
    pub services: HashMap<ServiceAddr, ServiceEntry>,
    /// Backends.
    pub backends: HashMap<BackendKey, Backend>,
    /// Verdicts.
    pub verdicts: HashMap<VerdictKey, Verdict>,
    /// Probe ports.
    pub probe_ports: BTreeMap<(IpAddr, u16), ()>,
    /// Listeners.
    pub listeners: HashMap<ListenerKey, ()>,
    /// Lookup programs.
    pub lookups: BTreeMap<u64, ()>,
    /// How ports in TIME_WAIT are reused, where that was set.
    pub port_reuse: BTreeMap<u64, u8>,
    /// Live direct flows, set by the test.
    pub direct: Vec<DirectConn>,
    /// How often flows were cleared.
    pub cleared: u32,
    /// What was done, in order.
    pub journal: Vec<&'static str>,
    /// The action that fails from now on.
    pub broken: Option<&'static str>,
    /// Backends that fit.
    pub room: Option<usize>,
}

impl FakeKernel {
    fn act(&mut self, action: &'static str) -> Done {
        if self.broken == Some(action) {
            return Err(KernelError {
                object: "fake",
                action,
                cause: "broken".into(),
            });
        }
        self.journal.push(action);
        Ok(())
    }
}

impl Kernel for FakeKernel {
    fn set_config(&mut self, config: &Config) -> Done {
        self.config = *config;
        self.act("set_config")
    }

    fn put_pod(&mut self, cookie: u64, pod: &Pod) -> Done {
        self.act("put_pod")?;
        self.pods.insert(cookie, *pod);
        Ok(())
    }

    fn remove_pod(&mut self, cookie: u64) -> Done {
        self.pods.remove(&cookie);
        self.act("remove_pod")
    }

    fn put_local(&mut self, ip: IpAddr, workload: &LocalWorkload) -> Done {
        self.local.insert(ip, workload.workload);
        self.act("put_local")
    }

    fn remove_local(&mut self, ip: IpAddr) -> Done {
        self.local.remove(&ip);
        self.act("remove_local")
    }

    fn put_service(&mut self, address: &ServiceAddr, entry: &ServiceEntry) -> Done {
        self.services.insert(*address, *entry);
        self.act("put_service")
    }

    fn remove_service(&mut self, address: &ServiceAddr) -> Done {
        self.services.remove(address);
        self.act("remove_service")
    }

    fn put_backend(&mut self, key: &BackendKey, backend: &Backend) -> Done {
        if self.room.is_some_and(|room| self.backends.len() >= room) {
            return Err(KernelError {
                object: "backends",
                action: "insert",
                cause: "full".into(),
            });
        }
        self.backends.insert(*key, *backend);
        self.act("put_backend")
    }

    fn remove_backend(&mut self, key: &BackendKey) -> Done {
        self.backends.remove(key);
        self.act("remove_backend")
    }

    fn put_verdict(&mut self, key: &VerdictKey, verdict: &Verdict) -> Done {
        self.verdicts.insert(*key, *verdict);
        self.act("put_verdict")
    }

    fn remove_verdict(&mut self, key: &VerdictKey) -> Done {
        self.verdicts.remove(key);
        self.act("remove_verdict")
    }

    fn clear_flows(&mut self) -> Done {
        self.cleared += 1;
        self.act("clear_flows")
    }

    fn direct_conns(&mut self) -> Result<Vec<DirectConn>, KernelError> {
        Ok(self.direct.clone())
    }

    fn put_probe_port(&mut self, ip: IpAddr, port: u16) -> Done {
        self.probe_ports.insert((ip, port), ());
        self.act("put_probe_port")
    }

    fn remove_probe_port(&mut self, ip: IpAddr, port: u16) -> Done {
        self.probe_ports.remove(&(ip, port));
        self.act("remove_probe_port")
    }

    fn put_listener(&mut self, key: &ListenerKey, _socket: BorrowedFd<'_>) -> Done {
        self.listeners.insert(*key, ());
        self.act("put_listener")
    }

    fn remove_listener(&mut self, key: &ListenerKey) -> Done {
        self.listeners.remove(key);
        self.act("remove_listener")
    }

    fn attach_lookup(&mut self, cookie: u64, _netns: BorrowedFd<'_>) -> Done {
        self.act("attach_lookup")?;
        self.lookups.insert(cookie, ());
        Ok(())
    }

    fn detach_lookup(&mut self, cookie: u64) -> Done {
        self.lookups.remove(&cookie);
        self.act("detach_lookup")
    }

    fn set_port_reuse(&mut self, netns: &Netns, _sysctl: &Path, value: u8) -> io::Result<u8> {
        self.act("set_port_reuse").map_err(io::Error::other)?;
        // 2 is Linux' own default.
        Ok(self.port_reuse.insert(netns.cookie, value).unwrap_or(2))
    }
}
