//! Code generated from `proto/` by `cargo run -p warren-codegen`; do not edit the files under `gen/`.

/// `envoy.service.discovery.v3`: delta xDS.
#[path = "gen/envoy.service.discovery.v3.rs"]
#[rustfmt::skip]
pub mod discovery;
/// `istio.security`: authorisation policies.
#[path = "gen/istio.security.rs"]
#[rustfmt::skip]
pub mod security;
/// `istio.v1.auth`: certificate signing.
#[path = "gen/istio.v1.auth.rs"]
#[rustfmt::skip]
pub mod ca;
/// `runtime.v1`: the part of the container runtime interface that names a node's pods.
#[path = "gen/runtime.v1.rs"]
#[rustfmt::skip]
pub mod cri;
/// `istio.workload`: workloads and services.
#[path = "gen/istio.workload.rs"]
#[rustfmt::skip]
pub mod workload;
