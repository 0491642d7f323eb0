//! The three ways of a connection: out of a pod, into a pod by HBONE, into a pod in plaintext.

pub mod inbound;
pub mod outbound;
pub mod plaintext;
pub mod route;

mod deliver;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use warren_core::Workload;
use warren_hbone::{CopyError, Tunnel, copy};

use crate::net;
use crate::record::{End, Flag, Open};

/// Copies until the end, a failure, or a change of policy; anything but a clean end resets both sides.
async fn relay<L, T>(local: &mut L, remote: &mut T, open: &Open) -> End
where
    L: AsyncRead + AsyncWrite + Unpin + AsFd,
    T: Tunnel,
{
    let end = tokio::select! {
        end = copy(local, remote, &open.live().counters) => end,
        () = open.killed() => {
            remote.reset();
            return open.ended_by();
        }
    };
    match end {
        Ok(()) => {
            net::close_cleanly(local);
            End::ok()
        }
        Err(e @ CopyError::Local(_)) => End::failed(Flag::Reset, e),
        Err(e @ CopyError::Tunnel(_)) => End::failed(Flag::Reset, e),
    }
}

/// What baggage says about a workload.
fn baggage(w: &Workload) -> warren_hbone::headers::Baggage<'_> {
    use warren_core::workload::WorkloadKind;
    warren_hbone::headers::Baggage {
        cluster: &w.cluster,
        namespace: &w.namespace,
        kind: match w.kind {
            WorkloadKind::Deployment => "deployment",
            WorkloadKind::CronJob => "cronjob",
            WorkloadKind::Pod => "pod",
            WorkloadKind::Job => "job",
        },
        workload: &w.workload_name,
        service: &w.canonical_name,
        version: &w.canonical_revision,
        region: &w.locality.region,
        zone: &w.locality.zone,
    }
}

/// The workload's address of the same family as `like`, for records.
fn own_address(w: &Workload, like: SocketAddr) -> SocketAddr {
    let ip = w.addresses.iter().find(|ip| ip.is_ipv4() == like.is_ipv4());
    SocketAddr::new(ip.copied().unwrap_or(like.ip()), like.port())
}

/// A shared workload, for records.
type Known = Option<Arc<Workload>>;
