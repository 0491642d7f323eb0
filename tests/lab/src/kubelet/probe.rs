//! One look of a probe.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Watched;
use crate::podspec::{Check, ProbePlan};

/// Looks once; an error says what is wrong.
pub fn look(run: &Watched, plan: &ProbePlan) -> Result<()> {
    let limit = Duration::from_secs(plan.timeout.into());
    match &plan.check {
        Check::Exec(argv) => exec(run, argv, limit),
        Check::Tcp { host, port } => connect(run, host.as_deref(), *port, limit).map(drop),
        Check::Http {
            host,
            port,
            path,
            headers,
        } => {
            let stream = connect(run, host.as_deref(), *port, limit)?;
            get(stream, *port, path, headers, limit)
        }
    }
}

/// Whether `address` answers a GET of `path` within a second.
pub fn http_ok(address: SocketAddr, path: &str) -> Result<()> {
    let limit = Duration::from_secs(1);
    let stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    get(stream, address.port(), path, &[], limit)
}

fn connect(run: &Watched, host: Option<&str>, port: u16, limit: Duration) -> Result<TcpStream> {
    let address = match host {
        Some(host) => resolve(host, port)?,
        None => SocketAddr::new(
            *run.addresses.first().context("the pod has no address")?,
            port,
        ),
    };
    let stream = TcpStream::connect_timeout(&address, limit)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    (host, port)
        .to_socket_addrs()?
        .next()
        .with_context(|| format!("{host} has no address"))
}

fn get(
    mut stream: TcpStream,
    port: u16,
    path: &str,
    headers: &[(String, String)],
    limit: Duration,
) -> Result<()> {
    let peer = stream.peer_addr()?.ip();
    let host = if peer.is_ipv6() {
        format!("[{peer}]:{port}")
    } else {
        format!("{peer}:{port}")
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut request = format!(
        "GET {slash}{path} HTTP/1.1\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\nConnection: close\r\n"
    );
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        request.push_str(&format!("Host: {host}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream
        .write_all(request.as_bytes())
        .context("cannot send the request")?;
    let line = status_line(&mut stream, Instant::now() + limit)?;
    let code: u16 = line
        .split(' ')
        .nth(1)
        .and_then(|c| c.parse().ok())
        .with_context(|| format!("not HTTP: {line:?}"))?;
    if !(200..400).contains(&code) {
        bail!("HTTP status {code}");
    }
    Ok(())
}

fn status_line(stream: &mut TcpStream, end: Instant) -> Result<String> {
    let mut seen = Vec::new();
    let mut buffer = [0; 512];
    while Instant::now() < end && seen.len() < 4096 {
        let count = stream.read(&mut buffer).context("no answer")?;
        seen.extend_from_slice(&buffer[..count]);
        if let Some(at) = seen.iter().position(|b| *b == b'\n') {
            return Ok(String::from_utf8_lossy(&seen[..at]).trim_end().to_owned());
        }
        if count == 0 {
            bail!("the connection closed without an answer");
        }
    }
    bail!("no answer in time")
}

fn exec(run: &Watched, argv: &[String], limit: Duration) -> Result<()> {
    let mut entry = run.entry.clone();
    entry.argv = argv.to_vec();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["internal-run", &serde_json::to_string(&entry)?])
        .env_clear()
        .envs(run.env.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the command")?;
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!(
                "{} ended with {status}",
                argv.first().map_or("", String::as_str)
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    bail!("the command took longer than {} s", limit.as_secs())
}
