//! etcd and kube-apiserver, with their files in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tempfile::TempDir;

use crate::{free_port, program, spawn};

/// One server at a time: each takes a few hundred megabytes.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The administrator's static token.
pub const ADMIN: &str = "admin-token";

/// What signs service accounts' tokens, and what checks them, in PEM.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The private key.
    pub private: String,
    /// The public key.
    pub public: String,
}

impl Keys {
    /// New ones.
    ///
    /// # Panics
    /// There is no randomness.
    pub fn generate() -> Self {
        let key = rcgen::KeyPair::generate().expect("key");
        Self {
            private: key.serialize_pem(),
            public: key.public_key_pem(),
        }
    }
}

/// An API server that runs, or was killed.
pub struct ApiServer {
    /// Its files, certificates and logs.
    pub dir: TempDir,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    etcd_port: u16,
    flags: Vec<String>,
    etcd: Child,
    server: Option<Child>,
    controllers: Option<Child>,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl ApiServer {
    /// Starts both and waits until the API is ready. `users` are lines `TOKEN,NAME,UID,"GROUPS"` beside the administrator's.
    ///
    /// # Panics
    /// A program is missing, or ends, or does not get ready.
    pub async fn start(keys: &Keys, users: &str, flags: &[&str]) -> Self {
        let turn = TURN.lock().await;
        let dir = TempDir::new().expect("directory");
        fs::write(dir.path().join("sa.key"), &keys.private).expect("file");
        fs::write(dir.path().join("sa.pub"), &keys.public).expect("file");
        let tokens = format!("{ADMIN},admin,1,\"system:masters\"\n{users}");
        fs::write(dir.path().join("tokens.csv"), tokens).expect("file");
        let (etcd_port, peer_port, port) = (free_port(), free_port(), free_port());
        let mut api = Self {
            etcd: etcd(dir.path(), etcd_port, peer_port),
            dir,
            port,
            etcd_port,
            flags: flags.iter().map(ToString::to_string).collect(),
            server: None,
            controllers: None,
            _turn: turn,
        };
        api.run().await;
        api
    }

    /// Ends the API server as a crash would.
    ///
    /// # Panics
    /// It has ended already.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("it runs");
            server.wait().expect("it ends");
        }
    }

    /// Starts it again, on the same data and port.
    ///
    /// # Panics
    /// It ends, or does not get ready.
    pub async fn run(&mut self) {
        let dir = self.dir.path();
        let path = |name: &str| dir.join(name).display().to_string();
        let mut command = Command::new(program("kube-apiserver"));
        command
            .arg(format!(
                "--etcd-servers=http://127.0.0.1:{}",
                self.etcd_port
            ))
            .arg(format!("--secure-port={}", self.port))
            .arg(format!("--cert-dir={}", path("certs")))
            .arg(format!("--token-auth-file={}", path("tokens.csv")))
            .arg(format!("--service-account-key-file={}", path("sa.pub")))
            .arg(format!(
                "--service-account-signing-key-file={}",
                path("sa.key")
            ))
            .args([
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--service-account-issuer=https://issuer.test",
                "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/108",
                "--authorization-mode=Node,RBAC",
                "--disable-admission-plugins=ServiceAccount",
                "--endpoint-reconciler-type=none",
            ])
            .args(&self.flags);
        self.server = Some(spawn(command, &dir.join("kube-apiserver.log")));
        self.wait().await;
    }

    /// Starts Kubernetes' own controllers: they count DaemonSets' pods, and delete what belongs to an object that was deleted.
    pub fn run_controllers(&mut self) {
        let kubeconfig = self.kubeconfig(ADMIN, self.port);
        let mut command = Command::new(program("kube-controller-manager"));
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(["--leader-elect=false", "--secure-port=0"])
            .arg("--controllers=daemonset-controller,deployment-controller,replicaset-controller,namespace-controller,garbage-collector-controller");
        let log = self.dir.path().join("kube-controller-manager.log");
        self.controllers = Some(spawn(command, &log));
    }

    async fn wait(&mut self) {
        let client = self.client();
        let started = Instant::now();
        loop {
            let request = http::Request::get("/readyz")
                .body(Vec::new())
                .expect("request");
            if client.request_text(request).await.is_ok() {
                return;
            }
            let ended = self
                .server
                .as_mut()
                .and_then(|s| s.try_wait().expect("wait"));
            let log = || fs::read_to_string(self.dir.path().join("kube-apiserver.log"));
            assert!(
                ended.is_none(),
                "it ended: {ended:?}\n{}",
                log().unwrap_or_default()
            );
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "the API server does not get ready\n{}",
                log().unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The administrator's client.
    ///
    /// # Panics
    /// Never: its configuration is our own.
    pub fn client(&self) -> Client {
        let file: Kubeconfig =
            serde_json::from_value(config(self.port, ADMIN)).expect("kubeconfig");
        let options = KubeConfigOptions::default();
        let config =
            futures_util::FutureExt::now_or_never(Config::from_custom_kubeconfig(file, &options));
        let config = config.expect("no waiting").expect("configuration");
        Client::try_from(config).expect("client")
    }

    /// A kubeconfig of the user with this token, by way of `port`.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn kubeconfig(&self, token: &str, port: u16) -> PathBuf {
        let path = self.dir.path().join(format!("kubeconfig-{token}-{port}"));
        fs::write(&path, config(port, token).to_string()).expect("file");
        path
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for child in [&mut self.controllers, &mut self.server]
            .into_iter()
            .flatten()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
    }
}

fn config(port: u16, token: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        // The certificate is one that the server made for itself.
        "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true}}],
        "users": [{"name": "u", "user": {"token": token}}],
    })
}

fn etcd(dir: &Path, port: u16, peer_port: u16) -> Child {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let mut command = Command::new(program("etcd"));
    command
        .args(["--unsafe-no-fsync", "--log-level=warn", "--name=e"])
        .arg(format!("--data-dir={}", dir.join("etcd").display()))
        .arg(format!("--listen-client-urls={}", url(port)))
        .arg(format!("--advertise-client-urls={}", url(port)))
        .arg(format!("--listen-peer-urls={}", url(peer_port)))
        .arg(format!("--initial-advertise-peer-urls={}", url(peer_port)))
        .arg(format!("--initial-cluster=e={}", url(peer_port)));
    spawn(command, &dir.join("etcd.log"))
}
