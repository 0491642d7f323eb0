//! The tunnel's end of the node socket: takes pods from the agent, tells what became of them, and outlives it.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;
use warren_api::node::{Error, ListenerKind, ToAgent, ToTunnel, TunnelSocket};
use warren_core::workload::Uid;

use crate::context::Context;
use crate::lanes::Lanes;
use crate::listen;
use crate::net::SocketMaker;
use crate::pods::Pod;

const AGAIN: Duration = Duration::from_millis(500);

/// Serves the node socket for ever.
pub struct Agent {
    /// Shared with the data path.
    pub cx: Arc<Context>,
    /// `RUN/agent.sock`.
    pub path: PathBuf,
    /// Where connections are carried.
    pub lanes: Lanes,
    /// Makes in-pod sockets.
    pub maker: SocketMaker,
    /// Differs from process to process.
    pub instance: String,
    /// Woken when the set of pods has changed.
    pub pods_changed: Arc<tokio::sync::Notify>,
}

impl Agent {
    /// Connects, serves, and connects again when the agent went away. Pods stay served meanwhile.
    pub async fn run(self) {
        let mut complained = false;
        loop {
            match connect(&self.path).await {
                Ok(socket) => {
                    complained = false;
                    tracing::info!(socket = %self.path.display(), "connected to the agent");
                    self.cx.agent_connected.store(true, Ordering::Release);
                    let end = self.session(Arc::new(socket)).await;
                    self.cx.agent_connected.store(false, Ordering::Release);
                    tracing::warn!(error = ?end.err().map(|e| e.to_string()), "the agent went away; its pods stay served");
                }
                Err(error) if !complained => {
                    complained = true;
                    tracing::warn!(%error, "no agent; trying again until there is one");
                }
                Err(_) => {}
            }
            sleep(AGAIN).await;
        }
    }

    async fn session(&self, socket: Arc<TunnelSocket>) -> Result<(), Error> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        socket
            .send(
                &ToAgent::Hello {
                    version,
                    instance: self.instance.clone(),
                },
                &[],
            )
            .await?;
        let mut named = HashSet::new();
        loop {
            let received = tokio::select! {
                received = socket.recv() => received,
                () = self.cx.missed.some() => {
                    self.tell_missed(&socket).await?;
                    continue;
                }
            };
            let (message, fds) = match received {
                Ok(Some(m)) => m,
                Ok(None) => return Ok(()),
                Err(error @ (Error::Malformed(_) | Error::TooLong | Error::TooManyFds)) => {
                    tracing::warn!(%error, "a message of the agent was ignored");
                    continue;
                }
                Err(e) => return Err(e),
            };
            match message {
                ToTunnel::AddPod {
                    uid,
                    netns_cookie,
                    addresses,
                    listeners,
                } => {
                    named.insert(Uid::from(uid.as_str()));
                    let added = self.add((&uid, netns_cookie, addresses), listeners, fds);
                    let answer = match added {
                        Ok(()) => ToAgent::PodReady { uid },
                        Err(reason) => {
                            tracing::warn!(%uid, reason, "a pod cannot be served");
                            ToAgent::PodFailed { uid, reason }
                        }
                    };
                    socket.send(&answer, &[]).await?;
                }
                ToTunnel::RemovePod { uid } => self.remove(&Uid::from(uid.as_str()), Some(&socket)),
                ToTunnel::Synced {} => self.synced(&named, &socket),
                ToTunnel::Recover {} => self.recover(&socket).await?,
            }
        }
    }

    async fn tell_missed(&self, socket: &TunnelSocket) -> Result<(), Error> {
        for (source, destination) in self.cx.missed.take() {
            let message = ToAgent::MissedDirect {
                source,
                destination,
            };
            socket.send(&message, &[]).await?;
        }
        Ok(())
    }

    fn add(
        &self,
        (uid, cookie, addresses): (&str, u64, Vec<std::net::IpAddr>),
        kinds: Vec<ListenerKind>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let mut fds = fds.into_iter();
        let netns = fds
            .next()
            .ok_or("the pod's network namespace did not come with the message")?;
        let sockets: Vec<_> = kinds.iter().copied().zip(fds).collect();
        if sockets.len() != kinds.len() {
            return Err(format!(
                "{} listeners were named, {} came",
                kinds.len(),
                sockets.len()
            ));
        }
        let uid = Uid::from(uid);
        let known = self
            .cx
            .pods
            .get(&uid)
            .filter(|p| p.netns_cookie == cookie && p.addresses == addresses);
        let pod = match known {
            Some(pod) => {
                pod.renew();
                pod
            }
            None => {
                let pod = Pod::new(uid.clone(), cookie, addresses, self.maker.sockets(netns));
                if let Some(old) = self.cx.pods.insert(pod.clone()) {
                    old.retire();
                }
                pod
            }
        };
        let accepting = listen::start(&self.cx, &pod, sockets, &self.lanes);
        accepting.map_err(|e| format!("the listening sockets cannot be used: {e}"))?;
        tracing::info!(%uid, addresses = ?pod.addresses, "pod served");
        self.pods_changed.notify_one();
        Ok(())
    }

    fn remove(&self, uid: &Uid, socket: Option<&Arc<TunnelSocket>>) {
        let Some(pod) = self.cx.pods.remove(uid) else {
            return;
        };
        pod.retire();
        tracing::info!(%uid, live = pod.live(), "pod removed; its connections go on");
        self.pods_changed.notify_one();
        let (socket, cx) = (socket.cloned(), self.cx.clone());
        tokio::spawn(async move {
            pod.drained().await;
            cx.pool
                .retain(|key| *key.pod != *pod.uid.0 || cx.pods.get(&pod.uid).is_some());
            if let Some(socket) = socket {
                // The agent may be gone by now; it asks anew when it is back.
                let _ = socket
                    .send(
                        &ToAgent::PodRemoved {
                            uid: pod.uid.to_string(),
                        },
                        &[],
                    )
                    .await;
            }
        });
    }

    /// What the agent did not name any more was removed while we were not connected.
    fn synced(&self, named: &HashSet<Uid>, socket: &Arc<TunnelSocket>) {
        for pod in self.cx.pods.all() {
            if !named.contains(&pod.uid) {
                self.remove(&pod.uid, Some(socket));
            }
        }
        self.cx.agent_synced.store(true, Ordering::Release);
        tracing::info!(pods = named.len(), "the agent has named all pods");
    }

    async fn recover(&self, socket: &TunnelSocket) -> Result<(), Error> {
        for pod in self.cx.pods.all() {
            let (kinds, fds): (Vec<_>, Vec<_>) = pod.listeners().into_iter().unzip();
            let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
            socket
                .send(
                    &ToAgent::Listeners {
                        uid: pod.uid.to_string(),
                        listeners: kinds,
                    },
                    &fds,
                )
                .await?;
        }
        Ok(())
    }
}

async fn connect(path: &Path) -> Result<TunnelSocket, Error> {
    warren_api::node::connect(path).await
}
