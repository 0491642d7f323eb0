//! The real binary with an API server.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use warren_admin::types::{ConfigView, PolicyView, Warning, WorkloadView};
use warren_api::channel::Target;

use super::api::ApiServer;
use super::eventually;

pub struct Controller {
    pub dir: TempDir,
    pub port: u16,
    child: Child,
}

impl Controller {
    /// Starts it; it need not be ready.
    pub fn spawn(api: &ApiServer, port: u16, flags: &[&str]) -> Self {
        let dir = TempDir::new().expect("directory");
        let child = spawn(dir.path(), &api.kubeconfig(port), flags);
        Self {
            dir,
            port: 0,
            child,
        }
    }

    /// Starts it and waits until it serves.
    pub async fn start(api: &ApiServer, port: u16, flags: &[&str]) -> Self {
        let mut controller = Self::spawn(api, port, flags);
        controller.ready().await;
        controller
    }

    pub async fn ready(&mut self) {
        let started = Instant::now();
        while !self.is_ready().await {
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.log());
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "it does not get ready\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let config: ConfigView = self.admin().get("/config").await.expect("config");
        let address = config.0["bound-xds"].as_str().expect("address").to_owned();
        self.port = address
            .rsplit(':')
            .next()
            .expect("port")
            .parse()
            .expect("port");
    }

    /// Whether it has read everything once.
    pub async fn is_ready(&self) -> bool {
        let status: Result<warren_admin::types::ComponentStatus, _> =
            self.admin().get("/status").await;
        status.is_ok_and(|s| s.ready)
    }

    /// Names of workloads, `<namespace>/<name>`, sorted.
    pub async fn workloads(&self) -> Vec<String> {
        let all: Vec<WorkloadView> = self.admin().get("/workloads").await.expect("workloads");
        all.into_iter()
            .map(|w| format!("{}/{}", w.namespace, w.name))
            .collect()
    }

    pub async fn policy_views(&self) -> Vec<PolicyView> {
        self.admin().get("/policies").await.expect("policies")
    }

    pub async fn policies(&self) -> Vec<String> {
        let all = self.policy_views().await;
        all.into_iter()
            .map(|p| format!("{}/{}", p.namespace, p.name))
            .collect()
    }

    pub async fn warnings(&self) -> Vec<Warning> {
        self.admin().get("/warnings").await.expect("warnings")
    }

    /// Waits for exactly these workloads.
    pub async fn has(&self, expected: &[&str]) {
        let mut last = Vec::new();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(60) {
            last = self.workloads().await;
            if last == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{last:?} instead of {expected:?}\n{}", self.log());
    }

    /// Waits for a warning that contains this.
    pub async fn warns(&self, text: &str) -> Warning {
        eventually(text, async || {
            let all = self.warnings().await;
            all.into_iter().find(|w| w.reason.contains(text))
        })
        .await
    }

    /// A metric of one kind.
    pub async fn metric(&self, name: &str, kind: &str) -> u64 {
        let text = self.metric_text().await;
        let start = format!("warren_control_{name}_total{{resource=\"{kind}\"}} ");
        let line = text.lines().find_map(|l| l.strip_prefix(&start));
        line.map_or(0, |v| v.parse().expect("a number"))
    }

    /// All metrics.
    pub async fn metric_text(&self) -> String {
        self.admin().get_text("/metrics").await.expect("metrics")
    }

    pub async fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(path).expect("status");
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kb = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        kb.expect("VmRSS") >> 10
    }

    /// A target whose token is `token`.
    pub fn target(&self, token: &str) -> Target {
        let name = format!("token-{:x}", rand::random::<u64>());
        let path = self.dir.path().join(name);
        fs::write(&path, token).expect("file");
        Target {
            address: format!("https://localhost:{}", self.port),
            root_cert: self.dir.path().join("run/root-cert.pem"),
            token: Some(path),
            cluster_id: "Kubernetes".into(),
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Whether it says that it leads.
    pub fn leads(&self) -> bool {
        let log = self.log();
        let last = log.lines().rev().find(|l| l.contains("leader election"));
        last.is_some_and(|l| l.contains("leads=true"))
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, and waits for its end.
    pub async fn terminate(&mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
        eventually("its end", async || self.child.try_wait().expect("wait")).await;
    }

    fn admin(&self) -> warren_admin::Client {
        warren_admin::Client::unix(&self.dir.path().join("run/control-admin.sock"))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path, kubeconfig: &Path, flags: &[&str]) -> Child {
    let log = fs::File::create(dir.join("log")).expect("log");
    Command::new(env!("CARGO_BIN_EXE_warren-control"))
        .args(["--source", "kubernetes", "--kubeconfig"])
        .arg(kubeconfig)
        .arg("--run-dir")
        .arg(dir.join("run"))
        .args(["--xds-addr", "127.0.0.1:0", "--debug-addr", "127.0.0.1:0"])
        .args(flags)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the binary starts")
}
