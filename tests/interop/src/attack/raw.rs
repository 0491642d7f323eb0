//! Attacks below TLS.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::RngCore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Finding, Target};
use crate::dial;
use crate::error::WireError;
use crate::h2::PREFACE;

pub(super) const NAMES: &[&str] = &[
    "random-bytes",
    "plain-http",
    "plain-h2",
    "silence",
    "handshake-stall",
    "handshake-dribble",
];

/// The beginning of a ClientHello record that announces 512 bytes.
const HELLO: [u8; 11] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

/// Runs one of [`NAMES`] on many connections at once.
pub(super) async fn run(name: &str, target: &Target) -> Result<Vec<Finding>> {
    let to = target.addr()?;
    let limit = target.limit;
    let mut tasks = JoinSet::new();
    for _ in 0..target.connections {
        let name = name.to_owned();
        tasks.spawn(async move {
            match dial::tcp(to, None, limit).await {
                Ok(stream) => one(&name, stream, limit).await,
                Err(error) => error.outcome(),
            }
        });
    }
    let mut ends: Vec<(String, usize)> = Vec::new();
    for how in tasks.join_all().await {
        match ends.iter_mut().find(|(end, _)| *end == how) {
            Some((_, count)) => *count += 1,
            None => ends.push((how, 1)),
        }
    }
    Ok(ends
        .into_iter()
        .map(|(how, count)| {
            Finding::new(&format!("{count} connections"), &how, how != "still open")
        })
        .collect())
}

async fn one(name: &str, mut stream: TcpStream, limit: Duration) -> String {
    let mut random = vec![0; 32 << 10];
    let bytes: &[u8] = match name {
        "random-bytes" => {
            rand::rng().fill_bytes(&mut random);
            &random
        }
        "plain-http" => b"GET / HTTP/1.1\r\nHost: web\r\n\r\n",
        "plain-h2" => PREFACE,
        "silence" => b"",
        _ => &HELLO,
    };
    let deadline = Instant::now() + limit;
    if let Err(error) = stream.write_all(bytes).await {
        return WireError::from(error).outcome();
    }
    let dribble = name == "handshake-dribble";
    let mut buffer = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return "still open".into();
        }
        let wait = if dribble {
            left.min(Duration::from_millis(500))
        } else {
            left
        };
        match timeout(wait, stream.read(&mut buffer)).await {
            Ok(Ok(0)) => return "closed".into(),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return WireError::from(error).outcome(),
            Err(_) if dribble => {
                if let Err(error) = stream.write_all(&[0]).await {
                    return WireError::from(error).outcome();
                }
            }
            Err(_) => return "still open".into(),
        }
    }
}
