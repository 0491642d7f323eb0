//! What a direct flow carried, whichever end closes first.

use std::net::SocketAddr;

use super::rig::Rig;
use super::world::World;
use crate::{FAMILIES, REASON};

/// Four bytes say when the five of the answer come, and who closes first.
const SERVER: &str = "
import socket, sys, time
s = socket.create_server(('::', int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print('ready', flush=True)
while True:
    c, _ = s.accept()
    way = c.recv(4)
    if way != b'half':
        c.sendall(b'reply')
    if way != b'last':
        while c.recv(100): pass
    # Its acknowledgement of the client's FIN is to travel without its own.
    time.sleep(0.2)
    if way == b'half':
        c.sendall(b'reply')
    c.close()
    print('closed', flush=True)
";

const CLIENT: &str = "
import socket, sys
port, way = sys.argv[2].split()
c = socket.create_connection((sys.argv[1], int(port)), 5)
c.sendall(way.encode())
if way == 'half':
    c.shutdown(socket.SHUT_WR)
got = c.recv(5, socket.MSG_WAITALL)
if way != 'frst':
    while c.recv(100): pass
c.close()
print('closed', len(got), flush=True)
";

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn every_byte_counts_and_no_fin_whoever_closes_first() {
    for v4 in FAMILIES {
        let world = World::new(if v4 { "bytes4" } else { "bytes6" }).expect(REASON);
        let mut rig = Rig::start(&world);
        rig.enrol(&["a", "b"]);
        let to = SocketAddr::new(world.ip("b", v4), 8080);
        let server = world.start("b", "pods/b", SERVER, &["8080", ""]);
        assert_eq!(server.line(), "ready");
        let captured = world.client("a", to);
        rig.accept_outbound("a", to);
        captured.join();
        rig.until("a verdict", |rig| rig.wanted > 0);
        for (number, way) in ["frst", "half", "last"].into_iter().enumerate() {
            let told = format!("{} {way}", to.port());
            let client = world.start("a", "pods/a", CLIENT, &[&to.ip().to_string(), &told]);
            assert_eq!(client.line(), "closed 5", "{way}");
            assert_eq!(server.line(), "closed", "{way}");
            rig.until("the flow's end", |rig| rig.carried.len() > number);
            assert_eq!(rig.carried[number], (4, 5), "{way}");
        }
    }
}
