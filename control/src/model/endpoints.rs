//! EndpointSlices: the endpoints of Services that have no selector.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1 as discovery;
use warren_core::address::canonical;

use super::Meta;

/// The label that names the Service of a slice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What the index needs of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Metadata.
    pub meta: Meta,
    /// Name of the Service, in the same namespace.
    pub service: Arc<str>,
    /// TCP ports: name and number.
    pub ports: Vec<(String, u16)>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One address that backs the Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Canonical address.
    pub ip: IpAddr,
    /// Whether it takes traffic.
    pub ready: bool,
    /// Node, or empty.
    pub node: Arc<str>,
    /// Zone, or empty.
    pub zone: Arc<str>,
}

impl EndpointSlice {
    /// Cuts a slice down; the second value names what could not be understood.
    pub fn from_kubernetes(meta: Meta, slice: &discovery::EndpointSlice) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let service: Arc<str> = meta
            .labels
            .get(SERVICE_NAME)
            .map(String::as_str)
            .unwrap_or_default()
            .into();
        if service.is_empty() {
            problems.push(format!(
                "the label {SERVICE_NAME} is missing, so it backs no Service"
            ));
        }
        let tcp = slice
            .ports
            .iter()
            .flatten()
            .filter(|p| p.protocol.as_deref().unwrap_or("TCP") == "TCP");
        let ports = tcp
            .filter_map(|p| {
                Some((
                    p.name.clone().unwrap_or_default(),
                    u16::try_from(p.port?).ok()?,
                ))
            })
            .collect();
        let endpoints = match slice.address_type.as_str() {
            "IPv4" | "IPv6" => slice
                .endpoints
                .iter()
                .flatten()
                .filter_map(|e| endpoint(e, &mut problems))
                .collect(),
            other => {
                problems.push(format!(
                    "addressType: `{other}` is not supported, only IPv4 and IPv6"
                ));
                Vec::new()
            }
        };
        (
            Self {
                meta,
                service,
                ports,
                endpoints,
            },
            problems,
        )
    }
}

/// Kubernetes says that all addresses of one endpoint are the same; only the first is used.
fn endpoint(endpoint: &discovery::Endpoint, problems: &mut Vec<String>) -> Option<Endpoint> {
    let text = endpoint.addresses.first()?;
    let Ok(ip) = text.parse::<IpAddr>() else {
        problems.push(format!("endpoints: `{text}` is not an IP address"));
        return None;
    };
    let conditions = endpoint.conditions.as_ref();
    Some(Endpoint {
        ip: canonical(ip),
        ready: conditions.and_then(|c| c.ready).unwrap_or(true),
        node: endpoint.node_name.as_deref().unwrap_or_default().into(),
        zone: endpoint.zone.as_deref().unwrap_or_default().into(),
    })
}
