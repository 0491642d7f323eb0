//! The lab: nodes and pods of a Kubernetes cluster simulated with network namespaces on one machine, and the
//! mesh's real processes between them. One daemon plays API server, controllers, scheduler, kubelet,
//! kube-proxy and DNS; the commands of `warren-lab` talk to it, and [`Lab`] drives those from tests.
//!
//! ```text
//! up, apply, delete ──► daemon ──► store ──files──► /run/warren-lab/NAME/api ──► warren-control
//!                         │
//!                         ├─ scheduler, IPAM, owners' pods ──► pod threads: netns, CNI ADD, sandbox, containers
//!                         ├─ services ──► EndpointSlices, nftables on the nodes, DNS zone
//!                         ├─ kubelet processes (node netns, own cgroup) ◄─probes─► pods
//!                         └─ components: warren-control, warren-agent, warren-ztunnel, started again when they die
//! exec, node ──► join cgroup ──► enter namespaces ──► become the command
//! ```
#![forbid(unsafe_code)]

pub mod bpffs;
pub mod cgroup;
pub mod cleanup;
pub mod cni;
pub mod commands;
pub mod container;
pub mod daemon;
pub mod dns;
pub mod ipam;
pub mod kube_proxy;
pub mod kubelet;
pub mod lab;
pub mod manifest;
pub mod netns;
pub mod network;
pub mod paths;
pub mod podspec;
pub mod process;
pub mod protocol;
pub mod schedule;
pub mod selftest;
pub mod service_ips;
pub mod services;
pub mod store;
pub mod token;
pub mod volumes;
pub mod workloads;

pub use lab::{Lab, Output, UpOptions};
