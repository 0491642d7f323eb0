//! Who is waited for, while Helm waits.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::cluster::Cluster;
use super::error::Error;
use super::say;

const LOOK: Duration = Duration::from_secs(2);
const PART: &str = "app.kubernetes.io/part-of=warren";

/// Does `work`, and tells whenever somebody else is waited for.
pub async fn during<T>(cluster: &Cluster, namespace: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    let mut told = String::new();
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(LOOK) => {}
        }
        // Only for people: Helm itself says what fails.
        let look = tokio::select! {
            done = &mut work => return done,
            look = state(cluster, namespace) => look.unwrap_or_default(),
        };
        if !look.is_empty() && look != told {
            say(format_args!("waiting for {look}"));
            told = look;
        }
    }
}

/// The mesh's components that are not ready, with how many are.
///
/// # Errors
/// The API server does not say.
pub async fn state(cluster: &Cluster, namespace: &str) -> Result<String, Error> {
    let params = ListParams::default().labels(PART);
    let failed = |e| Error::api("look at the mesh's components", &e);
    let daemons: Api<DaemonSet> = Api::namespaced(cluster.client.clone(), namespace);
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
    let mut waiting = Vec::new();
    for deployment in deployments.list(&params).await.map_err(failed)? {
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let status = deployment.status.clone().unwrap_or_default();
        let ready = status
            .ready_replicas
            .unwrap_or(0)
            .min(status.updated_replicas.unwrap_or(0));
        waiting.extend(behind(&deployment.name_any(), ready, wanted, "replicas"));
    }
    for daemon in daemons.list(&params).await.map_err(failed)? {
        let status = daemon.status.clone().unwrap_or_default();
        let ready = status
            .number_ready
            .min(status.updated_number_scheduled.unwrap_or(0));
        waiting.extend(behind(
            &daemon.name_any(),
            ready,
            status.desired_number_scheduled,
            "nodes",
        ));
    }
    Ok(waiting.join(", "))
}

fn behind(name: &str, ready: i32, wanted: i32, unit: &str) -> Option<String> {
    (ready < wanted).then(|| format!("{name} (ready: {ready} of {wanted} {unit})"))
}
