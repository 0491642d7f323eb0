//! The real agent, told that it will not come back.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::world::World;

const NETWORK: &str =
    r#"{ "cniVersion": "1.0.0", "name": "pods", "plugins": [{ "type": "bridge" }] }"#;

fn agent(world: &World, dir: &Path) -> Child {
    let at = |name: &str| dir.join(name).display().to_string();
    let log = fs::File::create(dir.join("log")).expect("a log");
    Command::new(env!("CARGO_BIN_EXE_warren-agent"))
        .args([
            "--node",
            "leaves",
            "--xds",
            "https://127.0.0.1:1",
            "--cni-remove-on-exit",
        ])
        .args(["--metrics-addr", "127.0.0.1:0"])
        .arg("--cgroup")
        .arg(world.cgroup(""))
        .arg("--pin-dir")
        .arg(world.pins())
        .args([
            "--run-dir",
            &at("run"),
            "--cni-bin-dir",
            &at("bin"),
            "--cni-conf-dir",
            &at("net.d"),
        ])
        .args([
            "--cni-plugin",
            &at("plugin"),
            "--root-cert",
            &at("none"),
            "--token",
            &at("none"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it starts")
}

fn until(what: &str, dir: &Path, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{what}: {}",
            log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Everything below `dir`.
fn below(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn an_agent_that_leaves_takes_everything_along() {
    let world = World::new("leave").expect(super::super::REASON);
    let dir = tempfile::tempdir().expect("a folder");
    for folder in ["bin", "net.d"] {
        fs::create_dir(dir.path().join(folder)).expect("a folder");
    }
    fs::write(dir.path().join("plugin"), b"#!").expect("a file");
    fs::write(dir.path().join("net.d/10.conflist"), NETWORK).expect("a file");
    let mut child = agent(&world, dir.path());
    let run = dir.path().join("run");
    until("the plugin", dir.path(), || {
        below(&dir.path().join("net.d")).len() > 1
    });
    until("the admin socket", dir.path(), || {
        run.join("agent-admin.sock").exists()
    });
    assert!(
        world.pins().join("maps").exists() && below(&run).len() > 3,
        "{:?}",
        below(&run)
    );
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill runs")
            .success()
    );
    until("its end", dir.path(), || {
        child.try_wait().expect("wait").is_some_and(|s| s.success())
    });
    let network = fs::read_to_string(dir.path().join("net.d/10.conflist")).expect("the network");
    assert_eq!(network, NETWORK, "as it was");
    assert_eq!(
        below(dir.path()),
        ["bin", "log", "net.d", "plugin"],
        "no run directory"
    );
    assert_eq!(
        (
            below(&dir.path().join("bin")).len(),
            below(&dir.path().join("net.d"))
        ),
        (0, vec!["10.conflist".to_owned()])
    );
    assert!(!world.pins().exists());
}
