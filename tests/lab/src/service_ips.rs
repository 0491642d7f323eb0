//! Virtual addresses of Services: families, policies, addresses that were asked for.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::ipam::Ipam;
use crate::manifest::Key;
use crate::services::Family;

/// Fills `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy` of `service`, keeping what `old` had.
pub fn assign(ipam: &mut Ipam, old: Option<&Value>, service: &mut Value) -> Result<()> {
    if service["spec"]["type"] == "ExternalName" {
        return Ok(());
    }
    let families = families(service, old)?;
    let dual = families.len() == 2;
    service["spec"]["ipFamilies"] = families.iter().map(|f| f.word()).collect();
    let policy = service["spec"]["ipFamilyPolicy"]
        .as_str()
        .unwrap_or(if dual {
            "RequireDualStack"
        } else {
            "SingleStack"
        });
    service["spec"]["ipFamilyPolicy"] = json!(policy);
    if service["spec"]["clusterIP"] == "None" {
        service["spec"]["clusterIPs"] = json!(["None"]);
        return Ok(());
    }
    let asked = asked(service)?;
    let had: Vec<IpAddr> = old.map(cluster_ips).unwrap_or_default();
    let mut chosen = Vec::new();
    let mut fresh = None;
    for family in families {
        let of_family = |list: &[IpAddr]| list.iter().copied().find(|a| Family::of(*a) == family);
        let address = match (of_family(&asked), of_family(&had)) {
            (Some(asked), Some(had)) if asked != had => {
                bail!("clusterIP cannot change from {had} to {asked}")
            }
            (_, Some(had)) => had,
            (Some(asked), None) => {
                ipam.reserve_service(asked)?;
                asked
            }
            (None, None) => {
                let pair = match fresh {
                    Some(pair) => pair,
                    None => *fresh.insert(ipam.service()?),
                };
                if family == Family::V4 {
                    pair.0.into()
                } else {
                    IpAddr::from(pair.1)
                }
            }
        };
        chosen.push(address.to_string());
    }
    service["spec"]["clusterIP"] = json!(chosen.first());
    service["spec"]["clusterIPs"] = json!(chosen);
    Ok(())
}

/// What the lab's kube-proxy does not do for `service`, for people to know.
pub fn unsupported(key: &Key, service: &Value) -> Vec<String> {
    let fields = [
        ("sessionAffinity", "ClientIP"),
        ("internalTrafficPolicy", "Local"),
        ("type", "NodePort"),
        ("type", "LoadBalancer"),
    ];
    let given = fields
        .iter()
        .filter(|(field, value)| service["spec"][field] == *value);
    given
        .map(|(f, v)| {
            format!("warning: {key}: the lab's kube-proxy does not know {f}: {v}; the mesh may")
        })
        .collect()
}

/// Virtual addresses of a Service object.
pub fn cluster_ips(service: &Value) -> Vec<IpAddr> {
    let list = service["spec"]["clusterIPs"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    list.iter()
        .filter_map(|v| v.as_str()?.parse().ok())
        .collect()
}

fn asked(service: &Value) -> Result<Vec<IpAddr>> {
    let spec = &service["spec"];
    let mut list: Vec<&str> = spec["clusterIPs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if list.is_empty() {
        list.extend(spec["clusterIP"].as_str().filter(|s| !s.is_empty()));
    }
    list.iter()
        .map(|s| {
            s.parse()
                .with_context(|| format!("clusterIP {s:?} is not an address"))
        })
        .collect()
}

fn families(service: &Value, old: Option<&Value>) -> Result<Vec<Family>> {
    let mut found = Vec::new();
    let given = service["spec"]["ipFamilies"]
        .as_array()
        .or(old.and_then(|o| o["spec"]["ipFamilies"].as_array()));
    for word in given.into_iter().flatten() {
        let family = match word.as_str() {
            Some("IPv4") => Family::V4,
            Some("IPv6") => Family::V6,
            _ => bail!("ipFamilies holds {word}: use IPv4 and IPv6"),
        };
        if found.contains(&family) {
            bail!("ipFamilies names {} twice", family.word());
        }
        found.push(family);
    }
    if found.is_empty() {
        found.push(
            asked(service)
                .ok()
                .and_then(|a| a.first().map(|a| Family::of(*a)))
                .unwrap_or(Family::V4),
        );
    }
    let policy = service["spec"]["ipFamilyPolicy"].as_str();
    if matches!(policy, Some("PreferDualStack" | "RequireDualStack")) && found.len() == 1 {
        found.push(if found[0] == Family::V4 {
            Family::V6
        } else {
            Family::V4
        });
    }
    if policy == Some("SingleStack") {
        found.truncate(1);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(ipam: &mut Ipam, spec: Value) -> Result<Value> {
        let mut service = json!({"spec": spec});
        assign(ipam, None, &mut service)?;
        Ok(service["spec"].clone())
    }

    #[test]
    fn families_follow_the_policy() {
        let mut ipam = Ipam::default();
        let single = assigned(&mut ipam, json!({})).unwrap();
        assert_eq!(single["clusterIPs"], json!(["10.96.0.21"]));
        let dual = assigned(&mut ipam, json!({"ipFamilyPolicy": "PreferDualStack"})).unwrap();
        assert_eq!(dual["clusterIPs"], json!(["10.96.0.22", "fd00:10:96::16"]));
        let six = assigned(&mut ipam, json!({"ipFamilies": ["IPv6"]})).unwrap();
        assert_eq!(six["clusterIP"], "fd00:10:96::17");
        let headless = assigned(
            &mut ipam,
            json!({"clusterIP": "None", "ipFamilies": ["IPv4", "IPv6"]}),
        )
        .unwrap();
        assert_eq!(headless["clusterIPs"], json!(["None"]));
        assert!(assigned(&mut ipam, json!({"ipFamilies": ["IPv5"]})).is_err());
    }

    #[test]
    fn addresses_stay_and_cannot_be_changed() {
        let mut ipam = Ipam::default();
        let old = json!({"spec": assigned(&mut ipam, json!({"clusterIP": "10.96.1.1"})).unwrap()});
        let mut again = json!({"spec": {}});
        assign(&mut ipam, Some(&old), &mut again).unwrap();
        assert_eq!(again["spec"]["clusterIP"], "10.96.1.1");
        let mut other = json!({"spec": {"clusterIP": "10.96.1.2"}});
        assert!(assign(&mut ipam, Some(&old), &mut other).is_err());
    }
}
