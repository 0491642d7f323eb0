//! What a node's container runtime knows of its pods: their labels, by its Unix socket (CRI, `runtime.v1`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::channel::describe;
use crate::r#gen::cri::runtime_service_client::RuntimeServiceClient;
use crate::r#gen::cri::{ListPodSandboxRequest, PodSandbox, PodSandboxFilter};

/// Where the sockets of usual runtimes are.
pub const USUAL_SOCKETS: [&str; 3] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
];

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Labels by which the kubelet names a pod's sandbox.
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_UID: &str = "io.kubernetes.pod.uid";

/// Which pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// The Kubernetes UID; empty where it is not known.
    pub uid: String,
}

/// Why the runtime gave no answer.
#[derive(Debug, thiserror::Error)]
#[error(
    "the container runtime at {socket} cannot be asked: {problem}; set --cri-socket to the socket that the kubelet uses"
)]
pub struct Error {
    /// Its socket.
    pub socket: PathBuf,
    /// What happened.
    pub problem: String,
}

/// A container runtime.
#[derive(Clone, Debug)]
pub struct ContainerRuntime {
    socket: PathBuf,
    client: RuntimeServiceClient<Channel>,
}

impl ContainerRuntime {
    /// The runtime at this socket. Connects when it is first asked, and again after it was restarted.
    pub fn at(socket: &Path) -> Self {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is a name only: the connector knows the way.
        let channel = Endpoint::from_static("http://runtime")
            .connect_timeout(LIMIT)
            .connect_with_connector_lazy(connector);
        Self {
            socket: socket.to_owned(),
            client: RuntimeServiceClient::new(channel),
        }
    }

    /// The labels that the pod had when its sandbox was made; None where there is no sandbox. Runtimes list one only after its
    /// network is there, that is, after CNI ADD.
    ///
    /// # Errors
    /// The runtime cannot be reached, or does not answer in time.
    pub async fn labels(&self, pod: &PodName) -> Result<Option<BTreeMap<String, String>>, Error> {
        let failed = |problem: String| Error {
            socket: self.socket.clone(),
            problem,
        };
        let mut client = self.client.clone();
        let answer = timeout(LIMIT, client.list_pod_sandbox(question(pod)))
            .await
            .map_err(|_| failed(format!("no answer within {LIMIT:?}")))?
            .map_err(|status| failed(describe(&status)))?;
        let sandboxes = answer.into_inner().items;
        let newest = sandboxes
            .into_iter()
            .filter(|s| is(s, pod))
            .max_by_key(|s| s.created_at);
        Ok(newest.map(|s| s.labels))
    }
}

fn question(pod: &PodName) -> ListPodSandboxRequest {
    let words = [
        (POD_NAMESPACE, &pod.namespace),
        (POD_NAME, &pod.name),
        (POD_UID, &pod.uid),
    ];
    let label_selector = words
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    let filter = PodSandboxFilter {
        id: String::new(),
        label_selector,
    };
    ListPodSandboxRequest {
        filter: Some(filter),
    }
}

/// Whether a sandbox is this pod's: one that is another's would let that one's labels speak for it.
fn is(sandbox: &PodSandbox, pod: &PodName) -> bool {
    sandbox.metadata.as_ref().is_some_and(|m| {
        m.namespace == pod.namespace
            && m.name == pod.name
            && (pod.uid.is_empty() || m.uid == pod.uid)
    })
}
