//! Values of AuthorizationPolicy fields.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use warren_core::address::canonical;
use warren_core::policy::{ServiceAccountMatch, StringMatch};

use super::Invalid;

/// Ports as numbers or strings.
pub(super) fn ports(path: &str, values: &[IntOrString]) -> Result<Vec<u16>, Invalid> {
    values
        .iter()
        .map(|value| match value {
            IntOrString::Int(n) => port(path, &n.to_string()),
            IntOrString::String(text) => port(path, text),
        })
        .collect()
}

/// A port from 1 to 65535.
pub(super) fn port(path: &str, text: &str) -> Result<u16, Invalid> {
    text.parse()
        .ok()
        .filter(|p| *p != 0)
        .ok_or_else(|| format!("{path}: `{text}` is not a port"))
}

/// Addresses, single or CIDR. Host bits are cleared, and a mapped IPv4 address means the IPv4 address.
pub(super) fn nets(path: &str, values: &[String]) -> Result<Vec<IpNet>, Invalid> {
    values
        .iter()
        .map(|text| {
            net(text).ok_or_else(|| format!("{path}: `{text}` is neither an IP address nor a CIDR"))
        })
        .collect()
}

fn net(text: &str) -> Option<IpNet> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(IpNet::from(canonical(ip)));
    }
    let net = text.parse::<IpNet>().ok()?;
    let plain = canonical(net.addr());
    if net.addr().is_ipv6() && plain.is_ipv4() && net.prefix_len() >= 96 {
        return IpNet::new(plain, net.prefix_len() - 96)
            .ok()
            .map(|n| n.trunc());
    }
    Some(net.trunc())
}

/// `*`, `prefix*`, `*suffix` or an exact value.
pub(super) fn strings(path: &str, values: &[String]) -> Result<Vec<StringMatch>, Invalid> {
    values.iter().map(|text| string(path, text)).collect()
}

fn string(path: &str, text: &str) -> Result<StringMatch, Invalid> {
    let found = match (text, text.strip_suffix('*'), text.strip_prefix('*')) {
        ("", ..) => return Err(format!("{path}: a value is empty")),
        ("*", ..) => StringMatch::Presence,
        (_, Some(prefix), None) => StringMatch::Prefix(prefix.into()),
        (_, None, Some(suffix)) => StringMatch::Suffix(suffix.into()),
        (_, None, None) => StringMatch::Exact(text.into()),
        (_, Some(_), Some(_)) => {
            return Err(format!("{path}: `{text}`: `*` may stand at one end only"));
        }
    };
    let rest = match &found {
        StringMatch::Prefix(v) | StringMatch::Suffix(v) | StringMatch::Exact(v) => v.contains('*'),
        StringMatch::Presence => false,
    };
    if rest {
        Err(format!("{path}: `{text}`: `*` may stand at one end only"))
    } else {
        Ok(found)
    }
}

/// Principals, without the scheme that certificates write before them.
pub(super) fn principals(path: &str, values: &[String]) -> Result<Vec<StringMatch>, Invalid> {
    let plain: Vec<String> = values
        .iter()
        .map(|v| v.strip_prefix("spiffe://").unwrap_or(v).to_owned())
        .collect();
    strings(path, &plain)
}

/// `<namespace>/<name>`, or `<name>` in the policy's namespace.
pub(super) fn accounts(
    path: &str,
    values: &[String],
    own: &Arc<str>,
) -> Result<Vec<ServiceAccountMatch>, Invalid> {
    let one = |text: &String| {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (namespace.into(), name),
            None => (own.clone(), text.as_str()),
        };
        if namespace.is_empty()
            || name.is_empty()
            || name.contains(['/', '*'])
            || namespace.contains('*')
        {
            return Err(format!(
                "{path}: `{text}` is not <namespace>/<service account>"
            ));
        }
        Ok(ServiceAccountMatch {
            namespace,
            service_account: name.into(),
        })
    };
    values.iter().map(one).collect()
}
