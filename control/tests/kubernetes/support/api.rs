//! etcd and kube-apiserver on loopback, with their files in a temporary directory.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tempfile::TempDir;

use super::objects::{install, install_crds};
use super::tokens::Issuer;

/// One server at a time: each takes a few hundred megabytes.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The static tokens of the administrator, and of the controller's service account.
const ADMIN: &str = "admin-token";
const CONTROL: &str = "control-token";

pub struct ApiServer {
    pub dir: TempDir,
    /// Signs service account tokens, so that tests can make odd ones.
    pub issuer: Issuer,
    pub port: u16,
    etcd_port: u16,
    flags: Vec<String>,
    etcd: Child,
    server: Option<Child>,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl ApiServer {
    /// An API server that has all that the controller needs of it, and the administrator's client.
    pub async fn installed(flags: &[&str]) -> (Self, Client) {
        let api = Self::start(flags).await;
        let client = api.client();
        install(&client).await;
        install_crds(&client).await;
        (api, client)
    }

    /// Starts both and waits until the API is ready.
    pub async fn start(flags: &[&str]) -> Self {
        let turn = TURN.lock().await;
        let dir = TempDir::new().expect("directory");
        let issuer = Issuer::new();
        fs::write(dir.path().join("sa.key"), issuer.key_pem()).expect("file");
        fs::write(dir.path().join("sa.pub"), issuer.public_key_pem()).expect("file");
        let control = "system:serviceaccount:warren-system:warren-control";
        let groups = "system:serviceaccounts,system:authenticated";
        let tokens =
            format!("{ADMIN},admin,1,\"system:masters\"\n{CONTROL},{control},2,\"{groups}\"\n");
        fs::write(dir.path().join("tokens.csv"), tokens).expect("file");
        let (etcd_port, peer_port, port) = (free_port(), free_port(), free_port());
        let mut api = Self {
            etcd: etcd(dir.path(), etcd_port, peer_port),
            dir,
            issuer,
            port,
            etcd_port,
            flags: flags.iter().map(ToString::to_string).collect(),
            server: None,
            _turn: turn,
        };
        api.run().await;
        api
    }

    /// Ends the API server as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("it runs");
            server.wait().expect("it ends");
        }
    }

    /// Starts it again, on the same data and port.
    pub async fn run(&mut self) {
        let dir = self.dir.path();
        let path = |name: &str| dir.join(name).display().to_string();
        let mut command = Command::new(binary("kube-apiserver"));
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
    pub fn client(&self) -> Client {
        let file: Kubeconfig =
            serde_json::from_value(config(self.port, ADMIN)).expect("kubeconfig");
        let options = KubeConfigOptions::default();
        let config =
            futures_util::FutureExt::now_or_never(Config::from_custom_kubeconfig(file, &options));
        let config = config.expect("no waiting").expect("configuration");
        Client::try_from(config).expect("client")
    }

    /// A kubeconfig of the controller's service account, by way of `port`.
    pub fn kubeconfig(&self, port: u16) -> PathBuf {
        let path = self.dir.path().join(format!("kubeconfig-{port}"));
        fs::write(&path, config(port, CONTROL).to_string()).expect("file");
        path
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.kill();
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
    let mut command = Command::new(binary("etcd"));
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

fn spawn(mut command: Command, log: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log)
        .expect("log");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// A program of the test cluster.
fn binary(name: &str) -> PathBuf {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("WARREN_CLUSTER_CACHE").or_else(|| {
        let home = || Some(std::env::home_dir()?.join(".cache"));
        Some(set("XDG_CACHE_HOME").or_else(home)?.join("warren-cluster"))
    });
    let folders = cache
        .iter()
        .filter_map(|c| fs::read_dir(c).ok())
        .flatten()
        .flatten();
    let mut found: Vec<PathBuf> = folders
        .map(|entry| entry.path().join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort_by_key(|path| fs::metadata(path).and_then(|m| m.modified()).ok());
    found.pop().unwrap_or_else(|| {
        panic!("no {name} in {cache:?}: build the test cluster's programs first (`cargo xtask cluster up` does)")
    })
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("address").port()
}
