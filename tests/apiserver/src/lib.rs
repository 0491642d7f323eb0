//! A real API server with its etcd, and the controllers of Kubernetes where they are wanted, on loopback: no nodes, no privileges. Their
//! programs are those of the test cluster, which have to be built (`cargo xtask cluster binaries`).
//!
//! ```text
//! test --client, kubeconfig--> kube-apiserver --> etcd      files and logs of all: one temporary folder
//!                              kube-controller-manager --^
//! ```
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

mod server;

pub use server::{ADMIN, ApiServer, Keys};

/// Asks until the answer is Some.
///
/// # Panics
/// It is not within a minute.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "not within 60 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A program of the test cluster.
///
/// # Panics
/// It was not built.
pub fn program(name: &str) -> PathBuf {
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
        panic!("no {name} in {cache:?}: build the test cluster's programs first (`cargo xtask cluster binaries`)")
    })
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

/// A TCP port of loopback that nobody listens on just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("address").port()
}
