//! Services as everything else sees them: addresses, ports, endpoints. Pure functions of the store.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::manifest::{labels, selects, text};
use crate::store::Store;

/// A Service with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Object uid.
    pub uid: String,
    /// Virtual addresses; none for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// Families that the Service has.
    pub families: Vec<Family>,
    /// Target of an `ExternalName` Service.
    pub external_name: Option<String>,
    /// Ports.
    pub ports: Vec<PortView>,
    /// Pods behind it, ready or not.
    pub endpoints: Vec<EndpointView>,
    /// Whether a pod that is not ready counts.
    pub publish_not_ready: bool,
    /// Whether it has a selector; without one, its EndpointSlices are the user's.
    pub selected: bool,
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// Kubernetes' word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortView {
    /// Name, may be empty.
    pub name: String,
    /// Port of the virtual address.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// `targetPort`: a number or a container port's name.
    pub target: Value,
}

/// A pod behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// Pod name.
    pub pod: String,
    /// Pod uid.
    pub uid: String,
    /// Node name.
    pub node: String,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Target port for each port of the Service; `None` when the pod has no port of that name.
    pub ports: Vec<Option<u16>>,
    /// Whether it takes traffic.
    pub ready: bool,
    /// Name under a headless Service.
    pub hostname: Option<String>,
}

impl ServiceView {
    /// Endpoints that take traffic.
    pub fn usable(&self) -> impl Iterator<Item = &EndpointView> {
        self.endpoints
            .iter()
            .filter(|e| e.ready || self.publish_not_ready)
    }
}

/// Every Service of the store.
pub fn views(store: &Store) -> Vec<ServiceView> {
    store
        .kind("Service")
        .map(|service| view(service, store))
        .collect()
}

fn view(service: &Value, store: &Store) -> ServiceView {
    let spec = &service["spec"];
    let namespace = text(service, "/metadata/namespace");
    let ports = ports(spec);
    let selector = spec.get("selector");
    let pods = store
        .kind("Pod")
        .filter(|p| text(p, "/metadata/namespace") == namespace);
    let selected = pods.filter(|p| selects(selector, &labels(p)));
    let mut endpoints: Vec<EndpointView> = selected
        .filter_map(|p| endpoint(p, &ports, text(service, "/metadata/name")))
        .collect();
    if selector.is_none() {
        endpoints = given_endpoints(service, &ports, store);
    }
    let strings = |field: &str| -> Vec<String> {
        let list = spec[field].as_array().cloned().unwrap_or_default();
        list.iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect()
    };
    let families = strings("ipFamilies")
        .iter()
        .map(|f| if f == "IPv6" { Family::V6 } else { Family::V4 })
        .collect();
    ServiceView {
        namespace: namespace.into(),
        name: text(service, "/metadata/name").into(),
        uid: text(service, "/metadata/uid").into(),
        cluster_ips: strings("clusterIPs")
            .iter()
            .filter_map(|ip| ip.parse().ok())
            .collect(),
        families,
        external_name: spec["externalName"].as_str().map(str::to_owned),
        ports,
        endpoints,
        publish_not_ready: spec["publishNotReadyAddresses"].as_bool().unwrap_or(false),
        selected: selector.is_some(),
    }
}

fn ports(spec: &Value) -> Vec<PortView> {
    let list = spec["ports"].as_array().cloned().unwrap_or_default();
    let one = |p: &Value| {
        let port = u16::try_from(p["port"].as_u64()?).ok()?;
        let target = p.get("targetPort").cloned().unwrap_or_else(|| json!(port));
        let protocol = p["protocol"].as_str().unwrap_or("TCP").to_lowercase();
        Some(PortView {
            name: p["name"].as_str().unwrap_or("").into(),
            port,
            protocol,
            target,
        })
    };
    list.iter().filter_map(one).collect()
}

fn endpoint(pod: &Value, ports: &[PortView], service: &str) -> Option<EndpointView> {
    let list = pod["status"]["podIPs"].as_array()?;
    let addresses: Vec<IpAddr> = list
        .iter()
        .filter_map(|i| i["ip"].as_str()?.parse().ok())
        .collect();
    let ended = ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"));
    if addresses.is_empty() || ended {
        return None;
    }
    let in_subdomain = text(pod, "/spec/subdomain") == service;
    let hostname = pod["spec"]["hostname"]
        .as_str()
        .filter(|_| in_subdomain)
        .map(str::to_owned);
    Some(EndpointView {
        pod: text(pod, "/metadata/name").into(),
        uid: text(pod, "/metadata/uid").into(),
        node: text(pod, "/spec/nodeName").into(),
        addresses,
        ports: ports.iter().map(|p| target_port(pod, p)).collect(),
        ready: is_ready(pod),
        hostname,
    })
}

