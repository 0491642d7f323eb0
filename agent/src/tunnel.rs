//! The agent's end of the node socket: one tunnel at a time, a newer one in place of an older one. An update runs both for a while:
//! the older one, which tries to come back, is turned away as long as the newer one is there.

use std::collections::BTreeSet;
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

mod turn;

use turn::Turn;

/// How long a tunnel may take to say hello.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// Messages that may wait for a tunnel that does not read.
const QUEUE: usize = 1024;

/// One message with its descriptors.
pub type Outgoing = (ToTunnel, Vec<Arc<dyn AsFd + Send + Sync>>);

/// Where messages to the tunnel go.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<Option<Place>>>);

/// The connection that is used.
struct Place {
    link: u64,
    queue: mpsc::Sender<Outgoing>,
    /// Pods that its tunnel serves.
    pods: BTreeSet<String>,
}

impl Outbox {
    /// Queues a message for the connection `link`; drops it if another one is used by now. A tunnel that does not read is
    /// disconnected rather than waited for.
    pub fn send(&self, link: u64, message: Outgoing) {
        let mut place = self.0.lock();
        let Some(current) = place.as_mut().filter(|current| current.link == link) else {
            return;
        };
        match &message.0 {
            ToTunnel::AddPod { uid, .. } => drop(current.pods.insert(uid.clone())),
            ToTunnel::RemovePod { uid } => drop(current.pods.remove(uid)),
            _ => {}
        }
        if current.queue.try_send(message).is_err() {
            tracing::error!("the tunnel does not read its messages: it is disconnected");
            *place = None;
        }
    }

    /// From now on messages go to `link`. A tunnel that is replaced hears that none of its pods is its own any more.
    fn put(&self, link: u64, queue: mpsc::Sender<Outgoing>) {
        let new = Place {
            link,
            queue,
            pods: BTreeSet::new(),
        };
        let Some(old) = self.0.lock().replace(new) else {
            return;
        };
        for uid in old.pods {
            // One that does not read is disconnected anyway.
            let _ = old
                .queue
                .try_send((ToTunnel::RemovePod { uid }, Vec::new()));
        }
    }

    fn drop_link(&self, link: u64) {
        self.0.lock().take_if(|current| current.link == link);
    }
}

/// Where the cgroups of tunnels are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where programs are attached.
    pub anchor: PathBuf,
    /// The tunnel's cgroup or one above it, where it is given.
    pub given: Option<PathBuf>,
}

impl Places {
    /// The cgroup of the tunnel that is connected, if it is the given one or below it: the kernel programs compare exactly.
    pub fn of(&self, found: Option<PathBuf>) -> Option<PathBuf> {
        let Some(given) = &self.given else {
            return found;
        };
        found
            .filter(|f| f.starts_with(given))
            .or_else(|| Some(given.clone()))
    }
}

/// What the connections of all tunnels have in common.
#[derive(Clone)]
struct Shared {
    node: mpsc::Sender<Input>,
    outbox: Outbox,
    places: Places,
    found: Arc<watch::Sender<Option<PathBuf>>>,
    turn: Arc<Mutex<Turn>>,
}

/// Binds `path` and serves tunnels until the task is dropped. `found` is told the cgroup of each tunnel that connects.
///
/// # Errors
/// The path cannot be bound.
pub fn serve(
    path: &Path,
    node: mpsc::Sender<Input>,
    outbox: Outbox,
    places: Places,
    found: watch::Sender<Option<PathBuf>>,
) -> Result<impl Future<Output = ()> + use<>, Error> {
    let listener = Listener::bind(path)?;
    let shared = Shared {
        node,
        outbox,
        places,
        found: Arc::new(found),
        turn: Arc::default(),
    };
    Ok(accept(listener, shared))
}

async fn accept(listener: Listener, shared: Shared) {
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
        let shared = shared.clone();
        tokio::spawn(async move { converse(link, socket, shared).await });
    }
}

async fn converse(link: u64, socket: AgentSocket, shared: Shared) {
    let (version, instance) = match timeout(HELLO_LIMIT, socket.recv()).await {
        Ok(Ok(Some((ToAgent::Hello { version, instance }, _)))) => (version, instance),
        other => {
            return tracing::warn!(
                ?other,
                "node socket: a connection did not begin with hello: closed"
            );
        }
    };
    let started = peer_of(&socket).and_then(started).unwrap_or_default();
    if !shared.turn.lock().admit(link, &instance, started) {
        return tracing::debug!(instance, "a tunnel that was replaced is turned away");
    }
    tracing::info!(version, instance, "a tunnel says hello");
    let (queue, messages) = mpsc::channel(QUEUE);
    shared.outbox.put(link, queue);
    let cgroup = shared.cgroup_of(&socket);
    let up = Input::TunnelUp {
        link,
        instance,
        cgroup,
    };
    if shared.node.send(up).await.is_err() {
        return;
    }
    tokio::select! {
        () = write(&socket, messages) => {}
        () = read(link, &socket, &shared.node) => {}
    }
    shared.turn.lock().leave(link);
    shared.outbox.drop_link(link);
    // The node is gone only when the process ends.
    let _ = shared.node.send(Input::TunnelDown { link }).await;
}

impl Shared {
    /// The id of the cgroup that the tunnel at the other end is in, 0 where it is not known.
    fn cgroup_of(&self, socket: &AgentSocket) -> u64 {
        let dir =
            peer_of(socket).and_then(|pid| crate::cgroup::of_process(pid, &self.places.anchor));
        self.found
            .send_if_modified(|old| dir.is_some() && std::mem::replace(old, dir.clone()) != dir);
        crate::cgroup::id_of(self.places.of(dir).as_deref())
    }
}

/// The process at the other end.
fn peer_of(socket: &AgentSocket) -> Option<u32> {
    let peer = getsockopt(socket, PeerCredentials).ok()?;
    u32::try_from(peer.pid()).ok()
}

/// When a process began, in ticks since boot: field 22 of proc(5)'s `stat`. Its name, field 2, may hold anything but ends at the last `)`.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn add(uid: &str) -> Outgoing {
        let message = ToTunnel::AddPod {
            uid: uid.into(),
            netns_cookie: 1,
            addresses: Vec::new(),
            listeners: Vec::new(),
        };
        (message, Vec::new())
    }

    #[tokio::test]
    async fn a_tunnel_that_is_replaced_is_told_to_let_its_pods_go() {
        let outbox = Outbox::default();
        let (old, mut heard) = mpsc::channel(QUEUE);
        outbox.put(1, old);
        outbox.send(1, add("gone"));
        outbox.send(1, (ToTunnel::RemovePod { uid: "gone".into() }, Vec::new()));
        outbox.send(1, add("there"));
        let (new, mut successor) = mpsc::channel(QUEUE);
        outbox.put(2, new);
        outbox.send(1, add("late"));
        let mut said = Vec::new();
        while let Some((message, _)) = heard.recv().await {
            said.push(message);
        }
        assert_eq!(said.len(), 4, "then its connection ends: {said:?}");
        assert!(matches!(&said[3], ToTunnel::RemovePod { uid } if uid == "there"));
        assert!(successor.try_recv().is_err());
    }
}
