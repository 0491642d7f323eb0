//! Checks of single fields, shared by all resources.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use ipnet::IpNet;
use warren_core::address::{NetworkAddress, canonical};
use warren_core::service::{PortMapping, ServiceKey};
use warren_core::workload::{GatewayAddress, GatewayDestination};

use super::{DecodeError, HBONE_PORT};
use crate::r#gen::workload as wire;

/// The resource that is being read, for its errors.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub kind: &'static str,
    pub resource: &'a str,
}

impl Context<'_> {
    pub fn error(self, field: &'static str, problem: impl Into<String>) -> DecodeError {
        DecodeError {
            kind: self.kind,
            resource: self.resource.to_owned(),
            field,
            problem: problem.into(),
        }
    }

    pub fn required(self, field: &'static str, value: &str) -> Result<Arc<str>, DecodeError> {
        if value.is_empty() {
            return Err(self.error(field, "is empty"));
        }
        Ok(value.into())
    }

    pub fn ip(self, field: &'static str, bytes: &[u8]) -> Result<IpAddr, DecodeError> {
        raw_ip(bytes)
            .map(canonical)
            .ok_or_else(|| self.bad_length(field, bytes))
    }

    /// A network; a mapped IPv4 prefix becomes the IPv4 prefix that it stands for, and host bits are cleared.
    pub fn net(self, field: &'static str, bytes: &[u8], length: u32) -> Result<IpNet, DecodeError> {
        let ip = raw_ip(bytes).ok_or_else(|| self.bad_length(field, bytes))?;
        let bad = || self.error(field, format!("{ip} cannot have a prefix of {length} bits"));
        let length = u8::try_from(length).map_err(|_| bad())?;
        let net = IpNet::new(ip, length).map_err(|_| bad())?;
        let plain = canonical(ip);
        if ip.is_ipv6() && plain.is_ipv4() && length >= 96 {
            return Ok(IpNet::new_assert(plain, length - 96).trunc());
        }
        Ok(net.trunc())
    }

    /// A port from 1 to 65535.
    pub fn port(self, field: &'static str, port: u32) -> Result<u16, DecodeError> {
        match u16::try_from(port) {
            Ok(p) if p != 0 => Ok(p),
            _ => Err(self.error(field, format!("{port} is not a port"))),
        }
    }

    pub fn port_mapping(
        self,
        field: &'static str,
        port: &wire::Port,
    ) -> Result<PortMapping, DecodeError> {
        let target_port = if port.target_port == 0 {
            0
        } else {
            self.port(field, port.target_port)?
        };
        Ok(PortMapping {
            service_port: self.port(field, port.service_port)?,
            target_port,
        })
    }

    pub fn service_key(self, field: &'static str, key: &str) -> Result<ServiceKey, DecodeError> {
        match key.split_once('/') {
            Some((namespace, hostname)) if !namespace.is_empty() && !hostname.is_empty() => {
                Ok(ServiceKey {
                    namespace: namespace.into(),
                    hostname: hostname.into(),
                })
            }
            _ => Err(self.error(field, format!("`{key}` is not <namespace>/<hostname>"))),
        }
    }

    pub fn network_address(
        self,
        field: &'static str,
        address: &wire::NetworkAddress,
    ) -> Result<NetworkAddress, DecodeError> {
        let ip = self.ip(field, &address.address)?;
        Ok(NetworkAddress {
            network: address.network.as_str().into(),
            ip,
        })
    }

    pub fn gateway(
        self,
        field: &'static str,
        gateway: &wire::GatewayAddress,
    ) -> Result<GatewayAddress, DecodeError> {
        use wire::gateway_address::Destination;
        let destination = match &gateway.destination {
            Some(Destination::Hostname(h)) => GatewayDestination::Service(ServiceKey {
                namespace: self.required(field, &h.namespace)?,
                hostname: self.required(field, &h.hostname)?,
            }),
            Some(Destination::Address(a)) => {
                GatewayDestination::Address(self.network_address(field, a)?)
            }
            None => return Err(self.error(field, "has neither hostname nor address")),
        };
        let hbone_port = match gateway.hbone_mtls_port {
            0 => HBONE_PORT,
            port => self.port(field, port)?,
        };
        Ok(GatewayAddress {
            destination,
            hbone_port,
        })
    }

    pub fn unknown(self, field: &'static str, value: i32) -> DecodeError {
        self.error(
            field,
            format!("unknown value {value}; the sender may be newer than this reader"),
        )
    }

    fn bad_length(self, field: &'static str, bytes: &[u8]) -> DecodeError {
        self.error(
            field,
            format!("an address has 4 or 16 bytes, not {}", bytes.len()),
        )
    }
}

/// An address in network byte order.
pub(super) fn ip_bytes(ip: IpAddr) -> Bytes {
    match ip {
        IpAddr::V4(v4) => Bytes::copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => Bytes::copy_from_slice(&v6.octets()),
    }
}

impl From<&NetworkAddress> for wire::NetworkAddress {
    fn from(a: &NetworkAddress) -> Self {
        Self {
            network: a.network.to_string(),
            address: ip_bytes(a.ip),
        }
    }
}

impl From<&PortMapping> for wire::Port {
    fn from(p: &PortMapping) -> Self {
        Self {
            service_port: p.service_port.into(),
            target_port: p.target_port.into(),
            app_protocol: 0,
        }
    }
}

impl From<&GatewayAddress> for wire::GatewayAddress {
    fn from(g: &GatewayAddress) -> Self {
        use wire::gateway_address::Destination;
        let destination = match &g.destination {
            GatewayDestination::Service(key) => Destination::Hostname(wire::NamespacedHostname {
                namespace: key.namespace.to_string(),
                hostname: key.hostname.to_string(),
            }),
            GatewayDestination::Address(a) => Destination::Address(a.into()),
        };
        Self {
            hbone_mtls_port: g.hbone_port.into(),
            destination: Some(destination),
        }
    }
}

fn raw_ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(Into::into)
}
