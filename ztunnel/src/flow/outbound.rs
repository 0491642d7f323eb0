//! Connections out of a pod: captured, routed, and carried by HBONE or as they are.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use warren_core::Workload;
use warren_core::policy::Connection;
use warren_core::workload::Uid;
use warren_hbone::headers::{self, BAGGAGE, FORWARDED, TRACEPARENT};
use warren_hbone::pool::ConnectHead;
use warren_hbone::{
    Early, Expect, H2Tunnel, HandshakeError, IoTunnel, OpenError, PeerRefusal, PoolKey, tls,
};

use super::deliver::deliver;
use super::route::{Asker, Hop, NoRoute, Route, route};
use super::{baggage, own_address, relay};
use crate::context::{Context, PATIENCE};
use crate::lanes;
use crate::net::{self, OriginalDestination};
use crate::pods::Pod;
use crate::record::{Direction, End, Flag, Info, Party, Security, Verdict};

/// A peer that is being enrolled or replaced is asked again for this long.
const PASSING: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(100);
/// Endpoints of a service that do not answer are passed over for this long: three that drop packets.
const ELSEWHERE: Duration = Duration::from_secs(15);
/// A TCP connect to a peer's HBONE port.
const PEER_LIMIT: Duration = Duration::from_secs(5);
/// A TCP connect to a destination outside the mesh, as long as a kernel with usual settings tries.
const PLAIN_LIMIT: Duration = Duration::from_secs(127);

enum Leg {
    Tunnel(H2Tunnel),
    Plain(IoTunnel<TcpStream>),
}

/// Why no leg was made.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Route(#[from] NoRoute),
    #[error(transparent)]
    Peer(#[from] OpenError),
    #[error("cannot connect to {0}: {1}")]
    Plain(SocketAddr, io::Error),
}

impl Failure {
    fn flag(&self) -> Flag {
        match self {
            Self::Route(_) => Flag::NoEndpoint,
            Self::Peer(OpenError::Handshake(_) | OpenError::NoCertificate(_)) => Flag::Tls,
            Self::Peer(OpenError::Status(s)) if s.as_u16() == 401 => Flag::Denied,
            Self::Peer(_) | Self::Plain(..) => Flag::Connect,
        }
    }
}

/// Handles a connection accepted from the outbound listener of `pod`.
pub async fn handle(cx: Arc<Context>, pod: Arc<Pod>, client: TcpStream, peer: SocketAddr) {
    let Ok(asked) = cx.kernel.original_destination(client.as_fd()) else {
        cx.metrics.uncaptured.inc();
        tracing::debug!(pod = %pod.uid, %peer, "closed: nobody captured this connection");
        return;
    };
    if !cx.state.wait_synced(PATIENCE).await {
        if let Some(held_back) = cx.complaints.pass() {
            tracing::warn!(held_back, pod = %pod.uid, to = %asked.asked, "reset: no model from the controller yet, so nothing is known to be outside the mesh");
        }
        return;
    }
    let Some(source) = cx.state.workload(&pod.uid, PATIENCE).await else {
        if let Some(held_back) = cx.complaints.pass() {
            tracing::warn!(held_back, pod = %pod.uid, to = %asked.asked, "reset: the controller does not know this pod");
        }
        return;
    };
    carry(
        &cx,
        &pod,
        client,
        Ask {
            source,
            asked,
            peer,
        },
    )
    .await;
}

struct Ask {
    source: Arc<Workload>,
    asked: OriginalDestination,
    peer: SocketAddr,
}

async fn carry(cx: &Arc<Context>, pod: &Arc<Pod>, client: TcpStream, ask: Ask) {
    let mut client = Early::new(client);
    let mut tried: Vec<Uid> = Vec::new();
    let began = Instant::now();
    loop {
        let found = find(cx, &ask, &tried);
        let route = match found {
            Ok(r) => r,
            Err(e) => return fail(cx, &ask, None, &e.into()),
        };
        if let Hop::Own(to) = route.hop {
            return to_itself(cx, pod, client, &ask, &route, to).await;
        }
        let _outside = matches!(route.hop, Hop::Plain(_)).then(|| pod.outside(ask.peer));
        // Boxed, so that a connection does not hold the room of its handshake for all its life.
        match Box::pin(connect(cx, pod, &ask, &route, &mut client)).await {
            Ok(leg) => {
                let open = cx.registry.open(info(&ask, Some(&route)));
                open.live().counters.add_up(client.sent());
                let end = match leg {
                    Leg::Tunnel(mut t) => relay(&mut client, &mut t, &open).await,
                    Leg::Plain(mut t) => {
                        let end = relay(&mut client, &mut t, &open).await;
                        if end.flag == Flag::Ok {
                            net::close_cleanly(t.get_ref());
                        }
                        end
                    }
                };
                return open.finish(end);
            }
            Err(e) => {
                let other = note_tried(&mut tried, &route);
                if !may_go_on(&e, other, began.elapsed()) {
                    return fail(cx, &ask, Some(&route), &e);
                }
                if !other || is_passing(&e) {
                    sleep(AGAIN).await;
                }
            }
        }
    }
}

