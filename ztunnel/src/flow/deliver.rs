//! The last leg: from the tunnel to the application, over `lo` inside the pod.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use crate::context::Context;
use crate::net;
use crate::pods::Pod;

/// An application whose queue is full answers late; without a mesh its client would wait as well.
const LIMIT: Duration = Duration::from_secs(10);

/// Ports of the band that are tried before the choice is left to the kernel.
const TRIES: usize = 8;

/// Connects to the application at `to`, one of the pod's own addresses, on behalf of `client`.
pub(super) async fn deliver(
    cx: &Context,
    pod: &Pod,
    client: SocketAddr,
    to: SocketAddr,
) -> io::Result<TcpStream> {
    for _ in 0..TRIES {
        let Some(port) = pod.ports.next() else { break };
        let socket = prepare(cx, pod, client, to).await?;
        if socket.bind(SocketAddr::new(to.ip(), port)).is_err() {
            break;
        }
        match net::connect(socket, to, LIMIT).await {
            Err(e) if net::is_in_use(&e) => {}
            other => return other,
        }
    }
    net::connect(prepare(cx, pod, client, to).await?, to, LIMIT).await
}

async fn prepare(
    cx: &Context,
    pod: &Pod,
    client: SocketAddr,
    to: SocketAddr,
) -> io::Result<TcpSocket> {
    let socket = pod.sockets.take(net::family(to.ip())).await?;
    net::bound_local(&socket);
    cx.kernel
        .declare_client(socket.as_fd(), client)
        .map_err(|e| io::Error::new(e.kind(), format!("the kernel programs do not answer: {e}")))?;
    Ok(socket)
}
