//! The last leg: from the tunnel to the application, over `lo` inside the pod.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::context::Context;
use crate::net;
use crate::pods::Pod;

/// An application whose queue is full answers late; without a mesh its client would wait as well.
const LIMIT: Duration = Duration::from_secs(10);

/// Connects to the application at `to`, one of the pod's own addresses, on behalf of `client`.
pub(super) async fn deliver(
    cx: &Context,
    pod: &Pod,
    client: SocketAddr,
    to: SocketAddr,
) -> io::Result<TcpStream> {
    let socket = pod.sockets.take(net::family(to.ip())).await?;
    cx.kernel
        .declare_client(socket.as_fd(), client)
        .map_err(|e| io::Error::new(e.kind(), format!("the kernel programs do not answer: {e}")))?;
    net::connect(socket, to, LIMIT).await
}