/// Endpoints of a Service without a selector: those of the EndpointSlices that name it.
fn given_endpoints(service: &Value, ports: &[PortView], store: &Store) -> Vec<EndpointView> {
    let name = &service["metadata"]["name"];
    let mine = |s: &&Value| {
        s["metadata"]["namespace"] == service["metadata"]["namespace"]
            && labels(s).get("kubernetes.io/service-name") == Some(name)
    };
    let mut found = Vec::new();
    for slice in store.kind("EndpointSlice").filter(mine) {
        let list = slice["ports"].as_array().cloned().unwrap_or_default();
        let number = |p: &PortView| {
            let named = list
                .iter()
                .find(|s| s["name"].as_str().unwrap_or("") == p.name)?;
            u16::try_from(named["port"].as_u64()?).ok()
        };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let addresses = endpoint["addresses"].as_array().into_iter().flatten();
            found.push(EndpointView {
                pod: text(endpoint, "/targetRef/name").into(),
                uid: text(endpoint, "/targetRef/uid").into(),
                node: text(endpoint, "/nodeName").into(),
                addresses: addresses.filter_map(|a| a.as_str()?.parse().ok()).collect(),
                ports: ports.iter().map(number).collect(),
                ready: endpoint["conditions"]["ready"].as_bool().unwrap_or(true),
                hostname: endpoint["hostname"].as_str().map(str::to_owned),
            });
        }
    }
    found
}

/// Whether a Pod object says that it is ready and is not being deleted.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.is_some_and(|c| {
        c.iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
    });
    ready && pod["metadata"].get("deletionTimestamp").is_none()
}

fn target_port(pod: &Value, port: &PortView) -> Option<u16> {
    let Some(name) = port.target.as_str() else {
        return u16::try_from(port.target.as_u64()?).ok();
    };
    let containers = pod["spec"]["containers"].as_array()?;
    let mut ports = containers
        .iter()
        .filter_map(|c| c["ports"].as_array())
        .flatten();
    let found = ports.find(|p| p["name"] == name)?;
    u16::try_from(found["containerPort"].as_u64()?).ok()
}

/// The EndpointSlices that a cluster's controller would write for `service`, one a family.
pub fn slices(service: &ServiceView) -> Vec<Value> {
    let families = [Family::V4, Family::V6]
        .into_iter()
        .filter(|f| service.families.contains(f));
    families.map(|family| slice(service, family)).collect()
}

fn slice(service: &ServiceView, family: Family) -> Value {
    let one = |e: &EndpointView| {
        let address = e.addresses.iter().find(|a| Family::of(**a) == family)?;
        Some(json!({
            "addresses": [address.to_string()],
            "conditions": {"ready": e.ready || service.publish_not_ready, "serving": e.ready, "terminating": false},
            "nodeName": e.node,
            "targetRef": {"kind": "Pod", "namespace": service.namespace, "name": e.pod, "uid": e.uid},
        }))
    };
    // Pods may map a named port to different numbers; a slice holds one mapping, the first pod's.
    let resolved = |index: usize| service.endpoints.iter().find_map(|e| e.ports[index]);
    let ports: Vec<Value> = service
        .ports
        .iter()
        .enumerate()
        .filter_map(|(i, p)| Some(json!({"name": p.name, "port": resolved(i)?, "protocol": p.protocol.to_uppercase()})))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-{}", service.name, family.word().to_lowercase()),
            "namespace": service.namespace,
            "labels": {
                "kubernetes.io/service-name": service.name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": service.name, "uid": service.uid, "controller": true}],
        },
        "addressType": family.word(),
        "endpoints": service.endpoints.iter().filter_map(one).collect::<Vec<_>>(),
        "ports": ports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(objects: &[Value]) -> Store {
        let dir =
            std::env::temp_dir().join(format!("warren-lab-services-{}", crate::store::uuid()));
        let mut store = Store::new(dir.join("api"), dir.join("scratch")).unwrap();
        for object in objects {
            store.put(object.clone()).unwrap();
        }
        std::fs::remove_dir_all(dir).unwrap();
        store
    }

    fn pod(name: &str, ready: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"nodeName": "a", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.244.0.2"}],
                "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn service(selector: Option<Value>) -> Value {
        let mut service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"ports": [{"port": 80, "targetPort": "http"}], "ipFamilies": ["IPv4"]}});
        if let Some(selector) = selector {
            service["spec"]["selector"] = selector;
        }
        service
    }

    #[test]
    fn readiness_and_named_ports_reach_the_slices() {
        let store = store(&[
            service(Some(json!({"app": "web"}))),
            pod("one", "True"),
            pod("two", "False"),
        ]);
        let view = &views(&store)[0];
        assert_eq!(view.endpoints.len(), 2);
        assert_eq!(
            view.usable().map(|e| e.pod.as_str()).collect::<Vec<_>>(),
            ["one"]
        );
        let slice = &slices(view)[0];
        assert_eq!(slice["ports"][0]["port"], 8080);
        assert_eq!(slice["endpoints"][0]["conditions"]["ready"], true);
        assert_eq!(slice["endpoints"][1]["conditions"]["ready"], false);
    }

    #[test]
    fn a_service_without_selector_takes_the_slices_that_are_given() {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "mine", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "endpoints": [{"addresses": ["172.18.0.254"]}], "ports": [{"name": "", "port": 9000}]});
        let store = store(&[service(None), slice, pod("one", "True")]);
        let view = &views(&store)[0];
        assert_eq!(view.endpoints.len(), 1);
        assert_eq!(view.endpoints[0].ports, [Some(9000)]);
        assert!(!view.selected);
    }
}
