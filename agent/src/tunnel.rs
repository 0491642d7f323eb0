//! The agent's end of the node socket: one tunnel at a time, a newer one in place of an older one.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use warren_api::node::{AgentSocket, Error, Listener, ToAgent, ToTunnel};

use crate::node::Input;

/// How long a tunnel may take to say hello.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// Messages that may wait for a tunnel that does not read.
const QUEUE: usize = 1024;

/// One message with its descriptors.
pub type Outgoing = (ToTunnel, Vec<Arc<dyn AsFd + Send + Sync>>);

/// Where messages to the tunnel go.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<Option<Place>>>);

/// The connection that is used, and its queue.
type Place = (u64, mpsc::Sender<Outgoing>);

impl Outbox {
    /// Queues a message for the connection `link`; drops it if another one is used by now. A tunnel that does not read is
    /// disconnected rather than waited for.
    pub fn send(&self, link: u64, message: Outgoing) {
        let mut place = self.0.lock();
        let Some((_, queue)) = place.as_ref().filter(|(current, _)| *current == link) else {
            return;
        };
        if queue.try_send(message).is_err() {
            tracing::error!("the tunnel does not read its messages: it is disconnected");
            *place = None;
        }
    }

    fn put(&self, link: u64, queue: mpsc::Sender<Outgoing>) {
        *self.0.lock() = Some((link, queue));
    }

    fn drop_link(&self, link: u64) {
        let mut place = self.0.lock();
        if place.as_ref().is_some_and(|(current, _)| *current == link) {
            *place = None;
        }
    }
}

/// Binds `path` and serves tunnels until the task is dropped. `found` is told the cgroup of each tunnel that connects.
///
/// # Errors
/// The path cannot be bound.
pub fn serve(
    path: &Path,
    node: mpsc::Sender<Input>,
    outbox: Outbox,
    cgroup: PathBuf,
    found: watch::Sender<Option<PathBuf>>,
) -> Result<impl Future<Output = ()> + use<>, Error> {
    let listener = Listener::bind(path)?;
    Ok(accept(listener, node, outbox, cgroup, found))
}

async fn accept(
    listener: Listener,
    node: mpsc::Sender<Input>,
    outbox: Outbox,
    cgroup: PathBuf,
    found: watch::Sender<Option<PathBuf>>,
) {
    let mut link = 0;
    loop {
        let socket: AgentSocket = match listener.accept().await {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!("{error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        link += 1;
        if let Ok(peer) = getsockopt(&socket, PeerCredentials) {
            let dir = u32::try_from(peer.pid())
                .ok()
                .and_then(|pid| crate::cgroup::of_process(pid, &cgroup));
            found.send_if_modified(|old| {
                dir.is_some() && std::mem::replace(old, dir.clone()) != dir
            });
        }
        let (node, outbox) = (node.clone(), outbox.clone());
        tokio::spawn(async move { converse(link, socket, node, outbox).await });
    }
}

async fn converse(link: u64, socket: AgentSocket, node: mpsc::Sender<Input>, outbox: Outbox) {
    let instance = match timeout(HELLO_LIMIT, socket.recv()).await {
        Ok(Ok(Some((ToAgent::Hello { version, instance }, _)))) => {
            tracing::info!(version, instance, "a tunnel says hello");
            instance
        }
        other => {
            return tracing::warn!(
                ?other,
                "node socket: a connection did not begin with hello: closed"
            );
        }
    };
    let (queue, messages) = mpsc::channel(QUEUE);
    outbox.put(link, queue);
    if node.send(Input::TunnelUp { link, instance }).await.is_err() {
        return;
    }
    tokio::select! {
        () = write(&socket, messages) => {}
        () = read(link, &socket, &node) => {}
    }
    outbox.drop_link(link);
    // The node is gone only when the process ends.
    let _ = node.send(Input::TunnelDown { link }).await;
}

async fn write(socket: &AgentSocket, mut messages: mpsc::Receiver<Outgoing>) {
    while let Some((message, fds)) = messages.recv().await {
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
        if let Err(error) = socket.send(&message, &borrowed).await {
            return tracing::warn!("{error}");
        }
    }
}

async fn read(link: u64, socket: &AgentSocket, node: &mpsc::Sender<Input>) {
    loop {
        match socket.recv().await {
            Ok(Some((message, fds))) => {
                if node
                    .send(Input::FromTunnel { link, message, fds })
                    .await
                    .is_err()
                {
                    return;
                }
            }
            Ok(None) => return,
            Err(error @ (Error::Malformed(_) | Error::TooLong | Error::TooManyFds)) => {
                tracing::warn!("{error}")
            }
            Err(error) => return tracing::warn!("{error}"),
        }
    }
}
