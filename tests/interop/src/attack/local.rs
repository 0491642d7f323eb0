//! Attacks on Unix stream sockets: HTTP/1.1 of the admin sockets, lines of JSON on the CNI socket.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::RngCore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Finding, Kind, Target};
use crate::error::WireError;

const ADMIN: &[&str] = &[
    "bad-requests",
    "body-stall",
    "local-silence",
    "local-dribble",
];
const CNI: &[&str] = &["bad-lines", "local-silence", "local-dribble"];

pub(super) fn names(kind: Kind) -> &'static [&'static str] {
    if kind == Kind::Admin { ADMIN } else { CNI }
}

pub(super) async fn run(name: &str, target: &Target) -> Result<Vec<Finding>> {
    let path = target.socket.as_deref().context("--socket is needed")?;
    match name {
        "bad-requests" => each(path, requests(), target.limit).await,
        "body-stall" => each(path, stalled(), target.limit).await,
        "bad-lines" => each(path, lines(), target.limit).await,
        _ => Ok(slow(path, name == "local-dribble", target).await),
    }
}

/// A good request to an admin socket; the fault if it fails.
pub(super) async fn good(target: &Target) -> Option<String> {
    let path = target.socket.as_deref()?;
    let request = b"GET /status HTTP/1.1\r\nHost: warren\r\nConnection: close\r\n\r\n";
    match talk(path, request, target.limit).await {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => None,
        Ok(answer) => Some(first_line(&answer)),
        Err(error) => Some(error.outcome()),
    }
}

/// All at once, each on its own connection.
async fn each(
    path: &Path,
    sent: Vec<(&'static str, Vec<u8>)>,
    limit: Duration,
) -> Result<Vec<Finding>> {
    let mut tasks = JoinSet::new();
    for (what, bytes) in sent {
        let path = path.to_owned();
        tasks.spawn(async move { judged(what, talk(&path, &bytes, limit).await) });
    }
    Ok(tasks.join_all().await)
}

fn judged(what: &str, answer: Result<String, WireError>) -> Finding {
    match answer {
        Ok(answer) => {
            let line = first_line(&answer);
            let done = line.starts_with("HTTP/1.1 2") || line.starts_with("{\"ok\":true");
            let end = if line.is_empty() {
                "closed".into()
            } else {
                line
            };
            Finding::new(what, end, !done)
        }
        Err(WireError::TimedOut) => Finding::new(what, "still open", false),
        Err(error) => {
            let end = error.outcome();
            let ok = end != "refused";
            Finding::new(what, end, ok)
        }
    }
}

/// Sends, then reads until the peer closes or has answered; its answer, at most 4 KiB of it.
async fn talk(path: &Path, bytes: &[u8], limit: Duration) -> Result<String, WireError> {
    let deadline = Instant::now() + limit;
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut stream = timeout(limit, UnixStream::connect(path))
        .await
        .map_err(|_| WireError::TimedOut)??;
    // A server that closes early makes this fail; its answer is still to be read.
    let _ = timeout(left(), stream.write_all(bytes))
        .await
        .map_err(|_| WireError::TimedOut)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while answer.len() < 4096 {
        match timeout(left(), stream.read(&mut buffer)).await {
            Ok(Ok(0)) => break,
            Ok(Ok(n)) => answer.extend_from_slice(&buffer[..n]),
            Ok(Err(error)) if answer.is_empty() => return Err(error.into()),
            Ok(Err(_)) => break,
            Err(_) if answer.is_empty() => return Err(WireError::TimedOut),
            Err(_) => break,
        }
        if answer.contains(&b'\n') {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(160)
        .collect()
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let text = |t: &str| t.as_bytes().to_vec();
    let long = |prefix: &str, length: usize| [prefix.as_bytes(), &vec![b'a'; length]].concat();
    vec![
        ("random bytes", random(64 << 10)),
        ("an endless request line", long("GET /", 4 << 20)),
        (
            "an endless header",
            long("GET /status HTTP/1.1\r\nX: ", 4 << 20),
        ),
        (
            "many headers",
            [
                text("GET /status HTTP/1.1\r\n"),
                b"X: y\r\n".repeat(100_000),
            ]
            .concat(),
        ),
        (
            "an unknown path",
            text("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        (
            "a path outside",
            text("GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        (
            "another method",
            text("DELETE /status HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        (
            "a negative length",
            text("PUT /log-level HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        ),
        (
            "two lengths",
            text(
                "PUT /log-level HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            ),
        ),
        (
            "a body that is no JSON",
            text("PUT /log-level HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\0\0\0\0"),
        ),
        (
            "a bad chunk",
            text("PUT /log-level HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n"),
        ),
        (
            "a body of 16 MiB",
            [
                text("PUT /log-level HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n\r\n"),
                vec![b'['; 16 << 20],
            ]
            .concat(),
        ),
        ("HTTP/3.0", text("GET /status HTTP/3.0\r\n\r\n")),
        ("the preface of HTTP/2", crate::h2::PREFACE.to_vec()),
    ]
}

fn stalled() -> Vec<(&'static str, Vec<u8>)> {
    let request = b"PUT /log-level HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999999\r\n\r\n{";
    vec![("a body that does not come", request.to_vec())]
}

fn lines() -> Vec<(&'static str, Vec<u8>)> {
    let text = |t: &str| t.as_bytes().to_vec();
    vec![
        ("random bytes", [random(16 << 10), text("\n")].concat()),
        ("an endless line", vec![b'a'; 8 << 20]),
        ("nesting", [vec![b'['; 60_000], text("\n")].concat()),
        ("an empty object", text("{}\n")),
        ("an unknown command", text("{\"command\":\"explode\"}\n")),
        ("a wrong type", text("[1,2,3]\n")),
        ("numbers for strings", text("{\"command\":5,\"netns\":7}\n")),
        ("no UTF-8", b"{\"command\":\"\xff\xfe\"}\n".to_vec()),
        ("an HTTP request", text("GET / HTTP/1.1\r\n\r\n")),
        ("an empty line", text("\n")),
    ]
}

/// Connections that say little or nothing; each must end within the limit.
async fn slow(path: &Path, dribble: bool, target: &Target) -> Vec<Finding> {
    let mut tasks = JoinSet::new();
    for _ in 0..target.connections {
        let (path, limit, kind) = (path.to_owned(), target.limit, target.kind);
        tasks.spawn(async move { idle(&path, dribble, kind, limit).await });
    }
    let all = tasks.join_all().await;
    let open = all.iter().filter(|end| *end == "still open").count();
    let how = format!("{} of {} ended", all.len() - open, all.len());
    vec![Finding::new(
        if dribble { "dribbling" } else { "silent" },
        how,
        open == 0,
    )]
}

async fn idle(path: &Path, dribble: bool, kind: Kind, limit: Duration) -> String {
    let Ok(mut stream) = UnixStream::connect(path).await else {
        return "refused".into();
    };
    let deadline = Instant::now() + limit;
    let begin: &[u8] = match kind {
        Kind::Admin => b"GET /status HTTP/1.1\r\nX: ",
        _ => b"{\"command\":\"",
    };
    if dribble && stream.write_all(begin).await.is_err() {
        return "closed".into();
    }
    let mut buffer = [0; 256];
    while Instant::now() < deadline {
        match timeout(Duration::from_millis(500), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return "closed".into(),
            Ok(Ok(_)) => {}
            Err(_) if dribble => {
                if stream.write_all(b"a").await.is_err() {
                    return "closed".into();
                }
            }
            Err(_) => {}
        }
    }
    "still open".into()
}