fn find(cx: &Context, ask: &Ask, tried: &[Uid]) -> Result<Route, NoRoute> {
    let asker = Asker {
        source: &ask.source,
        asked: ask.asked,
        tried,
        affinity: &cx.affinity,
    };
    route(&cx.state.mesh(), &asker)
}

/// Notes that this endpoint did not answer. True where it came by a service and was not noted before: there may be another.
fn note_tried(tried: &mut Vec<Uid>, route: &Route) -> bool {
    match (&route.service, &route.workload) {
        (Some(_), Some(w)) if !tried.contains(&w.uid) => {
            tried.push(w.uid.clone());
            true
        }
        _ => false,
    }
}

/// Whether to ask again, or elsewhere, where there may be `other` endpoints.
fn may_go_on(e: &Failure, other: bool, since: Duration) -> bool {
    (is_passing(e) && since < PASSING) || (other && may_try_another(e) && since < ELSEWHERE)
}

/// The peer's pod is being enrolled, its address has just passed to another one, or its tunnel is being replaced. Nothing
/// of the application's bytes was sent, so asking again is safe.
fn is_passing(e: &Failure) -> bool {
    let Failure::Peer(e) = e else { return false };
    match e {
        OpenError::Connect { kind, .. } => {
            matches!(
                kind,
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
            )
        }
        OpenError::Handshake(HandshakeError::Refused(r)) => {
            matches!(r, PeerRefusal::UnexpectedIdentity { .. })
        }
        OpenError::Handshake(HandshakeError::Io(_)) | OpenError::Broken(_) => true,
        _ => false,
    }
}

fn may_try_another(e: &Failure) -> bool {
    match e {
        Failure::Peer(p) => p.is_retryable(),
        Failure::Plain(..) => true,
        Failure::Route(_) => false,
    }
}

async fn connect(
    cx: &Arc<Context>,
    pod: &Arc<Pod>,
    ask: &Ask,
    route: &Route,
    client: &mut Early<TcpStream>,
) -> Result<Leg, Failure> {
    match &route.hop {
        Hop::Hbone {
            peer,
            authority,
            expect,
        } => {
            let head = head(ask, route, *authority);
            let tunnel = open_tunnel(cx, pod, ask, (*peer, expect), &head, client).await?;
            Ok(Leg::Tunnel(tunnel))
        }
        Hop::Plain(to) | Hop::Own(to) => {
            let limit = if route.service.is_some() {
                PEER_LIMIT
            } else {
                PLAIN_LIMIT
            };
            let plain = plain(pod, ask.peer, *to, limit).await;
            Ok(Leg::Plain(IoTunnel::new(
                plain.map_err(|e| Failure::Plain(*to, e))?,
            )))
        }
    }
}

/// A destination outside the mesh sees the client's own address and port, wherever the port is free towards it.
async fn plain(
    pod: &Pod,
    client: SocketAddr,
    to: SocketAddr,
    limit: Duration,
) -> io::Result<TcpStream> {
    let family = net::family(to.ip());
    let socket = pod.sockets.take(family).await?;
    net::keep_alive(&socket);
    if client.is_ipv4() != to.is_ipv4() || net::bind_shared(&socket, client).is_err() {
        return net::connect(socket, to, limit).await;
    }
    match net::connect(socket, to, limit).await {
        // The same four were in use a moment ago: any other port then.
        Err(e) if net::is_in_use(&e) => {
            let socket = pod.sockets.take(family).await?;
            net::keep_alive(&socket);
            net::connect(socket, to, limit).await
        }
        other => other,
    }
}

async fn open_tunnel(
    cx: &Arc<Context>,
    pod: &Arc<Pod>,
    ask: &Ask,
    (peer, expect): (SocketAddr, &Expect),
    head: &ConnectHead,
    client: &mut Early<TcpStream>,
) -> Result<H2Tunnel, OpenError> {
    let source = ask.source.identity();
    let key = PoolKey {
        source: source.clone(),
        pod: pod.uid.0.clone(),
        lane: lanes::here(),
        destination: peer,
        expect: expect.clone(),
    };
    let dial = || async {
        let cert = cx
            .certs
            .get(&source, PATIENCE)
            .await
            .map_err(OpenError::NoCertificate)?;
        let failed = |e: io::Error| OpenError::Connect {
            to: peer,
            kind: e.kind(),
            error: e.to_string(),
        };
        let socket = pod
            .sockets
            .take(net::family(peer.ip()))
            .await
            .map_err(failed)?;
        let tcp = net::connect(socket, peer, PEER_LIMIT)
            .await
            .map_err(failed)?;
        net::close_cleanly(&tcp);
        net::bound_if_near(&tcp);
        match tls::connect(tcp, &cert, &cx.trust, expect.clone(), cx.limits.handshake).await {
            Ok(tls) => {
                cx.metrics.handshakes.inc();
                Ok(tls)
            }
            Err(e) => {
                cx.metrics.handshake_failed(e.label());
                if let Some(held_back) = cx.complaints.pass() {
                    tracing::warn!(held_back, pod = %pod.uid, %peer, error = %e, "handshake with a peer failed");
                }
                Err(e.into())
            }
        }
    };
    Ok(cx.pool.open(&key, head, client, dial).await?.tunnel)
}

