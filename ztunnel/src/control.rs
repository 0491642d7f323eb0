//! The model's way from the controller into the tunnel: applies updates, decides anew on live connections, keeps certificates wanted.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use warren_api::xds::Update;
use warren_core::Mesh;
use warren_core::mesh::Change;

use crate::context::Context;

/// Applies updates until the client ends.
pub async fn apply(cx: Arc<Context>, mut updates: mpsc::Receiver<Update>) {
    let (mut policies, mut addresses) = (false, false);
    while let Some(update) = updates.recv().await {
        changed(&cx, |mesh| merge(mesh, &update));
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

/// Changes the model and decides anew on the live connections that the change reaches. Returns how many were ended.
pub fn changed(cx: &Context, apply: impl FnOnce(&mut Mesh) -> Change) -> usize {
    let change = cx.state.update(apply);
    let ended = cx.registry.reevaluate(&cx.state.mesh(), &change);
    if ended > 0 {
        tracing::info!(ended, "a change of policy ended live connections");
    }
    ended
}

/// Policies first, so that no workload names one that is not here yet; removals last.
fn merge(mesh: &mut Mesh, u: &Update) -> Change {
    let mut change = Change::default();
    u.policies
        .iter()
        .for_each(|p| change.merge(mesh.upsert_policy(p.clone())));
    u.workloads
        .iter()
        .for_each(|w| change.merge(mesh.upsert_workload(w.clone())));
    u.services
        .iter()
        .for_each(|s| change.merge(mesh.upsert_service(s.clone())));
    u.removed_workloads
        .iter()
        .for_each(|w| change.merge(mesh.remove_workload(w)));
    u.removed_services
        .iter()
        .for_each(|s| change.merge(mesh.remove_service(s)));
    u.removed_policies
        .iter()
        .for_each(|p| change.merge(mesh.remove_policy(p)));
    change
}

/// Keeps a certificate for each identity of this node's pods. A pod that has left keeps its own while a connection lives.
pub async fn keep_certificates(cx: Arc<Context>, pods_changed: Arc<Notify>) {
    let mut changes = cx.state.changes();
    loop {
        let wanted: HashSet<_> = {
            let mesh = cx.state.mesh();
            let pods = cx.pods.all();
            pods.iter()
                .filter_map(|p| mesh.workload(&p.uid))
                .map(|w| w.identity())
                .collect()
        };
        cx.certs.want(&wanted);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = pods_changed.notified() => {}
        }
    }
}
