//! The socket between agent and tunnel (`RUN/agent.sock`, `SOCK_SEQPACKET`): one JSON object with `type` a packet, file
//! descriptors by `SCM_RIGHTS`. ARCHITECTURE.md has the table of messages.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

mod listener;
mod packet;
mod socket;

pub use listener::{Listener, connect};
pub use socket::Socket;

/// Longest packet, in bytes.
pub const MAX_PACKET: usize = 64 * 1024;
/// Most file descriptors in one packet.
pub const MAX_FDS: usize = 32;

/// The agent's end.
pub type AgentSocket = Socket<ToTunnel, ToAgent>;
/// The tunnel's end.
pub type TunnelSocket = Socket<ToAgent, ToTunnel>;

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToTunnel {
    /// A pod to serve. With it: the pod's network namespace, then one listening socket for each of `listeners`, in order.
    AddPod {
        /// The workload's unique name.
        uid: String,
        /// `SO_NETNS_COOKIE` of the pod's network namespace.
        netns_cookie: u64,
        /// The pod's addresses.
        addresses: Vec<IpAddr>,
        /// What the listening sockets are for.
        listeners: Vec<ListenerKind>,
    },
    /// Stop accepting for this pod and let its connections drain.
    RemovePod {
        /// The workload's unique name.
        uid: String,
    },
    /// All pods of the node were sent.
    Synced {},
    /// The agent lost its duplicates of the listening sockets and asks for them.
    Recover {},
}

/// What the tunnel says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAgent {
    /// First message of a connection.
    Hello {
        /// The tunnel's version.
        version: String,
        /// Differs from process to process.
        instance: String,
    },
    /// The pod is served.
    PodReady {
        /// The workload's unique name.
        uid: String,
    },
    /// The pod cannot be served.
    PodFailed {
        /// The workload's unique name.
        uid: String,
        /// Why, for people.
        reason: String,
    },
    /// The last connection of a removed pod has ended.
    PodRemoved {
        /// The workload's unique name.
        uid: String,
    },
    /// A connection in plaintext from one pod of this node to another arrived that the kernel should have recognised as a direct
    /// flow; it was reset. The agent then stops direct flows for the pair.
    MissedDirect {
        /// Who connected.
        source: IpAddr,
        /// Whom to.
        destination: IpAddr,
    },
    /// Answer to [`ToTunnel::Recover`], one a pod; with it one listening socket for each of `listeners`, in order.
    Listeners {
        /// The workload's unique name.
        uid: String,
        /// What the listening sockets are for.
        listeners: Vec<ListenerKind>,
    },
}

/// One listening socket of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListenerKind {
    /// Which traffic it accepts.
    pub kind: Traffic,
    /// Address family.
    pub family: Family,
}

/// Which traffic a listening socket accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// The pod's own connections (virtual port 15001).
    Outbound,
    /// Plaintext from outside (virtual port 15006).
    Plaintext,
    /// HBONE from outside (virtual port 15008).
    Hbone,
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Why the node socket failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket file could not be bound or reached.
    #[error(
        "node socket {path}: {source}; is the agent of this node running, with the same --run-dir?"
    )]
    Path {
        /// The socket's path.
        path: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// The peer runs as another user.
    #[error(
        "node socket: a process with uid {0} connected; only root and the agent's own user may"
    )]
    Peer(u32),
    /// Receiving or sending failed.
    #[error("node socket: {0}")]
    Io(#[from] std::io::Error),
    /// A packet was longer than [`MAX_PACKET`].
    #[error("node socket: a packet of more than {MAX_PACKET} bytes")]
    TooLong,
    /// More than [`MAX_FDS`] file descriptors, or this process can open no more.
    #[error(
        "node socket: too many file descriptors in one packet, or the limit of open files is reached"
    )]
    TooManyFds,
    /// The packet is not a known message.
    #[error("node socket: not a message ({0}); agent and tunnel may be of different versions")]
    Malformed(#[from] serde_json::Error),
    /// The peer does not read.
    #[error("node socket: the peer took no packet for {0:?}")]
    Stalled(std::time::Duration),
}
