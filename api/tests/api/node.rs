//! The node socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use proptest::prelude::*;
use tokio::time::timeout;
use warren_api::node::{
    AgentSocket, Error, Family, Listener, ListenerKind, MAX_FDS, MAX_PACKET, ToAgent, ToTunnel,
    Traffic, TunnelSocket, connect,
};

const LIMIT: Duration = Duration::from_secs(10);

fn add_pod() -> ToTunnel {
    ToTunnel::AddPod {
        uid: "Kubernetes//Pod/shop/web".into(),
        netns_cookie: u64::MAX,
        addresses: vec![
            "10.0.0.1".parse().expect("an address"),
            "fd00::1".parse().expect("an address"),
        ],
        listeners: vec![ListenerKind {
            kind: Traffic::Hbone,
            family: Family::V6,
        }],
    }
}

#[test]
fn messages_look_as_documented() {
    let text = serde_json::to_string(&add_pod()).expect("JSON");
    assert_eq!(
        text,
        r#"{"type":"add_pod","uid":"Kubernetes//Pod/shop/web","netns_cookie":18446744073709551615,"#
            .to_owned()
            + r#""addresses":["10.0.0.1","fd00::1"],"listeners":[{"kind":"hbone","family":"v6"}]}"#
    );
    assert_eq!(
        serde_json::to_string(&ToTunnel::Synced {}).expect("JSON"),
        r#"{"type":"synced"}"#
    );
    let with_more: ToTunnel =
        serde_json::from_str(r#"{"type":"recover","later":1}"#).expect("newer peers");
    assert_eq!(with_more, ToTunnel::Recover {});
}

#[tokio::test]
async fn passes_working_descriptors() {
    let (agent, tunnel) = AgentSocket::pair().expect("pair");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let null = std::fs::File::open("/dev/null").expect("open");
    agent
        .send(&add_pod(), &[null.as_fd(), listener.as_fd()])
        .await
        .expect("send");
    drop(listener);

    let (message, mut fds) = tunnel.recv().await.expect("recv").expect("a message");
    assert_eq!(message, add_pod());
    assert_eq!(fds.len(), 2);
    for fd in &fds {
        let flags = fcntl(fd, FcntlArg::F_GETFD).expect("flags");
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
    }
    let listener = TcpListener::from(fds.remove(1));
    let mut client = TcpStream::connect(address).expect("the listener lives on");
    client.write_all(b"hello").expect("write");
    drop(client);
    let mut text = String::new();
    listener
        .accept()
        .expect("accept")
        .0
        .read_to_string(&mut text)
        .expect("read");
    assert_eq!(text, "hello");
}

#[tokio::test]
async fn both_directions_and_the_end() {
    let (agent, tunnel) = AgentSocket::pair().expect("pair");
    let ready = ToAgent::PodReady { uid: "u".into() };
    let (sent, received) = tokio::join!(tunnel.send(&ready, &[]), agent.recv());
    sent.expect("send");
    assert_eq!(received.expect("recv").expect("a message").0, ready);
    drop(tunnel);
    assert!(agent.recv().await.expect("recv").is_none());
    assert!(agent.send(&ToTunnel::Synced {}, &[]).await.is_err());
}

#[tokio::test]
async fn limits_are_kept() {
    let (agent, tunnel) = AgentSocket::pair().expect("pair");
    let long = ToTunnel::RemovePod {
        uid: "x".repeat(MAX_PACKET),
    };
    assert!(matches!(agent.send(&long, &[]).await, Err(Error::TooLong)));
    let null = std::fs::File::open("/dev/null").expect("open");
    let many = vec![null.as_fd(); MAX_FDS + 1];
    assert!(matches!(
        agent.send(&add_pod(), &many).await,
        Err(Error::TooManyFds)
    ));

    // What a peer without our limits could send; the socket goes on working after each.
    raw_send(&agent, &vec![b' '; MAX_PACKET + 1], &[]);
    assert!(matches!(tunnel.recv().await, Err(Error::TooLong)));
    let before = open_fds();
    raw_send(
        &agent,
        br#"{"type":"synced"}"#,
        &vec![null.as_raw_fd(); 200],
    );
    assert!(matches!(tunnel.recv().await, Err(Error::TooManyFds)));
    assert!(open_fds() < before + 50, "refused descriptors are closed");
    for bad in [
        &b"\0\xff"[..],
        b"{}",
        br#"{"type":"hello"}"#,
        br#"{"type":"add_pod","uid":1}"#,
    ] {
        raw_send(&agent, bad, &[null.as_raw_fd()]);
        assert!(
            matches!(tunnel.recv().await, Err(Error::Malformed(_))),
            "{bad:?}"
        );
    }
    agent.send(&ToTunnel::Recover {}, &[]).await.expect("send");
    assert_eq!(
        tunnel.recv().await.expect("recv").expect("a message").0,
        ToTunnel::Recover {}
    );
}

#[tokio::test]
async fn a_dropped_receive_loses_nothing() {
    let (agent, tunnel) = AgentSocket::pair().expect("pair");
    assert!(
        timeout(Duration::from_millis(20), tunnel.recv())
            .await
            .is_err()
    );
    agent.send(&add_pod(), &[]).await.expect("send");
    assert_eq!(
        tunnel.recv().await.expect("recv").expect("a message").0,
        add_pod()
    );
}

#[tokio::test]
async fn listener_replaces_stale_sockets_and_accepts() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("agent.sock");
    let absent = connect::<ToAgent, ToTunnel>(&path)
        .await
        .expect_err("nobody listens");
    assert!(absent.to_string().contains("agent.sock"), "{absent}");
    drop(Listener::bind(&path).expect("bind"));
    let listener = Listener::bind(&path).expect("bind again");
    let mode = std::fs::metadata(&path)
        .expect("metadata")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let accept = async {
        listener
            .accept::<ToTunnel, ToAgent>()
            .await
            .expect("accept")
    };
    let connect = async { connect::<ToAgent, ToTunnel>(&path).await.expect("connect") };
    let (agent, tunnel): (AgentSocket, TunnelSocket) =
        timeout(LIMIT, async { tokio::join!(accept, connect) })
            .await
            .expect("in time");
    let hello = ToAgent::Hello {
        version: "1".into(),
        instance: "a".into(),
    };
    tunnel.send(&hello, &[]).await.expect("send");
    assert_eq!(
        agent.recv().await.expect("recv").expect("a message").0,
        hello
    );

    let file = dir.path().join("file");
    std::fs::write(&file, "precious").expect("write");
    assert!(matches!(Listener::bind(&file), Err(Error::Path { .. })));
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "precious");
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = serde_json::from_slice::<ToTunnel>(&bytes);
        let _ = serde_json::from_slice::<ToAgent>(&bytes);
    }
}

fn raw_send(socket: &AgentSocket, data: &[u8], fds: &[i32]) {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    let iov = [std::io::IoSlice::new(data)];
    let fd: OwnedFd = socket.as_fd().try_clone_to_owned().expect("clone");
    sendmsg::<()>(fd.as_raw_fd(), &iov, control, MsgFlags::empty(), None).expect("sendmsg");
}

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}
