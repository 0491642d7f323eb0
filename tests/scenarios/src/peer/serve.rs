//! `serve`: listens on any number of ports, one thread a connection.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::args::{Family, Listen, Mode, Serve};
use super::pattern::Checksum;
use super::report::{Connection, Greeting, Ready};
use super::transfer::{HALF_CLOSE_BYTES, read_line, receive, send, server_pattern};

const REMEMBERED: usize = 256;
const BACKLOG: i32 = 4096;

type Log = Arc<Mutex<VecDeque<Connection>>>;

/// Serves until killed; returns only where a port cannot be had.
pub(crate) fn run(args: &Serve) -> Result<()> {
    let log = Log::default();
    let mut threads = Vec::new();
    let mut ports = Vec::new();
    for listen in &args.listen {
        let context = || {
            format!(
                "cannot listen on port {}: is another program there?",
                listen.port
            )
        };
        if listen.mode == Mode::Udp {
            let socket =
                UdpSocket::bind(address(args.family, listen.port)).with_context(context)?;
            ports.push(socket.local_addr()?.port());
            threads.push(thread::spawn(move || answer_datagrams(&socket)));
        } else {
            let listener = listener(args, listen).with_context(context)?;
            ports.push(listener.local_addr()?.port());
            let (log, mode) = (log.clone(), listen.mode);
            threads.push(thread::spawn(move || accept_all(&listener, mode, &log)));
        }
    }
    super::line(&Ready {
        ready: true,
        ports,
        local: None,
    });
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

fn address(family: Family, port: u16) -> SocketAddr {
    match family {
        Family::V4 => (Ipv4Addr::UNSPECIFIED, port).into(),
        _ => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

fn listener(args: &Serve, listen: &Listen) -> io::Result<TcpListener> {
    let at = address(args.family, listen.port);
    let protocol = if args.mptcp {
        Protocol::MPTCP
    } else {
        Protocol::TCP
    };
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(protocol))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(args.family == Family::V6)?;
    }
    if let Some(device) = &args.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if args.tfo {
        super::raw::accept_fast_open(&socket)?;
    }
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn accept_all(listener: &TcpListener, mode: Mode, log: &Log) {
    loop {
        let Ok((stream, accepted)) = listener.accept() else {
            thread::sleep(std::time::Duration::from_millis(10));
            continue;
        };
        let log = log.clone();
        let serve = move || serve_one(stream, accepted, mode, &log);
        if let Err(error) = thread::Builder::new().stack_size(512 * 1024).spawn(serve) {
            eprintln!("warren-peer: no thread for a connection: {error}");
        }
    }
}

fn serve_one(mut stream: TcpStream, accept: SocketAddr, mode: Mode, log: &Log) {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
        return;
    };
    let seen = Greeting {
        accept,
        peer,
        local,
    };
    let _ = stream.set_nodelay(true);
    let mut sum = Checksum::default();
    let result = match mode {
        Mode::Greet => greet(&mut stream, &seen).and_then(|()| echo(&mut stream, &mut sum)),
        Mode::Echo => echo(&mut stream, &mut sum),
        Mode::Sink => sink(&mut stream, &mut sum),
        Mode::Source => source(&mut stream),
        Mode::HalfClose => half_close(&mut stream, &mut sum),
        Mode::Report => return report(&mut stream, log),
        Mode::Udp => Ok(()),
    };
    let error = result.err().map(|e| e.to_string());
    let done = Connection {
        mode: format!("{mode:?}"),
        seen,
        received: sum.count(),
        sum: sum.value(),
        error,
    };
    super::line(&done);
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    if log.len() == REMEMBERED {
        log.pop_front();
    }
    log.push_back(done);
}

fn greet(stream: &mut TcpStream, seen: &Greeting) -> io::Result<()> {
    let mut text = serde_json::to_string(seen)?;
    text.push('\n');
    stream.write_all(text.as_bytes())
}

fn echo(stream: &mut TcpStream, sum: &mut Checksum) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        sum.add(&buffer[..n]);
        stream.write_all(&buffer[..n])?;
    }
}

fn sink(stream: &mut TcpStream, sum: &mut Checksum) -> io::Result<()> {
    let (got, end) = receive(stream);
    *sum = got;
    end?;
    writeln!(stream, "{} {}", sum.count(), sum.value())
}

fn source(stream: &mut TcpStream) -> io::Result<()> {
    let line = read_line(stream)?;
    let bytes = line
        .trim()
        .parse()
        .map_err(|_| io::Error::other(format!("{line:?} is not a count")))?;
    send(stream, server_pattern(), bytes)?;
    stream.shutdown(Shutdown::Write)
}

fn half_close(stream: &mut TcpStream, sum: &mut Checksum) -> io::Result<()> {
    send(stream, server_pattern(), HALF_CLOSE_BYTES)?;
    stream.shutdown(Shutdown::Write)?;
    let (got, end) = receive(stream);
    *sum = got;
    end
}

fn report(stream: &mut TcpStream, log: &Log) {
    let known: Vec<_> = log
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .cloned()
        .collect();
    let text = serde_json::to_string(&known).unwrap_or_default();
    let _ = stream.write_all(text.as_bytes());
}

fn answer_datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    loop {
        if let Ok((n, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..n], from);
        }
    }
}
