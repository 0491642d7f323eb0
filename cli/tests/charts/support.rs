//! Running `warren`, Helm and kubectl.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use warren_apiserver::{ADMIN, ApiServer, Keys, program};

pub mod kubelet;

/// Where the charts and the rendered manifests are.
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// What a program did.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            status: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// It went well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{}", self.err);
        self
    }

    /// It failed so, and its last line has all of these.
    #[track_caller]
    pub fn fails(&self, status: i32, parts: &[&str]) {
        assert_eq!(self.status, status, "{}", self.err);
        let last = self.err.lines().last().unwrap_or_default();
        assert!(last.starts_with("warren: "), "{}", self.err);
        for part in parts {
            assert!(last.contains(part), "{part} in {last}");
        }
    }
}

/// `warren` without a cluster.
pub fn warren(words: &[&str]) -> Done {
    run(Command::new(env!("CARGO_BIN_EXE_warren")).args(words), None)
}

/// Helm without a cluster.
pub fn helm(words: &[&str]) -> Done {
    run(Command::new(program("helm")).args(words), None)
}

/// A cluster's API server, and who asks it.
pub struct Cluster {
    pub api: ApiServer,
    pub kubeconfig: PathBuf,
}

impl Cluster {
    /// With Kubernetes' own controllers.
    pub async fn start() -> Self {
        let mut api = ApiServer::start(&Keys::generate(), "guest-token,guest,2\n", &[]).await;
        api.run_controllers();
        let kubeconfig = api.kubeconfig(ADMIN, api.port);
        Self { api, kubeconfig }
    }

    pub async fn warren(&self, words: &[&str]) -> Done {
        self.apart(env!("CARGO_BIN_EXE_warren").into(), words, None)
            .await
    }

    pub async fn helm(&self, words: &[&str]) -> Done {
        self.apart(program("helm"), words, None).await
    }

    pub async fn kubectl(&self, words: &[&str]) -> String {
        self.apart(program("kubectl"), words, None).await.ok().out
    }

    /// `kubectl apply` as a careful person types it: a field that does not exist is an error.
    pub async fn apply(&self, yaml: &str) -> String {
        let words = ["apply", "--server-side", "--validate=strict", "-f", "-"];
        let input = Some(yaml.to_owned());
        self.apart(program("kubectl"), &words, input).await.ok().out
    }

    /// Whether the controller may.
    pub async fn may(&self, verb: &str, what: &str, namespace: &str) -> bool {
        let account = "--as=system:serviceaccount:warren-system:warren-control";
        let words = ["auth", "can-i", verb, what, account, "-n", namespace];
        let done = self.apart(program("kubectl"), &words, None).await;
        match done.out.trim() {
            "yes" => true,
            "no" => false,
            other => panic!("{other}: {}", done.err),
        }
    }

    /// Names of all objects of these kinds that belong to the mesh.
    pub async fn ours(&self, kinds: &str) -> String {
        let select = "--selector=app.kubernetes.io/part-of=warren";
        self.kubectl(&["get", kinds, "--all-namespaces", select, "-o=name"])
            .await
    }

    /// On a thread of its own: what plays the kubelet goes on meanwhile.
    async fn apart(&self, program: PathBuf, words: &[&str], input: Option<String>) -> Done {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let kubeconfig = self.kubeconfig.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(program);
            command.args(words).env("KUBECONFIG", kubeconfig);
            run(&mut command, input)
        });
        done.await.expect("it ran")
    }
}

fn run(command: &mut Command, input: Option<String>) -> Done {
    let mut child = command
        .env("WARREN_HELM", program("helm"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("its input");
    // Large inputs must not wait for outputs that nobody reads yet.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(input.unwrap_or_default().as_bytes());
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer");
    Done::of(output)
}
