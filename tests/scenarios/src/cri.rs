//! A container runtime that lists sandboxes and does nothing else: the lab has none.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};
use warren_api::r#gen::cri::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use warren_api::r#gen::cri::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxMetadata,
};

/// Serves until it is dropped.
#[derive(Debug)]
pub struct ContainerRuntime {
    sandboxes: Sandboxes,
    _threads: Runtime,
}

#[derive(Clone, Debug, Default)]
struct Sandboxes(Arc<Mutex<Vec<PodSandbox>>>);

impl ContainerRuntime {
    /// Serves at `socket`.
    pub fn serve(socket: &Path) -> Result<Self> {
        let _ = std::fs::remove_file(socket);
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let sandboxes = Sandboxes::default();
        let service = RuntimeServiceServer::new(sandboxes.clone());
        let guard = threads.enter();
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot serve at {}", socket.display()))?;
        drop(guard);
        threads.spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        Ok(Self {
            sandboxes,
            _threads: threads,
        })
    }

    /// From now on the pod's sandbox is listed, as it is once its network is there.
    pub fn list(&self, namespace: &str, name: &str, uid: &str, labels: BTreeMap<String, String>) {
        let sandbox = PodSandbox {
            id: uid.to_owned(),
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: uid.to_owned(),
                namespace: namespace.to_owned(),
                attempt: 0,
            }),
            created_at: 1,
            labels,
        };
        self.sandboxes.all().push(sandbox);
    }
}

impl Sandboxes {
    fn all(&self) -> std::sync::MutexGuard<'_, Vec<PodSandbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl RuntimeService for Sandboxes {
    async fn list_pod_sandbox(
        &self,
        _request: Request<ListPodSandboxRequest>,
    ) -> Result<Response<ListPodSandboxResponse>, Status> {
        let items = self.all().clone();
        Ok(Response::new(ListPodSandboxResponse { items }))
    }
}
