//! The model's way from the controller into the tunnel: applies updates, decides anew on live connections, keeps certificates wanted.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use warren_api::xds::Update;
use warren_core::mesh::Change;
use warren_core::{Identity, Mesh};

use crate::context::{Context, PATIENCE};

/// How often is looked whether everything that the start waits for is there.
const LOOK: Duration = Duration::from_millis(20);

/// Applies updates until the client ends.
pub async fn apply(cx: Arc<Context>, mut updates: mpsc::Receiver<Update>) {
    let (mut policies, mut addresses) = (false, false);
    while let Some(update) = updates.recv().await {
        let change = merge(&cx, &update);
        decide_anew(&cx, &change);
        for error in &update.rejected {
            tracing::warn!(%error, "a resource from the controller was refused; its earlier version stays");
        }
        policies |= update.policies_synced;
        addresses |= update.addresses_synced;
        if policies && addresses && !cx.state.is_synced() {
            tracing::info!("the model is complete");
            cx.state.set_synced();
        }
    }
}

/// Decides anew on the live connections that `change` reaches. Returns how many were ended.
pub fn decide_anew(cx: &Context, change: &Change) -> usize {
    let ended = cx.registry.reevaluate(&cx.state.mesh(), change);
    if ended > 0 {
        tracing::info!(ended, "a change of policy ended live connections");
    }
    ended
}

/// Objects applied under one lock: the first model of a large mesh must not hold the data path up.
const CHUNK: usize = 256;

/// Policies first, so that no workload names one that is not here yet; removals last.
fn merge(cx: &Context, u: &Update) -> Change {
    let mut change = Change::default();
    let mut apply = |objects: usize, one: &dyn Fn(&mut Mesh, usize) -> Change| {
        for start in (0..objects).step_by(CHUNK) {
            cx.state.update(|mesh| {
                for i in start..objects.min(start + CHUNK) {
                    change.merge(local(cx, one(mesh, i)));
                }
            });
        }
    };
    apply(u.policies.len(), &|m, i| {
        m.upsert_policy(u.policies[i].clone())
    });
    apply(u.readable.len(), &|m, i| m.reopen(&u.readable[i]));
    apply(u.unreadable.len(), &|m, i| {
        let (key, scope) = u.unreadable[i].clone();
        m.close(key, scope)
    });
    apply(u.workloads.len(), &|m, i| {
        m.upsert_workload(u.workloads[i].clone())
    });
    apply(u.services.len(), &|m, i| {
        m.upsert_service(u.services[i].clone())
    });
    apply(u.removed_workloads.len(), &|m, i| {
        m.remove_workload(&u.removed_workloads[i])
    });
    apply(u.removed_services.len(), &|m, i| {
        m.remove_service(&u.removed_services[i])
    });
    apply(u.removed_policies.len(), &|m, i| {
        m.remove_policy(&u.removed_policies[i])
    });
    change
}

/// What of a change matters to live connections: those that they lead to. Exact, because connections are registered with
/// the mesh locked, and this runs with the mesh locked for writing.
fn local(cx: &Context, mut change: Change) -> Change {
    change.services.clear();
    change.addresses.clear();
    change.workloads.retain(|uid| cx.registry.leads_to(uid));
    change
        .policies
        .workloads
        .retain(|uid| cx.registry.leads_to(uid));
    change
}

/// Keeps a certificate for each identity of this node's pods. A pod that has left keeps its own while a connection lives.
pub async fn keep_certificates(cx: Arc<Context>, pods_changed: Arc<Notify>) {
    let mut changes = cx.state.changes();
    loop {
        cx.certs.want(&identities(&cx));
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = pods_changed.notified() => {}
        }
    }
}

/// Waits for the certificates of the pods that are there when everything else is. Who takes over from another process without them would
/// let connections wait for an authority that may be replaced at the same time.
pub async fn await_certificates(cx: Arc<Context>) {
    while !cx.is_ready() {
        sleep(LOOK).await;
    }
    let there = async {
        while !cx.certs.are_there(&identities(&cx)) {
            sleep(LOOK).await;
        }
    };
    // One that is never to be had must not keep the others' tunnel from being ready.
    let _ = timeout(PATIENCE, there).await;
    cx.certified.store(true, Ordering::Release);
}

/// Those of this node's pods.
fn identities(cx: &Context) -> HashSet<Identity> {
    let mesh = cx.state.mesh();
    let pods = cx.pods.all();
    let workloads = pods.iter().filter_map(|p| mesh.workload(&p.uid));
    workloads.map(|w| w.identity()).collect()
}
