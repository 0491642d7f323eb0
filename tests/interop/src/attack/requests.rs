//! Requests that a tunnel must not take.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use super::{Finding, Target, end, floods};
use crate::error::WireError;
use crate::h2::{Conn, Event, Frame, flag, kind};
use crate::hpack;

pub(super) const NAMES: &[&str] = &["wild-authorities", "other-methods", "slow-reader"];

/// Connections of `slow-reader`; each may fill the windows of both sides.
const READERS: usize = 10;
/// Bytes after which nobody can be said to hold them back.
const ENDLESS: usize = 256 << 20;

type Field = (Vec<u8>, Vec<u8>);

pub(super) async fn run(name: &str, target: &Target) -> Result<Vec<Finding>> {
    match name {
        "wild-authorities" => each(target, authorities(target)).await,
        "other-methods" => each(target, methods(target)).await,
        _ => slow_readers(target).await,
    }
}

/// One stream a request, on one connection as long as it lasts; a 200 is the fault.
async fn each(target: &Target, requests: Vec<(String, Vec<Field>)>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut open: Option<Conn> = None;
    for (what, fields) in requests {
        let mut conn = match open.take() {
            Some(conn) => conn,
            None => match target.conn().await? {
                Ok(conn) => conn,
                Err(error) => {
                    findings.push(Finding::new(
                        &what,
                        format!("no connection: {}", error.outcome()),
                        false,
                    ));
                    continue;
                }
            },
        };
        let how = request(&mut conn, &fields, target.limit).await;
        let refused =
            how.starts_with("rst:") || how.strip_prefix("status:").is_some_and(|s| s >= "400");
        let ended = how.starts_with("goaway:") || how == "closed" || how == "reset";
        if refused {
            open = Some(conn);
        }
        findings.push(Finding::new(&what, how, refused || ended));
    }
    Ok(findings)
}

async fn request(conn: &mut Conn, fields: &[Field], limit: Duration) -> String {
    let stream = conn.open();
    match floods::split_headers(conn, stream, &hpack::encode(fields)).await {
        Ok(()) => end(conn, Some(stream), limit).await,
        Err(error) => error.outcome(),
    }
}

/// Authorities as they stand.
const WILD: &[&str] = &[
    "",
    ":",
    ":80",
    "a",
    "web:80",
    "web.shop.svc.cluster.local:80",
    "localhost:22",
    "127.0.0.1:22",
    "127.1:22",
    "[::1]:22",
    "::1:22",
    "[::ffff:127.0.0.1]:22",
    "0.0.0.0:80",
    "[::]:80",
    "255.255.255.255:80",
    "224.0.0.1:80",
    "[ff02::1]:80",
    "169.254.169.254:80",
    "[fe80::1]:80",
    "[fe80::1%25lo]:80",
    "256.1.1.1:80",
    "1.2.3:80",
    "0x7f.0.0.1:80",
    "2130706433:80",
    "8.8.8.8:53",
    "[2001:db8::1]:80",
    "[]:80",
    "[10.0.0.1]:80",
    "http://web:80",
    "*:80",
    "..:80",
    "/etc/passwd:80",
];

/// Authorities made of the right address and port.
const NEARLY: &[&str] = &[
    "IP",
    "IP:",
    "IP:0",
    "IP:65536",
    "IP:99999999999999999999",
    "IP:-1",
    "IP:+PORT",
    "IP:PORT:PORT",
    "IP:PORT/",
    "IP:PORT?x",
    "IP:PORT#x",
    "user@IP:PORT",
    "IP:15001",
    "IP:15006",
    "IP:15008",
    " IP:PORT",
    "IP:PORT ",
    "IP:\u{661}\u{662}",
    "IP:PORT\r\nx: y",
    "IP:PORT\0",
    "IP:%38%30",
];

