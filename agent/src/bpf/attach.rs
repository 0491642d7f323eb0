//! Links: made once, pinned, and from then on only updated, so that there is never a gap and never a second copy.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{BpfError, pins, sys};

/// Attaches `program` to `cgroup` by a link pinned at `pin`, or updates the link that is pinned there.
pub fn attach_cgroup(
    name: &str,
    program: BorrowedFd<'_>,
    cgroup: &Path,
    pin: &Path,
) -> Result<(), BpfError> {
    let open = |e: io::Error| BpfError::Cgroup {
        path: cgroup.to_owned(),
        why: e.to_string(),
    };
    let dir = File::open(cgroup).map_err(open)?;
    let id = dir.metadata().map_err(open)?.ino();
    let attach_type = attach_type(name).ok_or_else(|| super::load::missing("program", name))?;
    let fail = |why: String| BpfError::Attach {
        name: name.to_owned(),
        path: cgroup.to_owned(),
        why,
    };
    if update(program, pin, id, attach_type).map_err(|e| fail(e.to_string()))? {
        return Ok(());
    }
    let link = sys::link_create(program, dir.as_fd(), attach_type)
        .map_err(|e| fail(explain(e, cgroup, attach_type)))?;
    pins::replace(link.as_fd(), pin).map_err(|e| fail(format!("pinning the link: {e}")))
}

/// Attaches the lookup program to a pod's network namespace, or updates the link pinned at `pin`.
pub fn attach_netns(program: BorrowedFd<'_>, netns: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
    let inode = nix::sys::stat::fstat(netns)?.st_ino & 0xffff_ffff;
    if update(program, pin, inode, sys::attach::SK_LOOKUP)? {
        return Ok(());
    }
    let link = sys::link_create(program, netns, sys::attach::SK_LOOKUP)?;
    pins::replace(link.as_fd(), pin)
}

/// Puts `program` into the link at `pin`, whatever it is attached to; false where there is no such link or its target is gone.
pub fn renew(program: BorrowedFd<'_>, pin: &Path) -> io::Result<bool> {
    let link = match sys::get(pin) {
        Ok(link) => link,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    if sys::link_info(link.as_fd())?.target == 0 {
        return Ok(false);
    }
    sys::link_update(link.as_fd(), program).map(|()| true)
}

/// [`renew`], but only where the link at `pin` belongs to this very target.
fn update(program: BorrowedFd<'_>, pin: &Path, target: u64, attach_type: u32) -> io::Result<bool> {
    let link = match sys::get(pin) {
        Ok(link) => link,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    let info = sys::link_info(link.as_fd())?;
    if (info.target, info.attach_type) != (target, attach_type) {
        // The old target is gone or was left behind by other settings: its link must not run on.
        pins::remove(pin)?;
        return Ok(false);
    }
    sys::link_update(link.as_fd(), program).map(|()| true)
}

/// Says who holds the place where the kernel answers EPERM.
fn explain(error: io::Error, cgroup: &Path, attach_type: u32) -> String {
    if error.raw_os_error() != Some(libc::EPERM) {
        return format!("{error}; the kernel must be 6.1 or later with CONFIG_CGROUP_BPF=y");
    }
    for dir in cgroup.ancestors() {
        let Ok((ids, flags)) =
            File::open(dir).and_then(|f| sys::prog_query(f.as_fd(), attach_type))
        else {
            break;
        };
        if !ids.is_empty() && flags & sys::ALLOW_MULTI == 0 {
            let holders: Vec<_> = ids.iter().map(|id| program_name(*id)).collect();
            return format!(
                "{} is attached exclusively to {}; detach it (`bpftool cgroup detach`) or have it attached with BPF_F_ALLOW_MULTI",
                holders.join(", "),
                dir.display()
            );
        }
    }
    "not permitted, and no other program holds the place; the agent needs CAP_BPF and CAP_NET_ADMIN"
        .to_owned()
}

fn program_name(id: u32) -> String {
    let info = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|p| p.id() == id);
    let name = info
        .and_then(|p| p.name_as_str().map(str::to_owned))
        .filter(|n| !n.is_empty());
    format!(
        "program {} (id {id})",
        name.as_deref().unwrap_or("without a name")
    )
}

fn attach_type(program: &str) -> Option<u32> {
    use sys::attach::*;
    Some(match program {
        "connect4" => CONNECT4,
        "connect6" => CONNECT6,
        "getpeername4" => GETPEERNAME4,
        "getpeername6" => GETPEERNAME6,
        "getsockname4" => GETSOCKNAME4,
        "getsockname6" => GETSOCKNAME6,
        "sock_ops" => SOCK_OPS,
        "getsockopt" => GETSOCKOPT,
        "setsockopt" => SETSOCKOPT,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_an_attach_type() {
        for name in warren_abi::names::CGROUP_PROGRAMS {
            assert!(attach_type(name).is_some(), "{name}");
        }
    }
}
