//! What the agent asks of the kernel: the maps that it writes and the programs that it attaches to pods.
//! A trait, so that everything that decides can be tested without privileges.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;

use warren_abi::{
    Backend, BackendKey, Config, DirectConn, ListenerKey, LocalWorkload, Pod, ServiceAddr,
    ServiceEntry, Verdict, VerdictKey,
};

use crate::netns::Netns;

#[cfg(test)]
pub mod fake;

/// A map or attachment that could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("kernel {object}: {action} failed: {cause}{hint}", hint = hint(cause))]
pub struct KernelError {
    /// Map or program.
    pub object: &'static str,
    /// What was tried.
    pub action: &'static str,
    /// The system's word.
    pub cause: String,
}

fn hint(cause: &str) -> &'static str {
    match cause {
        c if c.contains("E2BIG") || c.contains("os error 7") => {
            "; the map is full (see warren_bpf_map_entries)"
        }
        c if c.contains("os error 1)") => {
            "; the agent needs CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN"
        }
        _ => "",
    }
}

/// Result of a change.
pub type Done = Result<(), KernelError>;

/// The kernel's side. Removing what is not there succeeds.
pub trait Kernel {
    /// Node-wide settings.
    fn set_config(&mut self, config: &Config) -> Done;
    /// Starts capture for the pod whose network namespace has this cookie.
    fn put_pod(&mut self, cookie: u64, pod: &Pod) -> Done;
    /// Ends it.
    fn remove_pod(&mut self, cookie: u64) -> Done;
    /// An enrolled workload's address.
    fn put_local(&mut self, ip: IpAddr, workload: &LocalWorkload) -> Done;
    /// Takes it back.
    fn remove_local(&mut self, ip: IpAddr) -> Done;
    /// A Service's address and port.
    fn put_service(&mut self, address: &ServiceAddr, entry: &ServiceEntry) -> Done;
    /// Takes it back.
    fn remove_service(&mut self, address: &ServiceAddr) -> Done;
    /// One backend.
    fn put_backend(&mut self, key: &BackendKey, backend: &Backend) -> Done;
    /// Takes it back.
    fn remove_backend(&mut self, key: &BackendKey) -> Done;
    /// Answers a question.
    fn put_verdict(&mut self, key: &VerdictKey, verdict: &Verdict) -> Done;
    /// Takes the answer back: the kernel asks again.
    fn remove_verdict(&mut self, key: &VerdictKey) -> Done;
    /// Forgets all authorised handshakes of pods; a kubelet's probes, which no policy governs, go on.
    fn clear_flows(&mut self) -> Done;
    /// The live direct flows.
    fn direct_conns(&mut self) -> Result<Vec<DirectConn>, KernelError>;
    /// A declared probe port.
    fn put_probe_port(&mut self, ip: IpAddr, port: u16) -> Done;
    /// Takes it back.
    fn remove_probe_port(&mut self, ip: IpAddr, port: u16) -> Done;
    /// A listener of the tunnel.
    fn put_listener(&mut self, key: &ListenerKey, socket: BorrowedFd<'_>) -> Done;
    /// Takes it back.
    fn remove_listener(&mut self, key: &ListenerKey) -> Done;
    /// Attaches the lookup program to a pod's network namespace.
    fn attach_lookup(&mut self, cookie: u64, netns: BorrowedFd<'_>) -> Done;
    /// Detaches it.
    fn detach_lookup(&mut self, cookie: u64) -> Done;
    /// Sets how a pod's network namespace reuses ports in TIME_WAIT (`tcp_tw_reuse`, whose file is `sysctl`); returns the former value.
    fn set_port_reuse(&mut self, netns: &Netns, sysctl: &Path, value: u8) -> io::Result<u8>;
}
