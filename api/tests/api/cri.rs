//! The container runtime's labels, against a runtime that the test plays on a Unix socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};
use warren_api::cri::{ContainerRuntime, PodName};
use warren_api::r#gen::cri::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use warren_api::r#gen::cri::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxMetadata,
};

/// Lists its sandboxes; honours the selector, or does not.
#[derive(Clone)]
struct Runtime {
    sandboxes: Vec<PodSandbox>,
    selects: bool,
}

#[tonic::async_trait]
impl RuntimeService for Runtime {
    async fn list_pod_sandbox(
        &self,
        request: Request<ListPodSandboxRequest>,
    ) -> Result<Response<ListPodSandboxResponse>, Status> {
        let wanted = request.into_inner().filter.unwrap().label_selector;
        let selected = |s: &&PodSandbox| {
            !self.selects || wanted.iter().all(|(k, v)| s.labels.get(k) == Some(v))
        };
        let items = self.sandboxes.iter().filter(selected).cloned().collect();
        Ok(Response::new(ListPodSandboxResponse { items }))
    }
}

fn serve(socket: &Path, runtime: Runtime) -> JoinHandle<()> {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_service(RuntimeServiceServer::new(runtime))
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await
            .unwrap();
    })
}

fn sandbox(name: &str, uid: &str, created_at: i64, own: &str) -> PodSandbox {
    let labels = [
        ("io.kubernetes.pod.namespace", "shop"),
        ("io.kubernetes.pod.name", name),
        ("io.kubernetes.pod.uid", uid),
        ("warren.dev/mesh", own),
    ];
    PodSandbox {
        id: format!("{name}-{created_at}"),
        metadata: Some(PodSandboxMetadata {
            name: name.into(),
            uid: uid.into(),
            namespace: "shop".into(),
            attempt: 0,
        }),
        created_at,
        labels: labels.map(|(k, v)| (k.into(), v.into())).into(),
    }
}

fn pod(name: &str, uid: &str) -> PodName {
    PodName {
        namespace: "shop".into(),
        name: name.into(),
        uid: uid.into(),
    }
}

fn own(labels: Option<BTreeMap<String, String>>) -> Option<String> {
    labels.map(|l| l["warren.dev/mesh"].clone())
}

fn several() -> Vec<PodSandbox> {
    vec![
        sandbox("web", "u1", 1, "before"),
        sandbox("web", "u1", 3, "enabled"),
        sandbox("web", "u0", 9, "earlier pod of the same name"),
        sandbox("api", "u2", 5, "disabled"),
    ]
}

#[tokio::test]
async fn the_newest_sandbox_of_this_very_pod_speaks() {
    for selects in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("cri.sock");
        let sandboxes = several();
        let server = serve(&socket, Runtime { sandboxes, selects });
        let runtime = ContainerRuntime::at(&socket);
        let ask = async |p: PodName| own(runtime.labels(&p).await.unwrap());
        assert_eq!(ask(pod("web", "u1")).await.as_deref(), Some("enabled"));
        assert_eq!(ask(pod("api", "")).await.as_deref(), Some("disabled"));
        assert_eq!(ask(pod("api", "another")).await, None);
        assert_eq!(ask(pod("new", "")).await, None);
        server.abort();
    }
}

#[tokio::test]
async fn a_runtime_that_is_away_is_named_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cri.sock");
    let runtime = ContainerRuntime::at(&socket);
    let error = runtime.labels(&pod("web", "u1")).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("cri.sock") && text.contains("--cri-socket"),
        "{text}"
    );
    let all = || Runtime {
        sandboxes: several(),
        selects: true,
    };
    let first = serve(&socket, all());
    assert!(runtime.labels(&pod("web", "u1")).await.unwrap().is_some());
    first.abort();
    let _ = first.await;
    let _second = serve(&socket, all());
    let again = async {
        while runtime.labels(&pod("web", "u1")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), again)
        .await
        .expect("it is asked again after a restart");
}

#[tokio::test]
async fn one_that_never_answers_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cri.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    let begin = std::time::Instant::now();
    let runtime = ContainerRuntime::at(&socket);
    assert!(runtime.labels(&pod("web", "u1")).await.is_err());
    assert!(begin.elapsed() < Duration::from_secs(4));
}
