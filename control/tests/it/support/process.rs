//! The real binary with a directory of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use warren_admin::types::{ComponentStatus, ConfigView, Warning};
use warren_api::channel::Target;

use super::tokens::{ISSUER, Issuer};

pub struct Controller {
    pub dir: TempDir,
    pub issuer: Issuer,
    pub xds: SocketAddr,
    child: Child,
}

impl Controller {
    pub async fn start(manifests: &[(&str, &str)], flags: &[&str]) -> Self {
        let dir = TempDir::new().expect("directory");
        let issuer = Issuer::new();
        fs::create_dir(dir.path().join("manifests")).expect("directory");
        fs::write(dir.path().join("jwks.json"), issuer.jwks()).expect("file");
        for (name, text) in manifests {
            fs::write(dir.path().join("manifests").join(name), text).expect("file");
        }
        let child = spawn(dir.path(), flags);
        let mut controller = Self {
            dir,
            issuer,
            xds: "127.0.0.1:0".parse().expect("address"),
            child,
        };
        controller.wait_for_address().await;
        controller
    }

    /// Kills it and starts it again on the same directories.
    pub async fn restart(&mut self, flags: &[&str]) {
        self.kill();
        self.child = spawn(self.dir.path(), flags);
        self.wait_for_address().await;
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        let _ = fs::remove_file(self.socket());
    }

    /// SIGTERM; the exit status.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .expect("kill runs")
                .success()
        );
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "it does not end"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn manifest(&self, name: &str) -> PathBuf {
        self.dir.path().join("manifests").join(name)
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("run/root-cert.pem")
    }

    /// A target whose token is `token`.
    pub fn target(&self, token: &str) -> Target {
        let path = self
            .dir
            .path()
            .join(format!("token-{:x}", rand::random::<u64>()));
        fs::write(&path, token).expect("file");
        Target {
            address: format!("https://localhost:{}", self.xds.port()),
            root_cert: self.root(),
            token: Some(path),
            cluster_id: "Kubernetes".into(),
        }
    }

    pub async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        self.admin().get(path).await.expect(path)
    }

    pub async fn status(&self) -> ComponentStatus {
        self.admin().get("/status").await.expect("status")
    }

    pub async fn warnings(&self) -> Vec<Warning> {
        self.admin().get("/warnings").await.expect("warnings")
    }

    pub async fn metrics(&self) -> String {
        self.admin().get_text("/metrics").await.expect("metrics")
    }

    fn admin(&self) -> warren_admin::Client {
        warren_admin::Client::unix(&self.socket())
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/control-admin.sock")
    }

    async fn wait_for_address(&mut self) {
        let started = Instant::now();
        loop {
            if let Ok(config) = self.admin().get::<ConfigView>("/config").await {
                let address = config
                    .0
                    .get("bound-xds")
                    .and_then(|v| v.as_str())
                    .expect("bound-xds");
                self.xds = address.parse().expect("address");
                if self.status().await.ready {
                    return;
                }
            }
            if let Some(status) = self.child.try_wait().expect("wait") {
                panic!("it ended: {status}; {}", self.log());
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "it does not start: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path, flags: &[&str]) -> Child {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .expect("log");
    Command::new(env!("CARGO_BIN_EXE_warren-control"))
        .arg("--source")
        .arg(format!("dir:{}", dir.join("manifests").display()))
        .arg("--state-dir")
        .arg(dir.join("state"))
        .arg("--jwks")
        .arg(dir.join("jwks.json"))
        .arg("--run-dir")
        .arg(dir.join("run"))
        .args([
            "--xds-addr",
            "127.0.0.1:0",
            "--debug-addr",
            "127.0.0.1:0",
            "--token-issuer",
            ISSUER,
        ])
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the binary starts")
}