fn authorities(target: &Target) -> Vec<(String, Vec<Field>)> {
    let (ip, port) = target
        .authority
        .rsplit_once(':')
        .unwrap_or(("127.0.0.1", "80"));
    let mut list: Vec<Vec<u8>> = WILD.iter().map(|a| a.as_bytes().to_vec()).collect();
    for form in NEARLY {
        list.push(form.replace("IP", ip).replace("PORT", port).into_bytes());
    }
    list.push(b"\xff\xfe\x80:80".to_vec());
    list.push(format!("{}:80", "a".repeat(9000)).into_bytes());
    list.into_iter()
        .map(|authority| {
            let shown = String::from_utf8_lossy(&authority[..authority.len().min(60)]).into_owned();
            (format!("{shown:?}"), connect(&authority))
        })
        .collect()
}

fn connect(authority: &[u8]) -> Vec<Field> {
    vec![
        (b":method".to_vec(), b"CONNECT".to_vec()),
        (b":authority".to_vec(), authority.to_vec()),
    ]
}

fn methods(target: &Target) -> Vec<(String, Vec<Field>)> {
    let authority = target.authority.as_str();
    let with = |method: &str, more: &[(&str, &str)]| {
        let mut fields = vec![(":method", method), (":authority", authority)];
        fields.extend_from_slice(more);
        fields
            .iter()
            .map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()))
            .collect::<Vec<Field>>()
    };
    let web = [(":scheme", "https"), (":path", "/")];
    let mut list: Vec<(String, Vec<Field>)> = [
        "GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "connect", "PRI", "X",
    ]
    .iter()
    .map(|m| ((*m).to_owned(), with(m, &web)))
    .collect();
    let websocket = [
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/"),
    ];
    list.push(("CONNECT websocket".into(), with("CONNECT", &websocket)));
    list.push((
        "two authorities".into(),
        with("CONNECT", &[(":authority", "127.0.0.1:22")]),
    ));
    list.push(("two methods".into(), with("CONNECT", &[(":method", "GET")])));
    list.push((
        "an unknown pseudo field".into(),
        with("CONNECT", &[(":wild", "x")]),
    ));
    list.push((
        "a pseudo field behind others".into(),
        with("CONNECT", &[("x", "y"), (":path", "/")]),
    ));
    list.push(("capitals".into(), with("CONNECT", &[("Baggage", "x")])));
    list.push((
        "a connection field".into(),
        with("CONNECT", &[("connection", "keep-alive")]),
    ));
    list.push((
        "a line break in a value".into(),
        with("CONNECT", &[("baggage", "a\r\nb: c")]),
    ));
    list.push(("no fields".into(), Vec::new()));
    list
}

/// Streams whose answers are never read, on several connections: the victim's memory must stay bounded. It stops reading
/// once its window and ours are full.
async fn slow_readers(target: &Target) -> Result<Vec<Finding>> {
    let mut tasks = JoinSet::new();
    for _ in 0..target.connections.min(READERS) {
        let target = target.clone();
        tasks.spawn(async move { slow_reader(&target).await });
    }
    tasks.join_all().await.into_iter().collect()
}

async fn slow_reader(target: &Target) -> Result<Finding> {
    let mut conn = match target.conn().await? {
        Ok(conn) => conn,
        Err(error) => return Ok(Finding::new("slow reader", error.outcome(), false)),
    };
    let mut sent = 0_usize;
    let pushed = async {
        let stream = conn.open();
        let block = hpack::encode(&target.request());
        conn.frame(&Frame::new(kind::HEADERS, flag::END_HEADERS, stream, block))
            .await?;
        let chunk = vec![7; 64 << 10];
        let mut silent = 0;
        while silent < 3 && sent < ENDLESS {
            let now = conn.data(stream, &chunk, false).await?;
            sent += now;
            if now > 0 {
                continue;
            }
            // Events are taken, credit is never given.
            match conn.next(Duration::from_secs(1)).await {
                Ok(Event::Reset { .. }) | Err(WireError::TimedOut) => silent += 1,
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let (how, ok) = match pushed.await {
        Ok(()) => (format!("held up after {sent} bytes"), sent < ENDLESS),
        Err(error) => (error.outcome(), error.is_end()),
    };
    Ok(Finding::new("slow reader", how, ok))
}
