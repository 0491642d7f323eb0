//! A real Kubernetes of several nodes on one machine, for tests: control plane and nodes each have network, mount, process, host name,
//! IPC and cgroup namespaces of their own, with real containerd, kubelet and kube-proxy in them.
//!
//! ```text
//! up ──► binaries (Go modules, cached) ──► plan, certificates, files ──► machines
//!                                                                       │ keeper: cgroups, namespaces
//!   this machine ──link──► bridge in the control plane's network        ▼
//!                          ├─ control: etcd, API server, …        process 1: mounts, then its components
//!                          └─ node-a, node-b: containerd, kubelet, kube-proxy ──► pods
//! ```
#![forbid(unsafe_code)]

pub mod binaries;
pub mod cgroups;
pub mod commands;
pub mod control_plane;
pub mod images;
pub mod interrupt;
pub mod kubectl;
pub mod layout;
pub mod machine;
mod mesh;
pub mod network;
pub mod node;
pub mod objects;
pub mod out;
pub mod pki;
pub mod plan;
pub mod program;
pub mod remove;
pub mod smoke;
pub mod start;
pub mod suites;
pub mod tally;
pub mod wait;
pub mod workload_image;
