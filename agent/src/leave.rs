//! The end of an agent that will not come back: nothing of it stays on its node.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use crate::bpf;
use crate::netns::Netns;
use crate::pods::{Record, store};
use crate::settings::Settings;

/// What agents keep in the run directory beside sockets.
const FILES: [&str; 4] = ["pods.json", "pods.json.new", "cni-uninstalled", "cni.lock"];

/// Removes pins, and everything of the mesh in the run directory: the tunnel's socket too, since it leaves as well. The directory itself goes
/// where it can; on Kubernetes it is a mount.
///
/// # Errors
/// Something cannot be removed; it is named, and all else was tried.
pub fn nothing_behind(settings: &Settings) -> io::Result<()> {
    let pins = bpf::cleanup(&settings.pins()).map(drop);
    for record in store::load(&settings.run_dir.join("pods.json")).pods {
        restore_ports(&record, &settings.port_reuse());
    }
    let memory = settings.memory().map_or(Ok(()), |path| forget(&path));
    empty(&settings.run_dir).and(pins).and(memory)
}

/// Gives a pod that runs on its own way of reusing ports back.
fn restore_ports(record: &Record, sysctl: &Path) {
    // A pod that is gone took it along.
    if let (Some(former), Ok(netns)) = (record.former_port_reuse, Netns::open(&record.netns))
        && netns.cookie == record.cookie
        && let Err(error) = netns.swap_sysctl(sysctl, former)
    {
        tracing::warn!(workload = record.workload, "{}: {error}", sysctl.display());
    }
}

/// What the agent remembers on the disk, and the folder of it where nothing else is there.
fn forget(memory: &Path) -> io::Result<()> {
    for path in [memory.to_owned(), store::unfinished(memory)] {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                let text = format!("{}: {e}", path.display());
                return Err(io::Error::new(e.kind(), text));
            }
            _ => {}
        }
    }
    if let Some(folder) = memory.parent() {
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

fn empty(run_dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(run_dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut result = Ok(());
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let ours = FILES.iter().any(|file| name == *file) || entry.file_type()?.is_socket();
        if ours && let Err(e) = fs::remove_file(entry.path()) {
            let text = format!("{}: {e}", entry.path().display());
            result = Err(io::Error::new(e.kind(), text));
        }
    }
    // Not while somebody else has something in it, and not where it is mounted.
    let _ = fs::remove_dir(run_dir);
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use clap::Parser as _;

    use super::*;
    use crate::settings::Cli;

    fn settings(dir: &Path) -> Settings {
        let path = |name: &str| dir.join(name).display().to_string();
        let (run, pins, state) = (path("run"), path("warren/a"), path("state"));
        let words = [
            "warren-agent",
            "--node",
            "a",
            "--run-dir",
            &run,
            "--pin-dir",
            &pins,
            "--state-dir",
            &state,
        ];
        Cli::try_parse_from(words).expect("settings").settings
    }

    #[test]
    fn nothing_of_the_mesh_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = settings(dir.path());
        fs::create_dir_all(&settings.run_dir).expect("a folder");
        let run = |name: &str| settings.run_dir.join(name);
        let sockets = [
            "agent.sock",
            "cni.sock",
            "agent-admin.sock",
            "ztunnel-admin.sock",
        ];
        let _held = sockets.map(|name| UnixListener::bind(run(name)).expect("a socket"));
        for file in FILES {
            fs::write(run(file), b"").expect("a file");
        }
        bpf::Pins::create(&settings.pins()).expect("folders");
        let memory = settings.memory().expect("a state directory");
        fs::create_dir_all(memory.parent().expect("a folder")).expect("a folder");
        for path in [store::unfinished(&memory), memory] {
            fs::write(path, b"").expect("a file");
        }
        nothing_behind(&settings).expect("removed");
        let left: Vec<_> = fs::read_dir(dir.path()).expect("there").flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        nothing_behind(&settings).expect("nothing to do");
    }

    #[test]
    fn what_others_keep_there_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = settings(dir.path());
        fs::create_dir_all(&settings.run_dir).expect("a folder");
        let other = settings.run_dir.join("notes");
        fs::write(&other, b"x").expect("a file");
        let pins = settings.pins();
        bpf::Pins::create(&pins.with_file_name("b")).expect("another node's");
        nothing_behind(&settings).expect("removed");
        assert!(other.exists() && pins.with_file_name("b").exists());
    }
}
