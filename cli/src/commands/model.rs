//! `warren workloads`, `services` and `policies`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use warren_admin::types::{PolicyView, ServiceView, WorkloadView};

use crate::arguments::Filter;
use crate::ask::{self, Answer};
use crate::output::{self, Table, or_dash};
use crate::place::{Place, Process};
use crate::{Error, Format};

/// Who knows the model best, first.
const ORDER: [&str; 4] = ["control", "ztunnel", "waypoint", "agent"];

pub async fn workloads(place: &Place, format: Format, filter: &Filter) -> Result<bool, Error> {
    let key = |w: &WorkloadView| (w.namespace.clone(), w.name.clone());
    let all = fetch(place, filter, "/workloads", key).await?;
    output::write(format, &all, |all| draw_workloads(all))?;
    Ok(true)
}

pub async fn services(place: &Place, format: Format, filter: &Filter) -> Result<bool, Error> {
    let key = |s: &ServiceView| (s.namespace.clone(), s.name.clone());
    let all = fetch(place, filter, "/services", key).await?;
    output::write(format, &all, |all| draw_services(all))?;
    Ok(true)
}

pub async fn policies(place: &Place, format: Format, filter: &Filter) -> Result<bool, Error> {
    let key = |p: &PolicyView| (p.namespace.clone(), p.name.clone());
    let all = fetch(place, filter, "/policies", key).await?;
    output::write(format, &all, |all| draw_policies(all))?;
    Ok(true)
}

/// Asks one process after the other until one answers; all have the same model.
async fn fetch<T>(
    place: &Place,
    filter: &Filter,
    endpoint: &'static str,
    key: impl Fn(&T) -> (String, String),
) -> Result<Vec<T>, Error>
where
    T: DeserializeOwned + Serialize + Send + 'static,
{
    let order: Vec<&str> = match &filter.from {
        Some(component) => vec![component],
        None => ORDER.to_vec(),
    };
    let in_order = order
        .iter()
        .flat_map(|c| place.processes.iter().filter(|p| p.is(c)));
    let mut failed: Vec<Answer<Vec<T>>> = Vec::new();
    for process in in_order.cloned().collect::<Vec<Process>>() {
        let Some(answer) = ask::all::<Vec<T>>(vec![process], endpoint).await.pop() else {
            continue;
        };
        match answer.result {
            Ok(items) => return Ok(select(items, filter, key)),
            Err(_) => failed.push(answer),
        }
    }
    ask::present(place, failed).map(|_| Vec::new())
}

fn select<T>(mut items: Vec<T>, filter: &Filter, key: impl Fn(&T) -> (String, String)) -> Vec<T> {
    items.retain(|item| {
        let (namespace, name) = key(item);
        filter.namespace.as_ref().is_none_or(|n| *n == namespace)
            && filter
                .name
                .as_ref()
                .is_none_or(|n| name.contains(n.as_str()))
    });
    items.sort_by_cached_key(|item| key(item));
    items
}

fn draw_workloads(all: &[WorkloadView]) -> String {
    let headings = [
        "namespace",
        "name",
        "addresses",
        "node",
        "protocol",
        "health",
        "service account",
        "waypoint",
        "policies",
    ];
    let mut table = Table::new(&headings);
    for w in all {
        let addresses: Vec<String> = w.addresses.iter().map(ToString::to_string).collect();
        let account = w.identity.rsplit('/').next().unwrap_or_default();
        table.row(vec![
            or_dash(&w.namespace),
            w.name.clone(),
            or_dash(&addresses.join(",")),
            or_dash(&w.node),
            w.protocol.clone(),
            w.health.clone(),
            account.to_owned(),
            or_dash(w.waypoint.as_deref().unwrap_or_default()),
            or_dash(&w.policies.join(",")),
        ]);
    }
    table.render("no workloads")
}

fn draw_services(all: &[ServiceView]) -> String {
    let headings = [
        "namespace",
        "name",
        "addresses",
        "ports",
        "endpoints",
        "balancing",
        "waypoint",
    ];
    let mut table = Table::new(&headings);
    for s in all {
        // `/10.0.0.1` is an address on the default network.
        let addresses: Vec<&str> = s
            .addresses
            .iter()
            .map(|a| a.trim_start_matches('/'))
            .collect();
        table.row(vec![
            s.namespace.clone(),
            if s.name.is_empty() {
                s.hostname.clone()
            } else {
                s.name.clone()
            },
            or_dash(&addresses.join(",")),
            or_dash(&s.ports.join(",")),
            s.endpoints
                .map_or_else(|| "-".to_owned(), |n| n.to_string()),
            s.load_balancing.clone(),
            or_dash(s.waypoint.as_deref().unwrap_or_default()),
        ]);
    }
    table.render("no services")
}

fn draw_policies(all: &[PolicyView]) -> String {
    let mut table = Table::new(&["namespace", "name", "scope", "action", "enforced", "rules"]);
    for p in all {
        table.row(vec![
            or_dash(&p.namespace),
            p.name.clone(),
            p.scope.clone(),
            p.action.clone(),
            if p.dry_run || p.action == "AUDIT" {
                "no"
            } else {
                "yes"
            }
            .to_owned(),
            rules(p),
        ]);
    }
    table.render("no policies: every connection is allowed")
}

/// `(a AND b) OR c`, in the order of the policy.
fn rules(policy: &PolicyView) -> String {
    if policy.rules.is_empty() {
        return "never".to_owned();
    }
    let one_match = |m: &std::collections::BTreeMap<String, Vec<String>>| {
        let fields: Vec<String> = m
            .iter()
            .map(|(field, values)| format!("{field}={}", values.join(",")))
            .collect();
        if fields.is_empty() {
            "never".to_owned()
        } else {
            fields.join(" ")
        }
    };
    let clause = |c: &Vec<_>| {
        let matches: Vec<String> = c.iter().map(one_match).collect();
        if matches.len() > 1 {
            format!("({})", matches.join(" OR "))
        } else {
            matches.concat()
        }
    };
    let rule = |r: &Vec<Vec<_>>| {
        let clauses: Vec<String> = r.iter().map(clause).filter(|c| !c.is_empty()).collect();
        if clauses.is_empty() {
            "always".to_owned()
        } else {
            clauses.join(" AND ")
        }
    };
    policy
        .rules
        .iter()
        .map(rule)
        .collect::<Vec<_>>()
        .join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_logic() {
        let field = |k: &str, v: &str| [(k.to_owned(), vec![v.to_owned()])].into();
        let policy = |rules| PolicyView {
            namespace: "n".into(),
            name: "p".into(),
            scope: "mesh".into(),
            action: "DENY".into(),
            dry_run: false,
            rules,
        };
        assert_eq!(rules(&policy(vec![])), "never");
        assert_eq!(rules(&policy(vec![vec![]])), "always");
        let both = vec![
            vec![
                field("principals", "*/web"),
                field("sourceIps", "10.0.0.0/8"),
            ],
            vec![field("destinationPorts", "80")],
        ];
        assert_eq!(
            rules(&policy(vec![both])),
            "(principals=*/web OR sourceIps=10.0.0.0/8) AND destinationPorts=80"
        );
    }
}
