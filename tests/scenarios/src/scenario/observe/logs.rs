//! Access, denial and audit lines of the tunnels.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::Pod;
use crate::scenario::policy::may_connect;
use crate::scenario::{Registry, Suite};
use crate::world::{CLIENT_A, Ip, OTHER_A, PLAIN_A, SERVER_A, SERVER_B, World, eventually, port};

const SOON: Duration = Duration::from_secs(5);

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("access-log/tunnelled", |w, ip| {
        access(w, ip, CLIENT_A, "mutual_tls")
    });
    add.both("access-log/plaintext", |w, ip| {
        access(w, ip, PLAIN_A, "none")
    });
    add.both("access-log/direct", direct);
    add.both("access-log/says-why-it-failed", |w, ip| {
        why(w, SERVER_A, ip)?;
        why(w, SERVER_B, ip)
    });
    add.in_suite(Suite::ShortCertificates, |add| {
        add.both("access-log/json", |w, ip| {
            access(w, ip, CLIENT_A, "mutual_tls")
        });
    });
    add.both("denial-log/numbered-without-gaps", denials);
    add.both("denial-log/names-the-policy", names_the_policy);
    add.both("audit-log", audit);
}

/// One connection, one line at the server's node, with everything in it.
fn access(world: &World, ip: Ip, from: Pod, security: &str) -> Result<()> {
    let bytes = 54_321;
    let at = world.at(SERVER_B, ip, port::SINK)?;
    let options = ["--mode", "sink", "--bytes", &bytes.to_string()];
    let client = world
        .connect(from, &at.to_string(), &options)?
        .local
        .context("no getsockname()")?;
    let (source, destination) = (format!("source={client}"), format!("destination={at}"));
    let line = eventually(SOON, || {
        let lines = written(world, "b", "access")?;
        lines
            .into_iter()
            .find(|l| l.has(&source) && l.has(&destination))
            .with_context(|| format!("no access line with {source}"))
    })?;
    let mut expected = vec![
        "reporter=destination".to_owned(),
        "destination_workload=shop/server-b".to_owned(),
        format!("bytes_sent={bytes}"),
        format!("security={security}"),
        "verdict=allow".to_owned(),
    ];
    if security != "none" {
        expected.push(format!(
            "source_identity=spiffe://cluster.local/ns/{}/sa/client",
            from.namespace
        ));
        expected.push(format!("source_workload={}/{}", from.namespace, from.name));
    }
    for word in expected {
        ensure!(line.has(&word), "the access line has no {word}: {}", line.0);
    }
    ensure!(
        line.value("duration_ms").is_some(),
        "the access line has no duration: {}",
        line.0
    );
    Ok(())
}

/// A direct flow is reported by the agent, with one line for both ends.
fn direct(world: &World, ip: Ip) -> Result<()> {
    let at = world.at(SERVER_A, ip, port::SINK)?;
    // The first connection asks for the verdict.
    eventually(SOON, || {
        let options = ["--mode", "sink", "--bytes", "54321"];
        let client = world
            .connect(CLIENT_A, &at.to_string(), &options)?
            .local
            .context("no getsockname()")?;
        std::thread::sleep(Duration::from_millis(100));
        let (source, destination) = (format!("source={client}"), format!("destination={at}"));
        let lines = written_by(world, "a", "agent", "access")?;
        let line = lines
            .iter()
            .find(|l| l.has(&source) && l.has(&destination))
            .with_context(|| format!("no access line with {source}"))?;
        for word in [
            "source_workload=shop/client-a",
            "source_identity=spiffe://cluster.local/ns/shop/sa/client",
            "destination_workload=shop/server-a",
            "bytes_sent=54321",
            "security=kernel",
            "verdict=allow",
        ] {
            ensure!(line.has(word), "the access line has no {word}: {}", line.0);
        }
        Ok(())
    })
}

/// Nothing listens on the port: the client is reset, the log says why.
fn why(world: &World, to: Pod, ip: Ip) -> Result<()> {
    let at = world.at(to, ip, 9)?;
    let destination = format!("destination={at}");
    let Some(client) = world.try_connect(CLIENT_A, &at.to_string(), &[])?.local else {
        // Direct by now, and refused by the pod itself.
        return refused_directly(world, &destination);
    };
    let source = format!("source={client}");
    eventually(SOON, || {
        let lines = written(world, "a", "access")?;
        let line = lines
            .iter()
            .find(|l| l.has(&source) && l.has(&destination))
            .with_context(|| format!("no access line with {source} and {destination}"))?;
        ensure!(
            line.value("error").is_some(),
            "the access line gives no reason: {}",
            line.0
        );
        ensure!(
            line.value("flags").is_some_and(|f| f != "-"),
            "the access line has no flag: {}",
            line.0
        );
        Ok(())
    })
}

fn refused_directly(world: &World, destination: &str) -> Result<()> {
    eventually(SOON, || {
        let lines = written_by(world, "a", "agent", "access")?;
        let line = lines.iter().find(|l| l.has(destination));
        let line = line.with_context(|| format!("no access line with {destination}"))?;
        ensure!(line.has("flags=CONNECT"), "the wrong flag: {}", line.0);
        Ok(())
    })
}

