//! Connections into a pod in plaintext, from outside the mesh: no identity, policy decides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;
use warren_core::Workload;
use warren_core::address::canonical_socket;
use warren_core::policy::Connection;
use warren_hbone::IoTunnel;

use super::deliver::deliver;
use super::relay;
use crate::context::{Context, PATIENCE};
use crate::net;
use crate::pods::Pod;
use crate::record::{Direction, End, Flag, Info, Open, Party, Security};

/// Looks, [`TURN`] apart, within which the tunnel hears of pods that the agent has let in or go.
const HEARSAY: u32 = 15;
const TURN: Duration = Duration::from_millis(20);

/// Handles a connection accepted from the plaintext listener of `pod`.
pub async fn handle(cx: Arc<Context>, pod: Arc<Pod>, client: TcpStream, peer: SocketAddr) {
    let peer = canonical_socket(peer);
    let Ok(to) = client.local_addr().map(canonical_socket) else {
        return;
    };
    if !cx.state.wait_synced(PATIENCE).await {
        if let Some(held_back) = cx.complaints.pass() {
            tracing::warn!(held_back, pod = %pod.uid, %peer, "reset: no policies from the controller yet");
        }
        return;
    }
    let Some(workload) = cx.state.workload(&pod.uid, PATIENCE).await else {
        if let Some(held_back) = cx.complaints.pass() {
            tracing::warn!(held_back, pod = %pod.uid, %peer, "reset: the controller does not know this pod");
        }
        return;
    };
    let open = decide(&cx, peer, to, &workload);
    if let Some(source) = cx.pods.by_ip(peer.ip())
        && !is_on_the_move(&cx, &source, &pod).await
    {
        return unexpected(&cx, &pod, &source, open);
    }
    // One that left the mesh is served for a moment, and has no policy any more.
    if workload.is_enrolled() && open.live().info.verdict.allowed != Some(true) {
        let reason = open.live().info.verdict.reason.clone();
        return open.finish(End::failed(Flag::Denied, reason));
    }
    carry(&cx, &pod, client, open, peer, to).await;
}

/// Whether one of two pods has just joined or left, as far as is known within [`HEARSAY`]: the other's word may have been on its way since
/// before, and counts as one from outside the mesh, which policy decides.
async fn is_on_the_move(cx: &Context, source: &Pod, destination: &Pod) -> bool {
    let moves = |pod: &Pod| {
        let mesh = cx.state.mesh();
        pod.is_new() || !mesh.workload(&pod.uid).is_some_and(|w| w.is_enrolled())
    };
    for _ in 0..HEARSAY {
        if moves(source) || moves(destination) {
            return true;
        }
        sleep(TURN).await;
    }
    false
}

/// Plaintext from a captured pod of this node: only direct flows are, and the kernel recognises them before they come here.
fn unexpected(cx: &Context, pod: &Pod, source: &Pod, open: Open) {
    let (peer, to) = {
        let info = &open.live().info;
        (info.source.address, info.destination.address)
    };
    let (flag, why) = if source.speaks_plain_from(peer) {
        (
            Flag::UnknownAddress,
            "the pod asked for an address that the mesh does not know (yet), and that leads into the mesh: a Service that is new?",
        )
    } else {
        cx.missed.note(peer.ip(), to.ip());
        (
            Flag::MissedDirect,
            "a direct flow that the kernel did not recognise",
        )
    };
    if let Some(held_back) = cx.complaints.pass() {
        tracing::warn!(held_back, pod = %pod.uid, %peer, source = %source.uid, "plaintext from an enrolled pod is reset: {why}");
    }
    open.finish(End::failed(flag, why));
}

fn decide(cx: &Context, peer: SocketAddr, to: SocketAddr, workload: &Arc<Workload>) -> Open {
    let mesh = cx.state.mesh();
    let question = Connection {
        identity: None,
        source: peer,
        destination: to,
    };
    cx.registry.open(Info {
        direction: Direction::Plaintext,
        source: Party {
            address: peer,
            workload: mesh.workload_by_ip(peer.ip()).cloned(),
            identity: None,
        },
        destination: Party {
            address: to,
            workload: Some(workload.clone()),
            identity: Some(workload.identity()),
        },
        original: None,
        service: None,
        security: Security::None,
        verdict: mesh
            .decide(&question, mesh.workload(&workload.uid).unwrap_or(workload))
            .into(),
    })
}

async fn carry(
    cx: &Context,
    pod: &Pod,
    mut client: TcpStream,
    open: Open,
    peer: SocketAddr,
    to: SocketAddr,
) {
    let connected = tokio::select! {
        r = deliver(cx, pod, peer, to) => r,
        () = open.killed() => {
            let end = open.ended_by();
            return open.finish(end);
        }
    };
    match connected {
        Ok(app) => {
            // The application's side is the local one, as for HBONE, so that counters mean the same.
            let mut app = app;
            let end = {
                let mut outside = IoTunnel::new(&mut client);
                relay(&mut app, &mut outside, &open).await
            };
            if end.flag == Flag::Ok {
                net::close_cleanly(&client);
            }
            open.finish(end);
        }
        Err(e) => open.finish(End::failed(
            Flag::Connect,
            format!("the application at {to}: {e}"),
        )),
    }
}
