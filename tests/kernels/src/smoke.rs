//! Loads every program, attaches it, and sends one connection a family through capture, steering, original destination,
//! peer names and declared client addresses.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aya::maps::{Array, HashMap, MapData, SockHash};
use aya::programs::links::CgroupAttachMode;
use aya::programs::{CgroupSockAddr, CgroupSockopt, Program, SkLookup, SockOps};
use aya::{Ebpf, EbpfLoader, Pod};
use warren_abi as abi;

use crate::pod;

const WAIT: Duration = Duration::from_secs(10);

/// Wraps a plain structure of the kernel interface so that it may be a map key or value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T: Copy + 'static>(T);
// SAFETY: the structures of `warren_abi` are plain integers without padding.
unsafe impl<T: Copy + 'static> Pod for Plain<T> {}

/// Runs in a new network namespace and a cgroup of its own, and leaves nothing behind.
pub(crate) fn in_own_namespaces(object: &Path) -> anyhow::Result<()> {
    let root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|dir| Path::new(dir).join("cgroup.controllers").exists())
        .context("no cgroup v2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup")?;
    let cgroup = Path::new(root).join(format!("warren-kernels-{}", std::process::id()));
    std::fs::create_dir(&cgroup)
        .with_context(|| format!("make {}: is this root?", cgroup.display()))?;
    let result = std::fs::write(cgroup.join("cgroup.procs"), "0")
        .context("enter the cgroup")
        .and_then(|()| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .context("new network namespace")
        })
        .and_then(|()| run(object, &cgroup));
    let _ = std::fs::write(Path::new(root).join("cgroup.procs"), "0");
    let _ = std::fs::remove_dir(&cgroup);
    result
}

/// Everything, in this process's network namespace, with the programs attached at `cgroup`.
pub(crate) fn run(object: &Path, cgroup: &Path) -> anyhow::Result<()> {
    pod::configure()?;
    let data = std::fs::read(object).with_context(|| format!("read {}", object.display()))?;
    let mut ebpf = EbpfLoader::new().load(&data).context("load maps")?;
    attach(&mut ebpf, cgroup)?;
    println!("warren-kernels: every program is loaded and attached");
    for ip in pod::ADDRESSES {
        captured(&mut ebpf, cgroup, ip).with_context(|| format!("capture at {ip}"))?;
        delivered(ip).with_context(|| format!("delivery at {ip}"))?;
        println!("warren-kernels: {ip}: captured, steered, asked, named, delivered");
    }
    large_option()
}

fn attach(ebpf: &mut Ebpf, cgroup: &Path) -> anyhow::Result<()> {
    let group = File::open(cgroup)?;
    let netns = File::open("/proc/self/ns/net")?;
    // A link is always attached beside others (BPF_F_ALLOW_MULTI); the kernel refuses to be told so.
    let mode = CgroupAttachMode::Single;
    for (name, program) in ebpf.programs_mut() {
        let attached = match program {
            Program::CgroupSockAddr(p) => load_sock_addr(p, &group, mode),
            Program::CgroupSockopt(p) => load_sockopt(p, &group, mode),
            Program::SockOps(p) => load_sock_ops(p, &group, mode),
            Program::SkLookup(p) => load_sk_lookup(p, &netns),
            _ => bail!("program {name} is of a type that nobody expects"),
        };
        attached.with_context(|| format!("program {name}"))?;
    }
    Ok(())
}

fn load_sock_addr(
    program: &mut CgroupSockAddr,
    group: &File,
    mode: CgroupAttachMode,
) -> anyhow::Result<()> {
    program.load()?;
    program.attach(group, mode)?;
    Ok(())
}

fn load_sockopt(
    program: &mut CgroupSockopt,
    group: &File,
    mode: CgroupAttachMode,
) -> anyhow::Result<()> {
    program.load()?;
    program.attach(group, mode)?;
    Ok(())
}

fn load_sock_ops(
    program: &mut SockOps,
    group: &File,
    mode: CgroupAttachMode,
) -> anyhow::Result<()> {
    program.load()?;
    program.attach(group, mode)?;
    Ok(())
}

fn load_sk_lookup(program: &mut SkLookup, netns: &File) -> anyhow::Result<()> {
    program.load()?;
    program.attach(netns)?;
    Ok(())
}

