//! Two pods and a node as network namespaces, with cgroups and programs in them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Everything that is made, and removed at the end.
pub struct World {
    name: String,
    subnet: u8,
    cgroup: PathBuf,
}

/// A Python program in a pod.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
}

const SERVER: &str = "
import socket, sys, errno
s = socket.create_server(('::', int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print('ready', flush=True)
while True:
    c, a = s.accept()
    print('accepted', a[0].removeprefix('::ffff:'), flush=True)
    try:
        while c.recv(100): pass
        print('ended', flush=True)
    except OSError as e:
        print('ended', errno.errorcode[e.errno], flush=True)
";

const CLIENT: &str = "
import socket, sys, errno
try:
    c = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    print('connected', *c.getpeername()[:2], flush=True)
    c.settimeout(None)
    c.recv(1)
    print('ended', flush=True)
except OSError as e:
    print('ended', errno.errorcode.get(e.errno, str(e)), flush=True)
";

/// Listens, and lets every handshake fall at its last step until data comes.
const WAITING: &str = "
import socket, sys, time
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
s.bind(('::', int(sys.argv[1])))
s.listen()
print('ready', flush=True)
time.sleep(60)
";

/// Connects five times and breaks each off.
const HASTY: &str = "
import socket, struct, sys
held = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) for _ in range(5)]
print('connected', flush=True)
for c in held:
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    c.close()
print('left', flush=True)
";

/// Connects as often as it is told, and leaves each time.
const REPEATED: &str = "
import socket, sys
to = sys.argv[1].rsplit(' ', 1)
for _ in range(int(sys.argv[2])):
    socket.create_connection((to[0], int(to[1])), 5).close()
print('done', flush=True)
";

impl World {
    /// Makes the namespaces and cgroups.
    pub fn new(test: &str) -> Result<Self, String> {
        let hierarchy = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let root = hierarchy
            .iter()
            .map(Path::new)
            .find(|p| p.join("cgroup.procs").exists());
        let root = root.ok_or("no cgroup v2 hierarchy")?;
        let name = format!("wagent-{}-{test}", std::process::id());
        let subnet = test.bytes().fold(100u8, |a, b| {
            (a.wrapping_mul(31).wrapping_add(b)) % 120 + 100
        });
        let world = Self {
            cgroup: root.join(&name),
            name,
            subnet,
        };
        for dir in [
            "pods/a",
            "pods/b",
            "system/tunnel",
            "system/kubelet",
            "system/agent",
        ] {
            fs::create_dir_all(world.cgroup.join(dir))
                .map_err(|e| format!("{}: {e}", world.cgroup.display()))?;
        }
        world.network()?;
        // This process plays the tunnel: kernel programs answer only its cgroup, and only for sockets made below them.
        world
            .join("system/tunnel")
            .map_err(|e| format!("joining a cgroup: {e}"))?;
        Ok(world)
    }

    fn join(&self, cgroup: &str) -> std::io::Result<()> {
        fs::write(
            self.cgroup(cgroup).join("cgroup.procs"),
            std::process::id().to_string(),
        )
    }

