//! Objects that every cluster has from the start.

use crate::images::COREDNS;
use crate::plan::DNS;

/// The cluster's DNS, as YAML.
pub fn dns() -> String {
    include_str!("objects/dns.yaml")
        .replace("COREDNS_IMAGE", COREDNS)
        .replace("DNS_V4", &DNS.0.to_string())
        .replace("DNS_V6", &DNS.1.to_string())
}