/// A connect to an address that is not there reaches the outbound listener, which learns what was asked for.
fn captured(ebpf: &mut Ebpf, cgroup: &Path, ip: IpAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind((loopback(ip), 0))?;
    let key = abi::ListenerKey {
        ip: ip.into(),
        kind: abi::LISTENER_OUTBOUND,
    };
    let mut listeners: SockHash<&mut MapData, Plain<abi::ListenerKey>> =
        ebpf.map_mut("listeners").context("listeners")?.try_into()?;
    listeners.insert(Plain(key), listener.as_raw_fd(), 0)?;
    configure(ebpf, 0)?;
    let asked = SocketAddr::new(elsewhere(ip), 80);
    let mut client = TcpStream::connect_timeout(&asked, WAIT).context("connect")?;
    ensure!(
        client.peer_addr()? == asked,
        "the client sees {} instead of {asked}",
        client.peer_addr()?
    );
    let (mut server, _) = listener.accept()?;
    configure(ebpf, std::fs::metadata(cgroup)?.ino())?;
    let original: abi::OriginalDst = option(server.as_raw_fd(), abi::WARREN_ORIGINAL_DST)?;
    let told = SocketAddr::new(original.ip.into(), original.port);
    ensure!(
        told == asked,
        "the tunnel was told {told} instead of {asked}"
    );
    client.write_all(b"ping")?;
    let mut buffer = [0; 4];
    server.read_exact(&mut buffer)?;
    ensure!(&buffer == b"ping", "bytes differ");
    Ok(())
}

/// The tunnel (this process now) declares a client; the application sees it.
fn delivered(ip: IpAddr) -> anyhow::Result<()> {
    let application = TcpListener::bind((ip, 8080))?;
    let claimed = SocketAddr::new(elsewhere(ip), 40000);
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(claimed),
        socket2::Type::STREAM,
        None,
    )?;
    let declare = abi::ClientAddr {
        ip: claimed.ip().into(),
        port: claimed.port(),
        reserved: 0,
    };
    // SAFETY: the structure is plain and lives for the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            abi::SOL_WARREN,
            abi::WARREN_CLIENT_ADDR,
            (&raw const declare).cast(),
            size_of::<abi::ClientAddr>() as u32,
        )
    };
    ensure!(
        result == 0,
        "declare a client: {}",
        std::io::Error::last_os_error()
    );
    socket.connect(&SocketAddr::new(ip, 8080).into())?;
    // This cgroup is the tunnel's, which sees sockets as they are; a thread elsewhere would see the declared address.
    let (server, _) = application.accept()?;
    ensure!(
        server.local_addr()? == SocketAddr::new(ip, 8080),
        "the server's own address changed"
    );
    Ok(())
}

/// An option of more than a page passes through the hooks untouched.
fn large_option() -> anyhow::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    let mut large = [0u8; 8192];
    large[..4].copy_from_slice(&1i32.to_ne_bytes());
    // SAFETY: the buffer is as long as told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_KEEPALIVE,
            large.as_ptr().cast(),
            large.len() as u32,
        )
    };
    ensure!(
        result == 0,
        "an option of 8192 bytes: {}",
        std::io::Error::last_os_error()
    );
    ensure!(socket.keepalive()?, "an option of 8192 bytes was lost");
    println!("warren-kernels: an option of 8192 bytes passed");
    Ok(())
}

/// Makes this network namespace a pod, and the cgroup `tunnel` (0: none) the tunnel's.
fn configure(ebpf: &mut Ebpf, tunnel: u64) -> anyhow::Result<()> {
    let mut config: Array<&mut MapData, Plain<abi::Config>> =
        ebpf.map_mut("config").context("config")?.try_into()?;
    config.set(
        0,
        Plain(abi::Config {
            generation: 1,
            tunnel_cgroups: [tunnel, 0],
            ..Default::default()
        }),
        0,
    )?;
    let mut pods: HashMap<&mut MapData, u64, Plain<abi::Pod>> =
        ebpf.map_mut("pods").context("pods")?.try_into()?;
    let this = abi::Pod {
        ip4: IpAddr::V4(pod::IP4).into(),
        ip6: IpAddr::V6(pod::IP6).into(),
        workload: 1,
        flags: 0,
    };
    pods.insert(pod::netns_cookie()?, Plain(this), 0)?;
    Ok(())
}

fn option(socket: RawFd, name: i32) -> anyhow::Result<abi::OriginalDst> {
    let mut value = abi::OriginalDst::default();
    let mut length = size_of::<abi::OriginalDst>() as u32;
    // SAFETY: the buffer is as long as told.
    let result = unsafe {
        libc::getsockopt(
            socket,
            abi::SOL_WARREN,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    ensure!(
        result == 0,
        "ask for the original destination: {}",
        std::io::Error::last_os_error()
    );
    Ok(value)
}

fn loopback(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "127.0.0.1" } else { "::1" }
}

/// An address of the same family that no interface has.
fn elsewhere(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() {
        IpAddr::from([10, 2, 2, 2])
    } else {
        "fd02::2".parse().expect("a literal address")
    }
}
