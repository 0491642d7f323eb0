//! Connections that were used once and then stay open.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::{connect, exchange};
use super::http;

/// Printed as one JSON line once all connections are open.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Connections that are open and have carried a request.
    pub open: usize,
    /// Connections that could not be opened.
    pub failed: usize,
}

/// Opens `count` connections, each for one request, says so, and keeps them for `length`. Stops trying after 100 failures.
///
/// # Errors
/// Standard output is gone.
pub fn hold(target: SocketAddr, count: usize, length: Duration) -> io::Result<()> {
    let request = http::get(1, false);
    let mut buffer = vec![0; 4096];
    let (mut open, mut failed) = (Vec::with_capacity(count), 0);
    while open.len() + failed < count && failed < 100 {
        match used_once(target, &request, &mut buffer) {
            Ok(stream) => open.push(stream),
            Err(_) => failed += 1,
        }
    }
    let held = Held {
        open: open.len(),
        failed,
    };
    println!("{}", serde_json::to_string(&held)?);
    io::stdout().flush()?;
    thread::sleep(length);
    Ok(())
}

fn used_once(target: SocketAddr, request: &[u8], buffer: &mut [u8]) -> io::Result<TcpStream> {
    let mut stream = connect(target)?;
    exchange(&mut stream, request, buffer)?;
    Ok(stream)
}
