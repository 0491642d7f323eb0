//! The few bpf(2) calls that aya has no interface for: links that outlive the process and change their program in place.
//! Layouts: `union bpf_attr` and `struct bpf_link_info` of `linux/bpf.h`.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// `enum bpf_attach_type` values that are used.
pub mod attach {
    /// `BPF_CGROUP_SOCK_OPS`.
    pub const SOCK_OPS: u32 = 3;
    /// `BPF_CGROUP_INET4_CONNECT`.
    pub const CONNECT4: u32 = 10;
    /// `BPF_CGROUP_INET6_CONNECT`.
    pub const CONNECT6: u32 = 11;
    /// `BPF_CGROUP_GETSOCKOPT`.
    pub const GETSOCKOPT: u32 = 21;
    /// `BPF_CGROUP_SETSOCKOPT`.
    pub const SETSOCKOPT: u32 = 22;
    /// `BPF_CGROUP_INET4_GETPEERNAME`.
    pub const GETPEERNAME4: u32 = 29;
    /// `BPF_CGROUP_INET6_GETPEERNAME`.
    pub const GETPEERNAME6: u32 = 30;
    /// `BPF_CGROUP_INET4_GETSOCKNAME`.
    pub const GETSOCKNAME4: u32 = 31;
    /// `BPF_CGROUP_INET6_GETSOCKNAME`.
    pub const GETSOCKNAME6: u32 = 32;
    /// `BPF_SK_LOOKUP`.
    pub const SK_LOOKUP: u32 = 36;
}

/// `BPF_F_ALLOW_MULTI`: other programs may be attached beside ours.
pub const ALLOW_MULTI: u32 = 2;

const MAP_GET_NEXT_KEY: u32 = 4;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;

/// The attribute of a call, big enough for every one used; what a call does not know has to be zero.
type Attr = [u64; 16];

/// What the kernel tells of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Id of the program that runs now.
    pub program: u32,
    /// Cgroup id, or inode of the network namespace; 0 once that is gone.
    pub target: u64,
    /// Attach type.
    pub attach_type: u32,
}

/// Attaches `program` to a cgroup or network namespace.
pub fn link_create(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let mut attr = Attr::default();
    attr[0] = pair(raw(program), raw(target));
    attr[1] = pair(attach_type, 0);
    owned(call(LINK_CREATE, &mut attr)?)
}

/// Replaces the program of a link in one step: no packet sees neither, none sees both.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = Attr::default();
    attr[0] = pair(raw(link), raw(program));
    call(LINK_UPDATE, &mut attr).map(drop)
}

/// Pins a link or map at `path`, which must lie on a bpffs.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = Attr::default();
    attr[0] = path.as_ptr() as u64;
    attr[1] = pair(raw(object), 0);
    call(OBJ_PIN, &mut attr).map(drop)
}

/// Opens what is pinned at `path`.
pub fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = Attr::default();
    attr[0] = path.as_ptr() as u64;
    owned(call(OBJ_GET, &mut attr)?)
}

/// What the kernel knows of a cgroup or network namespace link.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    const NETNS_LINK: u32 = 5;
    let mut info = Attr::default();
    let mut attr = Attr::default();
    attr[0] = pair(raw(link), size_of::<Attr>() as u32);
    attr[1] = info.as_mut_ptr() as u64;
    call(OBJ_GET_INFO_BY_FD, &mut attr)?;
    let (kind, program) = (info[0] as u32, info[1] as u32);
    // A cgroup's id takes eight bytes, a namespace's inode number four; the attach type follows.
    Ok(match kind {
        NETNS_LINK => LinkInfo {
            program,
            target: info[2] & 0xffff_ffff,
            attach_type: (info[2] >> 32) as u32,
        },
        _ => LinkInfo {
            program,
            target: info[2],
            attach_type: info[3] as u32,
        },
    })
}

/// The programs attached to one cgroup itself: their ids (at most 64) and the flags that they were attached with.
pub fn prog_query(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<(Vec<u32>, u32)> {
    let mut ids = [0u32; 64];
    let mut attr = Attr::default();
    attr[0] = pair(raw(cgroup), attach_type);
    attr[2] = ids.as_mut_ptr() as u64;
    attr[3] = pair(ids.len() as u32, 0);
    call(PROG_QUERY, &mut attr)?;
    let count = (attr[3] as u32 as usize).min(ids.len());
    Ok((ids[..count].to_vec(), (attr[1] >> 32) as u32))
}

/// The key after `key` in a map, or its first one; None after the last.
pub fn next_key(
    map: BorrowedFd<'_>,
    key: Option<&[u8]>,
    size: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut next = vec![0u8; size];
    let mut attr = Attr::default();
    attr[0] = pair(raw(map), 0);
    attr[1] = key.map_or(0, |k| k.as_ptr() as u64);
    attr[2] = next.as_mut_ptr() as u64;
    match call(MAP_GET_NEXT_KEY, &mut attr) {
        Ok(_) => Ok(Some(next)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The clock of the kernel programs' time stamps (CLOCK_MONOTONIC).
pub fn monotonic() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a live timespec.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    if result != 0 {
        return Duration::ZERO;
    }
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

fn call(command: u32, attr: &mut Attr) -> io::Result<i64> {
    // SAFETY: `attr` is 128 zero-extended bytes that outlive the call; pointers in it were made from live buffers by the callers.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of::<Attr>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(fd: i64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec, as all of bpf(2)'s), and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Two adjacent 32-bit fields, the lower address first.
fn pair(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