    fn network(&self) -> Result<(), String> {
        let (node, net) = (self.netns_name("node"), format!("10.98.{}", self.subnet));
        let net6 = format!("fd98:{}", self.subnet);
        let mut script = format!(
            "ip netns add {node}; ip -n {node} link set lo up; ip -n {node} link add br0 type bridge; \
             ip -n {node} addr add {net}.1/24 dev br0; ip -n {node} addr add {net6}::1/64 dev br0 nodad; \
             ip -n {node} link set br0 up; "
        );
        for (pod, last) in [("a", 5), ("b", 6)] {
            let ns = self.netns_name(pod);
            script += &format!(
                "ip netns add {ns}; ip -n {ns} link set lo up; \
                 ip -n {node} link add v{pod} type veth peer name eth0 netns {ns}; ip -n {node} link set v{pod} master br0 up; \
                 ip -n {ns} addr add {net}.{last}/24 dev eth0; ip -n {ns} addr add {net6}::{last}/64 dev eth0 nodad; \
                 ip -n {ns} link set eth0 up; "
            );
        }
        let done = Command::new("sh")
            .args(["-ec", &script])
            .output()
            .map_err(|e| e.to_string())?;
        if done.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).into_owned())
        }
    }

    fn netns_name(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    /// Path of a network namespace: `node`, `a` or `b`.
    pub fn netns(&self, what: &str) -> PathBuf {
        Path::new("/run/netns").join(self.netns_name(what))
    }

    /// Address of a pod (`a`, `b`) or the node.
    pub fn ip(&self, of: &str, v4: bool) -> IpAddr {
        let last = match of {
            "a" => 5,
            "b" => 6,
            _ => 1,
        };
        match v4 {
            true => Ipv4Addr::new(10, 98, self.subnet, last).into(),
            false => format!("fd98:{}::{last}", self.subnet)
                .parse()
                .expect("an address"),
        }
    }

    /// Where programs attach, or a directory below.
    pub fn cgroup(&self, below: &str) -> PathBuf {
        self.cgroup.join(below)
    }

    /// Where maps and links are pinned.
    pub fn pins(&self) -> PathBuf {
        Path::new("/sys/fs/bpf/warren").join(&self.name)
    }

    /// (link id, program id) of every pinned link, in order of name.
    pub fn links(&self) -> Vec<(u32, u32)> {
        let mut paths = Vec::new();
        for dir in ["links", "pods"] {
            paths.extend(
                fs::read_dir(self.pins().join(dir))
                    .unwrap()
                    .map(|e| e.unwrap().path()),
            );
        }
        paths.sort();
        let info = |p: &PathBuf| {
            aya::programs::links::FdLink::from(
                aya::programs::links::PinnedLink::from_pin(p).unwrap(),
            )
            .info()
            .unwrap()
        };
        paths
            .iter()
            .map(info)
            .map(|i| (i.id(), i.program_id()))
            .collect()
    }

    /// A server in a pod that has printed `ready`.
    pub fn server(&self, pod: &str, port: u16) -> Program {
        let program = self.start(pod, &format!("pods/{pod}"), SERVER, &[&port.to_string()]);
        assert_eq!(program.line(), "ready");
        program
    }

    /// A server in a pod that waits for data before it takes a connection, and has printed `ready`.
    pub fn waiting_server(&self, pod: &str, port: u16) -> Program {
        let program = self.start(pod, &format!("pods/{pod}"), WAITING, &[&port.to_string()]);
        assert_eq!(program.line(), "ready");
        program
    }

    /// A client in a pod that connects five times (`connected`) and breaks each off (`left`).
    pub fn hasty_client(&self, pod: &str, to: SocketAddr) -> Program {
        let args = [&*to.ip().to_string(), &*to.port().to_string()];
        self.start(pod, &format!("pods/{pod}"), HASTY, &args)
    }

    /// A client in a pod that connects `times` times and leaves each time, then says `done`.
    pub fn repeated_client(&self, pod: &str, to: SocketAddr, times: usize) -> Program {
        let to = format!("{} {}", to.ip(), to.port());
        self.start(
            pod,
            &format!("pods/{pod}"),
            REPEATED,
            &[&to, &times.to_string()],
        )
    }

    /// A client in a pod.
    pub fn client(&self, pod: &str, to: SocketAddr) -> Program {
        self.start(
            pod,
            &format!("pods/{pod}"),
            CLIENT,
            &[&to.ip().to_string(), &to.port().to_string()],
        )
    }

    /// A kubelet's probe.
    pub fn probe(&self, to: SocketAddr) -> Program {
        self.start(
            "node",
            "system/kubelet",
            CLIENT,
            &[&to.ip().to_string(), &to.port().to_string()],
        )
    }

    /// A Python program with two arguments. The shell joins the cgroup before the program makes any socket.
    pub fn start(&self, netns: &str, cgroup: &str, program: &str, args: &[&str]) -> Program {
        let procs = self.cgroup(cgroup).join("cgroup.procs");
        let script = r#"echo $$ > "$1"; exec nsenter --net="$2" python3 -c "$3" "$4" "$5""#;
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(procs)
            .arg(self.netns(netns))
            .arg(program)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (tx, lines) = channel();
        std::thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .try_for_each(|l| tx.send(l))
        });
        Program { child, lines }
    }
}

impl Program {
    /// Its next line, within five seconds.
    pub fn line(&self) -> String {
        self.lines
            .recv_timeout(Duration::from_secs(5))
            .expect("the program says something in time")
    }

    /// Waits for its end.
    pub fn join(mut self) {
        self.child.wait().expect("wait");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = warren_agent::bpf::cleanup(&self.pins());
        let _ = self.join("..");
        for what in ["a", "b", "node"] {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.netns_name(what)])
                .status();
        }
        std::thread::sleep(Duration::from_millis(200));
        for dir in [
            "pods/a",
            "pods/b",
            "pods",
            "system/tunnel",
            "system/kubelet",
            "system/agent",
            "system",
            "",
        ] {
            let _ = fs::remove_dir(self.cgroup.join(dir));
        }
    }
}
