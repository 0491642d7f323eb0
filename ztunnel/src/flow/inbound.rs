//! Connections into a pod by HBONE: the peer proves who it is, policy decides, the application is connected, then 200.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpStream;
use warren_core::address::{canonical, canonical_socket};
use warren_core::policy::Connection;
use warren_core::workload::Uid;
use warren_core::{Identity, Workload};
use warren_hbone::{Authority, ConnectRequest, Handler, HandshakeError, headers, serve, tls};

use super::deliver::deliver;
use super::{Known, baggage, relay};
use crate::context::{Context, PATIENCE};
use crate::net;
use crate::places::Place;
use crate::pods::Pod;
use crate::record::{Direction, End, Flag, Info, Open, Party, Security};

/// The virtual ports of a pod, which no application can have.
const RESERVED: [u16; 3] = [15001, 15006, 15008];

type PeerPlace = Place<(Uid, Identity, IpAddr)>;

/// Handles a connection accepted from the HBONE listener of `pod`.
pub async fn handle(cx: Arc<Context>, pod: Arc<Pod>, tcp: TcpStream, peer: SocketAddr) {
    let (peer, local) = (
        canonical_socket(peer),
        tcp.local_addr().map(canonical_socket),
    );
    let Ok(local) = local else { return };
    // Boxed, so that a connection does not hold the room of its handshake for all its life.
    match Box::pin(accept(&cx, &pod, tcp, peer.ip())).await {
        Ok((tls, _place)) => {
            cx.metrics.handshakes.inc();
            let side = Side {
                cx: cx.clone(),
                pod,
                local,
                peer,
                identity: tls.peer,
            };
            let end = serve(tls.stream, &cx.limits, side.drain(), &side).await;
            if let Err(error) = end {
                tracing::debug!(pod = %side.pod.uid, %peer, %error, "HBONE connection ended");
            }
        }
        Err(error) => {
            cx.metrics.handshake_failed(error.label());
            if let Some(held_back) = cx.complaints.pass() {
                tracing::warn!(held_back, pod = %pod.uid, %peer, reason = error.label(), %error, "HBONE connection refused");
            }
        }
    }
}

async fn accept(
    cx: &Context,
    pod: &Pod,
    tcp: TcpStream,
    peer: IpAddr,
) -> Result<(tls::Accepted<tls::Encrypted<TcpStream>>, PeerPlace), HandshakeError> {
    net::bound_if_near(&tcp);
    let _place = cx.handshakes.take(peer).ok_or(HandshakeError::TooMany)?;
    let unknown = || HandshakeError::NoCertificate("the controller does not know this pod".into());
    let workload = cx
        .state
        .workload(&pod.uid, PATIENCE)
        .await
        .ok_or_else(unknown)?;
    let cert = cx
        .certs
        .get(&workload.identity(), PATIENCE)
        .await
        .map_err(HandshakeError::NoCertificate)?;
    let tls = tls::accept(tcp, &cert, &cx.trust, cx.limits.handshake).await?;
    let key = (pod.uid.clone(), tls.peer.clone(), peer);
    let place = cx
        .peers
        .take(key)
        .ok_or(HandshakeError::TooManyConnections)?;
    Ok((tls, place))
}

/// One connection of a peer.
#[derive(Clone)]
struct Side {
    cx: Arc<Context>,
    pod: Arc<Pod>,
    local: SocketAddr,
    peer: SocketAddr,
    identity: Identity,
}

impl Handler for Side {
    fn connect(&self, request: ConnectRequest) {
        let side = self.clone();
        let busy = self.pod.busy();
        tokio::spawn(async move {
            side.handle(request).await;
            drop(busy);
        });
    }

    fn malformed(&self, why: &'static str) {
        self.cx.metrics.malformed.inc();
        if let Some(held_back) = self.cx.complaints.pass() {
            tracing::warn!(held_back, pod = %self.pod.uid, peer = %self.peer, identity = %self.identity, why, "HBONE request refused");
        }
    }
}

impl Side {
    /// A tunnel that ends gives its streams a while; a pod that was let go gives them as long as they want.
    async fn drain(&self) -> Option<Duration> {
        tokio::select! {
            () = self.cx.drain.cancelled() => Some(self.cx.drain_limit),
            () = self.pod.retired() => None,
        }
    }

