//! Accept loops of a pod's listening sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use warren_api::node::{ListenerKind, Traffic};

use crate::context::Context;
use crate::flow::{inbound, outbound, plaintext};
use crate::pods::Pod;

/// After an error that would come again at once, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts accepting from `sockets` in place of those that the pod had.
pub fn start(
    cx: &Arc<Context>,
    pod: &Arc<Pod>,
    sockets: Vec<(ListenerKind, OwnedFd)>,
    data: &Handle,
) -> io::Result<()> {
    let _on_data = data.enter();
    let mut listeners = Vec::with_capacity(sockets.len());
    for (kind, fd) in &sockets {
        let listener = std::net::TcpListener::from(fd.try_clone()?);
        listener.set_nonblocking(true)?;
        listeners.push((kind.kind, TcpListener::from_std(listener)?));
    }
    let stop = pod.listen(sockets);
    for (traffic, listener) in listeners {
        data.spawn(accept(
            cx.clone(),
            pod.clone(),
            traffic,
            listener,
            stop.clone(),
        ));
    }
    Ok(())
}

async fn accept(
    cx: Arc<Context>,
    pod: Arc<Pod>,
    traffic: Traffic,
    listener: TcpListener,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            // A process that is ending leaves new connections in the queue, for the next one to take.
            () = cx.drain.cancelled() => return,
            a = listener.accept() => a,
        };
        match accepted {
            Ok((stream, peer)) => serve(cx.clone(), pod.clone(), traffic, stream, peer),
            Err(e) if is_of_one_connection(&e) => {}
            Err(error) => {
                tracing::warn!(pod = %pod.uid, %error, "cannot accept; trying again");
                sleep(PAUSE).await;
            }
        }
    }
}

fn serve(cx: Arc<Context>, pod: Arc<Pod>, traffic: Traffic, stream: TcpStream, peer: SocketAddr) {
    let busy = pod.busy();
    tokio::spawn(async move {
        match traffic {
            Traffic::Outbound => outbound::handle(cx, pod, stream, peer).await,
            Traffic::Plaintext => plaintext::handle(cx, pod, stream, peer).await,
            Traffic::Hbone => inbound::handle(cx, pod, stream, peer).await,
        }
        drop(busy);
    });
}

/// accept(2) also tells what happened to a connection that was waiting.
fn is_of_one_connection(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        e.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
