//! Attacks on the agent's node socket (`SOCK_SEQPACKET`).

use std::io::{IoSlice, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rand::RngCore;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Finding, Target};

pub(super) const NAMES: &[&str] = &["bad-packets", "node-silence"];

/// Runs it; blocking calls on a thread of their own.
pub(super) async fn run(name: &str, target: &Target) -> Result<Vec<Finding>> {
    let path = target.socket.clone().context("--socket is needed")?;
    let (name, target) = (name.to_owned(), target.clone());
    tokio::task::spawn_blocking(move || match name.as_str() {
        "bad-packets" => packets()
            .into_iter()
            .map(|(what, bytes, fds)| {
                let how = send(&path, &bytes, fds, target.limit)?;
                Ok(Finding::new(what, &how, how != "still open"))
            })
            .collect(),
        _ => silence(&path, &target),
    })
    .await?
}

fn packets() -> Vec<(&'static str, Vec<u8>, usize)> {
    let text = |t: &str| t.as_bytes().to_vec();
    let mut random = vec![0; 4096];
    rand::rng().fill_bytes(&mut random);
    vec![
        ("random bytes", random, 0),
        ("nesting", vec![b'['; 60_000], 0),
        ("no type", text("{}"), 0),
        ("an unknown type", text("{\"type\":\"explode\"}"), 0),
        ("a type of a number", text("{\"type\":7}"), 0),
        ("no UTF-8", b"{\"type\":\"\xff\"}".to_vec(), 0),
        ("an unasked descriptor", text("{\"type\":\"explode\"}"), 20),
        ("100 KiB", vec![b' '; 100 << 10], 0),
        (
            "pod_ready before hello",
            text("{\"type\":\"pod_ready\",\"uid\":\"x\"}"),
            0,
        ),
    ]
}

fn connect(path: &Path, limit: Duration) -> Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))?;
    socket
        .connect(&SockAddr::unix(path)?)
        .with_context(|| format!("cannot connect to {}", path.display()))?;
    Ok(socket)
}

fn send(path: &Path, bytes: &[u8], fds: usize, limit: Duration) -> Result<String> {
    let socket = connect(path, limit)?;
    let raw: Vec<RawFd> = vec![socket.as_raw_fd(); fds];
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if fds == 0 { &[] } else { &rights };
    if let Err(error) = sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::empty(),
        None,
    ) {
        return Ok(format!("not taken: {error}"));
    }
    Ok(ending(&socket))
}

fn ending(socket: &Socket) -> String {
    let mut buffer = vec![0; 64 << 10];
    let mut reader = socket;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return "closed".into(),
            Ok(n) if buffer[..n].windows(5).any(|w| w == b"error") => {
                return "answered with an error".into();
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return "still open".into();
            }
            Err(_) => return "reset".into(),
        }
    }
}

fn silence(path: &Path, target: &Target) -> Result<Vec<Finding>> {
    let sockets: Vec<Socket> = (0..target.connections)
        .map(|_| connect(path, target.limit))
        .collect::<Result<_>>()?;
    // They wait at the same time: the first takes the whole limit, the others are then due.
    let open = sockets.iter().enumerate().filter(|(at, socket)| {
        let wait = if *at == 0 {
            target.limit
        } else {
            Duration::from_millis(200)
        };
        socket.set_read_timeout(Some(wait)).is_err() || ending(socket) == "still open"
    });
    let open = open.count();
    let how = format!("{} of {} ended", sockets.len() - open, sockets.len());
    Ok(vec![Finding::new("silent", how, open == 0)])
}
