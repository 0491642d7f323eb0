//! Before the mesh goes, its agents are told that they will not come back.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use super::charts::Charts;
use super::cluster::Cluster;
use super::error::Error;
use super::helm::Helm;
use super::release::Release;
use super::{RELEASES, say};

const AGENT: &str = "warren-agent";
const AGENTS: &str = "app.kubernetes.io/name=warren-agent";
const LOOK: Duration = Duration::from_millis(500);

/// Sets `leave=true` and waits until every agent runs with it.
///
/// # Errors
/// The charts are of another version than the mesh, Helm fails, or an agent does not get ready in time.
pub async fn prepare(
    helm: &Helm,
    cluster: &Cluster,
    namespace: &str,
    release: &Release,
    limit: Duration,
) -> Result<(), Error> {
    let own = env!("CARGO_PKG_VERSION");
    if release.version != own {
        return Err(Error::OtherVersion {
            installed: release.version.clone(),
            own: own.to_owned(),
        });
    }
    say("telling the agents to leave nothing behind");
    let charts = Charts::write()?;
    let mut words: Vec<OsString> = vec![RELEASES[1].into(), charts.mesh().into()];
    words.extend(["--reuse-values", "--set", "leave=true"].map(OsString::from));
    helm.run("upgrade", &words).await?;
    let api: Api<DaemonSet> = Api::namespaced(cluster.client.clone(), namespace);
    let began = Instant::now();
    let mut told = 0;
    loop {
        let daemon = api.get_opt(AGENT).await;
        let daemon = daemon.map_err(|e| Error::api("look at the agents", &e))?;
        let waiting = daemon.as_ref().map_or(0, behind);
        if waiting == 0 {
            return Ok(());
        }
        if began.elapsed() > limit {
            return Err(Error::Leave {
                who: who(cluster, namespace).await,
                seconds: limit.as_secs(),
                namespace: namespace.to_owned(),
            });
        }
        if waiting != told {
            say(format_args!(
                "waiting for the agents of {} to be ready to leave",
                nodes(waiting)
            ));
            told = waiting;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until no agent runs any more: each takes its things away when it ends.
///
/// # Errors
/// One still runs when the time is over.
pub async fn gone(cluster: &Cluster, namespace: &str, limit: Duration) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        let pods = agents(cluster, namespace).await?;
        if pods.is_empty() {
            return Ok(());
        }
        if began.elapsed() > limit {
            return Err(Error::Api {
                what: format!(
                    "the agents of {} have not ended within {} s",
                    names(&pods),
                    limit.as_secs()
                ),
                why: "what they made on their nodes may still be there".to_owned(),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How many nodes still have an agent of before, or none that is ready.
fn behind(daemon: &DaemonSet) -> i32 {
    let status = daemon.status.clone().unwrap_or_default();
    if status.observed_generation < daemon.metadata.generation {
        // Nobody has looked at the change yet; the count is that of before.
        return status.desired_number_scheduled.max(1);
    }
    let updated = status
        .updated_number_scheduled
        .unwrap_or(0)
        .min(status.number_available.unwrap_or(0));
    status.desired_number_scheduled - updated
}

async fn agents(cluster: &Cluster, namespace: &str) -> Result<Vec<Pod>, Error> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let pods = api.list(&ListParams::default().labels(AGENTS)).await;
    Ok(pods.map_err(|e| Error::api("list the agents", &e))?.items)
}

/// Nodes whose agent is not ready, or does not leave.
async fn who(cluster: &Cluster, namespace: &str) -> String {
    let pods = agents(cluster, namespace).await.unwrap_or_default();
    let ready = |pod: &Pod| {
        let conditions = pod
            .status
            .iter()
            .flat_map(|s| s.conditions.iter().flatten());
        conditions
            .into_iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    };
    let late: Vec<Pod> = pods.into_iter().filter(|pod| !ready(pod)).collect();
    match late.is_empty() {
        true => "the agents".to_owned(),
        false => format!("the agents of {}", names(&late)),
    }
}

fn names(pods: &[Pod]) -> String {
    let node = |pod: &Pod| pod.spec.as_ref()?.node_name.clone();
    let names: BTreeSet<String> = pods.iter().filter_map(node).collect();
    match names.len() {
        0 => nodes(i32::try_from(pods.len()).unwrap_or(i32::MAX)),
        _ => names.into_iter().collect::<Vec<_>>().join(", "),
    }
}

fn nodes(count: i32) -> String {
    match count {
        1 => "1 node".to_owned(),
        n => format!("{n} nodes"),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::DaemonSetStatus;

    use super::*;

    #[test]
    fn agents_count_when_they_are_new_and_available() {
        let mut daemon = DaemonSet::default();
        daemon.metadata.generation = Some(2);
        let status = |observed, desired, updated, available| {
            Some(DaemonSetStatus {
                observed_generation: Some(observed),
                desired_number_scheduled: desired,
                updated_number_scheduled: updated,
                number_available: available,
                ..DaemonSetStatus::default()
            })
        };
        for (given, expected) in [
            (None, 1),
            (status(1, 3, Some(3), Some(3)), 3),
            (status(2, 3, Some(1), Some(3)), 2),
            (status(2, 3, Some(3), Some(2)), 1),
            (status(2, 3, Some(3), Some(3)), 0),
            (status(2, 0, None, None), 0),
        ] {
            daemon.status = given;
            assert_eq!(behind(&daemon), expected, "{:?}", daemon.status);
        }
    }
}
