//! The DNS server of a node, on threads of the daemon that live in the node's network namespace.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::codec::{decode, encode};
use super::zone::SharedZone;
use crate::ipam::{DNS_V4, DNS_V6};
use crate::netns;

/// TCP connections that one listener serves at a time.
const CONNECTIONS: usize = 64;

/// Starts the server in the network namespace `name`.
pub fn serve(name: &str, zone: SharedZone) -> Result<()> {
    let sockets = netns::within(name, || {
        let mut sockets = Vec::new();
        for address in [IpAddr::from(DNS_V4), IpAddr::from(DNS_V6)] {
            let address = SocketAddr::new(address, 53);
            let udp = UdpSocket::bind(address)
                .with_context(|| format!("cannot serve DNS at {address}"))?;
            let tcp = TcpListener::bind(address)
                .with_context(|| format!("cannot serve DNS at {address}"))?;
            sockets.push((udp, tcp));
        }
        Ok(sockets)
    })?;
    for (udp, tcp) in sockets {
        let (for_udp, for_tcp) = (zone.clone(), zone.clone());
        std::thread::spawn(move || serve_udp(&udp, &for_udp));
        std::thread::spawn(move || serve_tcp(&tcp, &for_tcp));
    }
    Ok(())
}

fn serve_udp(socket: &UdpSocket, zone: &SharedZone) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        if let Some(question) = decode(&buffer[..length]) {
            let (code, answers) = zone.get().answer(&question.name, question.kind);
            // An answer that cannot be sent is asked for again.
            let _ = socket.send_to(&encode(&question, code, &answers, question.limit), client);
        }
    }
}

fn serve_tcp(listener: &TcpListener, zone: &SharedZone) {
    let busy = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        if busy.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            busy.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (zone, busy) = (zone.clone(), busy.clone());
        std::thread::spawn(move || {
            // A client that says nothing sensible loses its connection, no more.
            let _ = serve_stream(stream, &zone);
            busy.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn serve_stream(mut stream: TcpStream, zone: &SharedZone) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut packet)?;
        let Some(question) = decode(&packet) else {
            return Ok(());
        };
        let (code, answers) = zone.get().answer(&question.name, question.kind);
        let answer = encode(&question, code, &answers, usize::from(u16::MAX));
        let mut out = u16::try_from(answer.len())
            .unwrap_or(0)
            .to_be_bytes()
            .to_vec();
        out.extend(answer);
        stream.write_all(&out)?;
    }
}
