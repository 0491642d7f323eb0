//! The BPF file system, and limits of this process.

use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::statfs::{FsType, statfs};

use super::BpfError;

/// `BPF_FS_MAGIC` of `linux/magic.h`.
const BPF_FS: FsType = FsType(0xcafe_4a11);
/// Where the BPF file system belongs.
const BPF_FS_DIR: &str = "/sys/fs/bpf";

/// Makes sure that `dir` will lie on a BPF file system; mounts one at `/sys/fs/bpf` where `dir` is below it and there is none.
///
/// # Errors
/// There is none and it cannot be mounted.
pub fn ensure_bpffs(dir: &Path) -> Result<(), BpfError> {
    let base = dir
        .ancestors()
        .find(|p| p.exists())
        .unwrap_or(Path::new("/"));
    if is_bpffs(base) {
        return Ok(());
    }
    let fail = |why: String| BpfError::PinDir {
        path: dir.to_owned(),
        why,
    };
    if !dir.starts_with(BPF_FS_DIR) {
        return Err(fail(format!(
            "{} is not on a BPF file system; mount one there: mount -t bpf bpf DIR",
            base.display()
        )));
    }
    mount(
        Some("bpf"),
        BPF_FS_DIR,
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )
    .map_err(|e| {
        fail(format!(
            "no BPF file system at {BPF_FS_DIR}, and mounting one failed: {e}"
        ))
    })?;
    tracing::info!(dir = BPF_FS_DIR, "mounted the BPF file system");
    Ok(())
}

/// Raises the limits of open files and locked memory as far as allowed: every enrolled pod takes up to eight descriptors.
pub fn raise_limits() {
    for (name, resource) in [
        ("open files", Resource::RLIMIT_NOFILE),
        ("locked memory", Resource::RLIMIT_MEMLOCK),
    ] {
        let raised = getrlimit(resource).and_then(|(_, hard)| setrlimit(resource, hard, hard));
        if let Err(error) = raised {
            tracing::warn!(%error, "the limit of {name} cannot be raised");
        }
    }
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS)
}