fn denials(world: &World, ip: Ip) -> Result<()> {
    let _policy = world.apply("policies/deny-other.yaml")?;
    eventually(SOON, || refused(world, ip))?;
    let last = numbers(world)?.last().copied().unwrap_or_default();
    for _ in 0..5 {
        refused(world, ip)?;
    }
    eventually(SOON, || {
        let all = numbers(world)?;
        let new: Vec<u64> = all.iter().copied().filter(|n| *n > last).collect();
        ensure!(
            new == (last + 1..=last + 5).collect::<Vec<_>>(),
            "after number {last}, five denials gave {new:?}"
        );
        Ok(())
    })
}

fn names_the_policy(world: &World, ip: Ip) -> Result<()> {
    let before = written(world, "b", "denial")?.len();
    let _policy = world.apply("policies/deny-other.yaml")?;
    eventually(SOON, || refused(world, ip))?;
    eventually(SOON, || {
        let line = newest(world, ip, "denial", before)?;
        for word in [
            "policy=shop/deny-other",
            "source_identity=spiffe://cluster.local/ns/other/sa/client",
            "verdict=deny",
        ] {
            ensure!(line.has(word), "the denial line has no {word}: {}", line.0);
        }
        Ok(())
    })
}

fn audit(world: &World, ip: Ip) -> Result<()> {
    let before = written(world, "b", "audit")?.len();
    let _policy = world.apply("policies/audit-all.yaml")?;
    eventually(SOON, || {
        ensure!(
            may_connect(world, CLIENT_A, SERVER_B, ip, port::GREET)?,
            "AUDIT must not deny"
        );
        let line = newest(world, ip, "audit", before)?;
        ensure!(
            line.has("audit_policy=shop/audit-all"),
            "the audit line names no policy: {}",
            line.0
        );
        Ok(())
    })
}

/// The last line about the greeting server that is not among the first `before` of its kind.
fn newest(world: &World, ip: Ip, kind: &str, before: usize) -> Result<Line> {
    let destination = format!("destination={}", world.at(SERVER_B, ip, port::GREET)?);
    let mut new = written(world, "b", kind)?.into_iter().skip(before);
    new.rfind(|l| l.has(&destination))
        .with_context(|| format!("no new {kind} line with {destination}"))
}

fn refused(world: &World, ip: Ip) -> Result<()> {
    ensure!(
        !may_connect(world, OTHER_A, SERVER_B, ip, port::GREET)?,
        "not denied"
    );
    Ok(())
}

/// Sequence numbers of the denial lines since the tunnel of node b last started.
fn numbers(world: &World) -> Result<Vec<u64>> {
    let all: Vec<u64> = written(world, "b", "denial")?
        .iter()
        .filter_map(|l| l.value("denial")?.parse().ok())
        .collect();
    let start = all.iter().rposition(|n| *n == 1).unwrap_or(0);
    Ok(all[start..].to_vec())
}

/// A line of the log, as `key=value` words.
#[derive(Debug)]
struct Line(String);

impl Line {
    fn has(&self, word: &str) -> bool {
        self.0.split_whitespace().any(|w| w == word)
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.0
            .split_whitespace()
            .find_map(|w| w.strip_prefix(key)?.strip_prefix('='))
    }
}

/// The lines of a kind that the tunnel of a node wrote, text or JSON.
fn written(world: &World, node: &str, kind: &str) -> Result<Vec<Line>> {
    written_by(world, node, "ztunnel", kind)
}

fn written_by(world: &World, node: &str, component: &str, kind: &str) -> Result<Vec<Line>> {
    let path = world
        .lab
        .dir()
        .join(format!("nodes/{node}/log/{component}.log"));
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().filter_map(|line| words(line, kind)).collect())
}

fn words(line: &str, kind: &str) -> Option<Line> {
    if let Ok(Value::Object(map)) = serde_json::from_str(line) {
        let fits = map.get("type").is_some_and(|t| t == kind);
        let word = |(key, value): (&String, &Value)| {
            format!(
                "{key}={}",
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            )
        };
        return fits.then(|| Line(map.iter().map(word).collect::<Vec<_>>().join(" ")));
    }
    // A time, the kind, then the words.
    let mut parts = line.splitn(3, ' ');
    let (_time, named, rest) = (parts.next()?, parts.next()?, parts.next()?);
    (named == kind).then(|| Line(rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_read_the_same() {
        let text = words(
            "2026-01-01T00:00:00Z access source=10.0.0.1:1 bytes_sent=5",
            "access",
        )
        .unwrap();
        let json = words(
            r#"{"type":"access","source":"10.0.0.1:1","bytes_sent":5}"#,
            "access",
        )
        .unwrap();
        for line in [text, json] {
            assert!(line.has("bytes_sent=5") && line.value("source") == Some("10.0.0.1:1"));
        }
        assert!(words("2026-01-01T00:00:00Z denial a=b", "access").is_none());
    }
}
