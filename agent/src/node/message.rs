//! What goes into the node and what comes out.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;
use warren_abi::VerdictKey;
use warren_api::cri::PodName;
use warren_api::node::{ListenerKind, ToAgent, ToTunnel};
use warren_api::xds::Update;

use super::View;
use super::paths::Trial;
use crate::cni::{Answer, Request};
use crate::netns::Netns;
use crate::pods::memory::Namespaces;
use crate::pods::store::Saved;
use crate::sockdiag::Pair;

/// Listeners just made, each with the pod address that it stands for.
pub type NewListeners = Vec<(ListenerKind, IpAddr, OwnedFd)>;

/// Something happened.
pub enum Input {
    /// A question on the CNI socket.
    Cni(Box<Request>, oneshot::Sender<Answer>),
    /// A pod runs here that no question has told of.
    Found(Box<Request>),
    /// A pod's network namespace was opened, or not.
    Opened(u32, io::Result<Netns>),
    /// A pod's listeners were made, or not.
    Listening(u32, io::Result<NewListeners>),
    /// The labels of a pod's sandbox; None where the container runtime has no such sandbox (yet). Or why it cannot be asked.
    Labels(u32, Result<Option<BTreeMap<String, String>>, String>),
    /// A tunnel said hello.
    TunnelUp {
        /// Names the connection.
        link: u64,
        /// Names the process.
        instance: String,
        /// Id of its cgroup, 0 where it is not known.
        cgroup: u64,
    },
    /// A tunnel's connection ended.
    TunnelDown {
        /// Names the connection.
        link: u64,
    },
    /// A tunnel says something.
    FromTunnel {
        /// Names the connection.
        link: u64,
        /// What.
        message: ToAgent,
        /// With what.
        fds: Vec<OwnedFd>,
    },
    /// The controller says something.
    Xds(Box<Update>),
    /// The kernel has no verdicts for these.
    Wanted(Vec<VerdictKey>),
    /// The listener of a trial was made, on this port, or not.
    TrialListens(Trial, io::Result<(OwnedFd, u16)>),
    /// A trial has ended.
    TrialEnded(Trial, Result<(), String>),
    /// The network namespaces of these pods are gone.
    Gone(Vec<u32>),
    /// Ids of the tunnel's and the kubelet's cgroups as they are now; 0 where there is none.
    Cgroups {
        /// The tunnel's.
        tunnel: u64,
        /// The kubelet's.
        kubelet: u64,
    },
    /// Turn direct flows on or off.
    DirectFlows(bool),
    /// Turn the kernel programs' log on or off.
    KernelLog(bool),
    /// Somebody wants to see the state.
    Look(oneshot::Sender<View>),
    /// Time goes by.
    Tick,
}

/// A file that outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeptFile {
    /// The remembered pods.
    Pods,
    /// What is remembered of namespaces.
    Namespaces,
}

/// Something has to be done that takes time.
pub enum Effect {
    /// Open a network namespace; ends in [`Input::Opened`].
    Open(u32, PathBuf),
    /// Make listeners; ends in [`Input::Listening`].
    Listen(u32, Arc<Netns>, Vec<(ListenerKind, IpAddr)>),
    /// Tell the tunnel.
    Tell {
        /// On this connection only.
        link: u64,
        /// What.
        message: ToTunnel,
        /// With what.
        fds: Vec<Arc<dyn AsFd + Send + Sync>>,
    },
    /// Keep this.
    Save(Saved),
    /// Keep this beyond a restart of the node.
    Remember(Namespaces),
    /// Ask the container runtime for a pod's labels; ends in [`Input::Labels`].
    Ask(u32, PodName),
    /// Make the listener of a trial inside the destination; ends in [`Input::TrialListens`].
    TrialListen(Trial, Arc<Netns>),
    /// Connect a trial from inside the source; ends in [`Input::TrialEnded`].
    TrialConnect(Trial, Arc<Netns>, OwnedFd),
    /// Look whether these network namespaces are still at their paths; ends in [`Input::Gone`] if any is not.
    LookAt(Vec<(u32, PathBuf, Arc<Netns>)>),
    /// Look whether a DEL means this network namespace: the one at the path that it names or, where it names none, one that is not at its own
    /// path (the second) any more; ends in [`Input::Gone`] if so.
    LookAtDeleted(u32, Option<PathBuf>, PathBuf, Arc<Netns>),
    /// End connections inside these network namespaces.
    Destroy(Vec<Arc<Netns>>, Arc<HashSet<Pair>>),
}