    async fn handle(&self, request: ConnectRequest) {
        let to = match self.destination(&request.authority) {
            Ok(to) => to,
            Err((status, why)) => {
                if let Some(held_back) = self.cx.complaints.pass() {
                    tracing::warn!(held_back, pod = %self.pod.uid, peer = %self.peer, authority = ?request.authority, why, "HBONE request refused");
                }
                return request.refuse(status);
            }
        };
        let Some(workload) = self.cx.state.workload(&self.pod.uid, PATIENCE).await else {
            return request.refuse(StatusCode::SERVICE_UNAVAILABLE);
        };
        let client = self.client(&request, &workload);
        let open = self.decide(client, to, &workload);
        if open.live().info.verdict.allowed != Some(true) {
            request.refuse(StatusCode::UNAUTHORIZED);
            let reason = open.live().info.verdict.reason.clone();
            return open.finish(End::failed(Flag::Denied, reason));
        }
        self.carry(request, open, client, to, &workload).await;
    }

    async fn carry(
        &self,
        mut request: ConnectRequest,
        open: Open,
        client: SocketAddr,
        to: SocketAddr,
        workload: &Workload,
    ) {
        let connected = tokio::select! {
            r = deliver(&self.cx, &self.pod, client, to) => r,
            () = open.killed() => {
                request.refuse(StatusCode::UNAUTHORIZED);
                let end = open.ended_by();
                return open.finish(end);
            }
            () = request.abandoned() => {
                return open.finish(End::failed(Flag::Reset, "the client went away before the application answered"));
            }
        };
        let mut app = match connected {
            Ok(app) => app,
            Err(e) => {
                // One that accepted and hung up at once was reached: the client's tunnel must not ask another endpoint.
                request.refuse(match e.kind() {
                    ErrorKind::ConnectionReset => StatusCode::BAD_GATEWAY,
                    _ => StatusCode::SERVICE_UNAVAILABLE,
                });
                return open.finish(End::failed(
                    Flag::Connect,
                    format!("the application at {to}: {e}"),
                ));
            }
        };
        match request.accept(baggage(workload).to_value()) {
            Ok(mut tunnel) => {
                let end = relay(&mut app, &mut tunnel, &open).await;
                open.finish(end);
            }
            Err(e) => open.finish(End::failed(Flag::Reset, e)),
        }
    }

    /// The address asked for has to be the one that the peer connected to.
    fn destination(&self, authority: &Authority) -> Result<SocketAddr, (StatusCode, &'static str)> {
        let to = match authority {
            Authority::Socket(to) => canonical_socket(*to),
            Authority::Host(..) => {
                return Err((StatusCode::BAD_REQUEST, "names are for waypoints"));
            }
        };
        if to.ip() != self.local.ip() {
            return Err((StatusCode::BAD_REQUEST, "the address is not this pod's"));
        }
        if RESERVED.contains(&to.port()) || to.port() == 0 {
            return Err((
                StatusCode::SERVICE_UNAVAILABLE,
                "the port is the mesh's own",
            ));
        }
        Ok(to)
    }

    /// The peer's socket is made in its pod, so the address is the pod's own; the port comes from `forwarded`. Another
    /// address is believed only of the destination's waypoint.
    fn client(&self, request: &ConnectRequest, workload: &Workload) -> SocketAddr {
        let Some(named) = headers::client_of(&request.headers).map(canonical_socket) else {
            return self.peer;
        };
        let may_name = named.ip() == self.peer.ip() || self.is_waypoint_of(workload);
        if may_name && named.is_ipv4() == self.local.is_ipv4() {
            named
        } else {
            self.peer
        }
    }

    fn is_waypoint_of(&self, workload: &Workload) -> bool {
        use warren_core::workload::GatewayDestination as G;
        let mesh = self.cx.state.mesh();
        let Some(peer) = mesh.workload_by_ip(self.peer.ip()) else {
            return false;
        };
        let serves = |g: &G| match g {
            G::Service(key) => peer.services.contains_key(key),
            G::Address(a) => peer.addresses.contains(&canonical(a.ip)),
        };
        let of_services = workload
            .services
            .keys()
            .filter_map(|k| mesh.service(k)?.waypoint.as_ref());
        peer.identity() == self.identity
            && workload
                .waypoint
                .iter()
                .chain(of_services)
                .any(|g| serves(&g.destination))
    }

    fn decide(&self, client: SocketAddr, to: SocketAddr, workload: &Arc<Workload>) -> Open {
        let mesh = self.cx.state.mesh();
        let question = Connection {
            identity: Some(self.identity.clone()),
            source: client,
            destination: to,
        };
        let source: Known = mesh
            .workload_by_ip(client.ip())
            .filter(|w| w.identity() == self.identity)
            .cloned();
        self.cx.registry.open(Info {
            direction: Direction::Inbound,
            source: Party {
                address: client,
                workload: source,
                identity: Some(self.identity.clone()),
            },
            destination: Party {
                address: to,
                workload: Some(workload.clone()),
                identity: Some(workload.identity()),
            },
            original: None,
            service: None,
            security: Security::MutualTls,
            verdict: mesh
                .decide(&question, mesh.workload(&workload.uid).unwrap_or(workload))
                .into(),
        })
    }
}