fn head(ask: &Ask, route: &Route, authority: SocketAddr) -> ConnectHead {
    let mut map = HeaderMap::with_capacity(3);
    map.insert(BAGGAGE, baggage(&ask.source).to_value());
    let host = route.service.as_ref().map(|s| &*s.hostname);
    map.insert(FORWARDED, headers::forwarded(ask.peer, host));
    map.insert(TRACEPARENT, headers::new_traceparent());
    ConnectHead {
        authority: authority.to_string(),
        headers: map,
    }
}

/// The pod calls itself, by its own address or by a service: the bytes stay in the pod, policy still holds.
async fn to_itself(
    cx: &Arc<Context>,
    pod: &Pod,
    mut client: Early<TcpStream>,
    ask: &Ask,
    route: &Route,
    to: SocketAddr,
) {
    let identity = ask.source.identity();
    let open = {
        let mesh = cx.state.mesh();
        let question = Connection {
            identity: Some(identity),
            source: ask.peer,
            destination: to,
        };
        let mut info = info(ask, Some(route));
        info.verdict = mesh.decide(&question, &ask.source).into();
        cx.registry.open(info)
    };
    if open.live().info.verdict.allowed != Some(true) {
        let reason = open.live().info.verdict.reason.clone();
        return open.finish(End::failed(Flag::Denied, reason));
    }
    match deliver(cx, pod, ask.peer, to).await {
        Ok(app) => {
            let mut app = IoTunnel::new(app);
            let end = relay(&mut client, &mut app, &open).await;
            if end.flag == Flag::Ok {
                net::close_cleanly(app.get_ref());
            }
            open.finish(end);
        }
        Err(e) => open.finish(End::failed(
            Flag::Connect,
            format!("the application at {to}: {e}"),
        )),
    }
}

fn info(ask: &Ask, route: Option<&Route>) -> Info {
    let source = Party {
        address: ask.peer,
        workload: Some(ask.source.clone()),
        identity: Some(ask.source.identity()),
    };
    let asked = ask.asked.asked;
    let mut info = Info {
        direction: Direction::Outbound,
        source,
        destination: Party::at(asked),
        original: None,
        service: None,
        security: Security::None,
        verdict: Verdict::elsewhere(),
    };
    let Some(route) = route else { return info };
    info.destination.address = route.address;
    info.destination.workload = route.workload.clone();
    info.original = (route.address != asked).then_some(asked);
    info.service = route.service.clone();
    info.security = match &route.hop {
        Hop::Hbone { expect, .. } => {
            if let Expect::OneOf(ids) = expect {
                info.destination.identity = ids.first().cloned();
            }
            Security::MutualTls
        }
        Hop::Own(_) => {
            info.destination.identity = Some(ask.source.identity());
            info.destination.address = own_address(&ask.source, route.address);
            Security::Kernel
        }
        Hop::Plain(_) => Security::None,
    };
    info
}

/// Records a connection that never came to be. Its socket is reset by its drop.
fn fail(cx: &Context, ask: &Ask, route: Option<&Route>, e: &Failure) {
    let open = cx.registry.open(info(ask, route));
    open.finish(End::failed(e.flag(), e));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_answer_is_passed_over_and_what_may_have_been_reached_is_not() {
        let connect = |kind: ErrorKind| {
            let (to, error) = (SocketAddr::from(([10, 0, 0, 1], 15008)), String::new());
            Failure::Peer(OpenError::Connect { to, kind, error })
        };
        let after =
            |seconds: u64, e: &Failure, other| may_go_on(e, other, Duration::from_secs(seconds));
        let silent = connect(ErrorKind::TimedOut);
        assert!(after(5, &silent, true) && after(10, &silent, true));
        assert!(!after(15, &silent, true) && !after(0, &silent, false));
        let refused = connect(ErrorKind::ConnectionRefused);
        assert!(after(0, &refused, false) && !after(3, &refused, false));
        for reached in [
            OpenError::Lost("reset".into()),
            OpenError::Status(http::StatusCode::BAD_GATEWAY),
            OpenError::Status(http::StatusCode::UNAUTHORIZED),
        ] {
            assert!(!after(0, &Failure::Peer(reached), true));
        }
    }
}
