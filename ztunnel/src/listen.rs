//! Accept loops of a pod's listening sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use warren_api::node::{ListenerKind, Traffic};

use crate::context::Context;
use crate::flow::{inbound, outbound, plaintext};
use crate::lanes::Lanes;
use crate::net;
use crate::pods::Pod;

/// A listening socket that is given up is accepted from for so long still: a connection that was led to it just before is in its queue,
/// or a packet away from that, and would be reset.
const LAST: Duration = Duration::from_millis(100);
/// After an error that would come again at once, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts accepting from `sockets` in place of those that the pod had.
pub fn start(
    cx: &Arc<Context>,
    pod: &Arc<Pod>,
    sockets: Vec<(ListenerKind, OwnedFd)>,
    lanes: &Lanes,
) -> io::Result<()> {
    let mut listeners = Vec::with_capacity(sockets.len());
    for (kind, fd) in &sockets {
        let listener = std::net::TcpListener::from(fd.try_clone()?);
        listener.set_nonblocking(true)?;
        net::prepare_listener(&listener, kind.kind);
        let lane = lanes.in_turn();
        let _on_lane = lane.enter();
        listeners.push((lane, kind.kind, TcpListener::from_std(listener)?));
    }
    let stop = pod.listen(sockets);
    for (lane, traffic, listener) in listeners {
        let door = Door {
            cx: cx.clone(),
            pod: pod.clone(),
            traffic,
            lanes: lanes.clone(),
        };
        lane.spawn(door.accept(listener, stop.clone()));
    }
    Ok(())
}

/// One listening socket.
struct Door {
    cx: Arc<Context>,
    pod: Arc<Pod>,
    traffic: Traffic,
    lanes: Lanes,
}

impl Door {
    async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        tokio::select! {
            biased;
            // A process that is ending leaves new connections in the queue, for the next one to take.
            () = self.cx.drain.cancelled() => {}
            () = async { stop.cancelled().await; sleep(LAST).await } => {}
            () = self.accept_all(&listener) => {}
        }
    }

    async fn accept_all(&self, listener: &TcpListener) {
        loop {
            let taken = match listener.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer),
                Err(e) if is_of_one_connection(&e) => Ok(()),
                Err(e) => Err(e),
            };
            if let Err(error) = taken {
                tracing::warn!(pod = %self.pod.uid, %error, "cannot accept; trying again");
                sleep(PAUSE).await;
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let (cx, pod, traffic) = (self.cx.clone(), self.pod.clone(), self.traffic);
        let busy = self.pod.busy();
        self.lanes.carry(stream, move |stream, load| async move {
            match traffic {
                Traffic::Outbound => outbound::handle(cx, pod, stream, peer).await,
                Traffic::Plaintext => plaintext::handle(cx, pod, stream, peer).await,
                Traffic::Hbone => inbound::handle(cx, pod, stream, peer).await,
            }
            drop((busy, load));
        })
    }
}

/// accept(2) also tells what happened to a connection that was waiting.
fn is_of_one_connection(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        e.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
