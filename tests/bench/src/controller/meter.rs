//! A forwarder on loopback that counts what the server sends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Forwards connections to a server until the process ends.
#[derive(Debug)]
pub struct Meter {
    /// Where clients connect.
    pub address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Meter {
    /// Starts forwarding to `server`.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((server.ip(), 0))?;
        let address = listener.local_addr()?;
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = bytes.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A server that refuses shows as a closed connection.
                let _ = TcpStream::connect(server)
                    .and_then(|server| forward(client, server, counter.clone()));
            }
        });
        Ok(Self { address, bytes })
    }

    /// Bytes that the server has sent, so far and on all connections.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn forward(client: TcpStream, server: TcpStream, bytes: Arc<AtomicU64>) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut up_from, mut up_to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || copy(&mut up_from, &mut up_to, |_| ()));
    let (mut down_from, mut down_to) = (server, client);
    thread::spawn(move || {
        copy(&mut down_from, &mut down_to, |n| {
            bytes.fetch_add(n, Ordering::Relaxed);
        });
    });
    Ok(())
}

fn copy(from: &mut TcpStream, to: &mut TcpStream, count: impl Fn(u64)) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        count(n as u64);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // The other end may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_sends_is_counted_and_forwarded() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let meter = Meter::start(server.local_addr().unwrap()).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut asked = [0; 3];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(&[7; 1000]).unwrap();
        });
        let mut client = TcpStream::connect(meter.address).unwrap();
        client.write_all(b"abc").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!((answer.len(), meter.bytes()), (1000, 1000));
    }
}
