//! The same loads through a pair of HAProxy with TLS between them: what two ordinary proxies cost on this machine, in the same minutes.

use std::fs;
use std::net::SocketAddr;
use std::process::Child;

use anyhow::{Context, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

use super::pairs::{Plan, interleave};
use crate::lab::{Lab, PORT, Server, Side};
use crate::load::report::Report;
use crate::process::installed;
use crate::results::{Compare, Measure, Results, Section};

/// Where the proxy beside the client listens.
const ENTRY: u16 = 9000;
/// Where the proxy beside the server does, with TLS.
const EXIT: u16 = 9443;
const PAIRS: usize = 10;

/// A figure of a run and how it is compared.
type Row = (
    &'static str,
    &'static str,
    Compare,
    fn(&Report) -> Option<f64>,
);

/// Runs the loads of [`super::cross_node`] that say most; notes it where there is no HAProxy.
///
/// # Errors
/// A load failed.
pub fn run(lab: &Lab, plan: &Plan, results: &mut Results) -> Result<()> {
    if !installed("haproxy") {
        let note = "haproxy is not installed: nothing to compare the tunnels with.";
        results.notes.push(note.into());
        return Ok(());
    }
    let proxies = Proxies::start(lab)?;
    let (length, paced) = (plan.length(), plan.paced_seconds.to_string());
    let loads: [(&[&str], &[Row]); 4] = [
        (
            &["throughput", "--streams", "1", "--seconds", &length],
            &[("Throughput, 1 stream", "Gbit/s", Compare::Ratio, |r| {
                Some(r.gbits())
            })],
        ),
        (
            &["connections", "--concurrency", "8", "--seconds", &length],
            &[(
                "New connections/s, one request each",
                "/s",
                Compare::Ratio,
                |r| Some(r.rate()),
            )],
        ),
        (
            &["closed", "--connections", "64", "--seconds", &length],
            &[(
                "Requests/s, 1 KB, 64 keep-alive connections",
                "/s",
                Compare::Ratio,
                |r| Some(r.rate()),
            )],
        ),
        (
            &[
                "paced",
                "--rate",
                "1000",
                "--connections",
                "64",
                "--seconds",
                &paced,
            ],
            &[
                (
                    "Latency p50, 1,000 requests/s",
                    "µs",
                    Compare::Difference,
                    |r| Some(r.latency.as_ref()?.p50),
                ),
                (
                    "Latency p99, 1,000 requests/s",
                    "µs",
                    Compare::Difference,
                    |r| Some(r.latency.as_ref()?.p99),
                ),
            ],
        ),
    ];
    for (words, rows) in loads {
        let found = interleave(plan.pairs.min(PAIRS), |side| match side {
            Side::Mesh => lab.load(side, Server::Far, words),
            Side::Plain => lab.load_at(side, &proxies.entry, words),
        })?;
        for (what, unit, compare, figure) in rows {
            let at = found.map(|report| figure(report).unwrap_or(f64::NAN));
            let row =
                Measure::compared(Section::Yardstick, what, unit, *compare, at.mesh, at.plain);
            results.measures.push(row);
        }
    }
    Ok(())
}

/// Both proxies, for as long as this lives.
struct Proxies {
    entry: String,
    running: Vec<Child>,
    /// Their settings and certificate.
    files: TempDir,
}

impl Proxies {
    fn start(lab: &Lab) -> Result<Self> {
        let files = tempfile::tempdir().context("no directory for HAProxy's settings")?;
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["far".to_owned()]).context("no certificate")?;
        let pem = files.path().join("far.pem");
        fs::write(&pem, cert.pem() + &signing_key.serialize_pem())?;
        let far = lab.ip(Side::Plain, Server::Far)?;
        let client = lab.client_ip(Side::Plain)?;
        let mut proxies = Self {
            entry: SocketAddr::new(client, ENTRY).to_string(),
            running: Vec::new(),
            files,
        };
        let exit = SocketAddr::new(far, EXIT);
        let ends = [
            (
                "far",
                format!("bind :{EXIT} ssl crt {}", pem.display()),
                SocketAddr::new(far, PORT).to_string(),
            ),
            (
                "client",
                format!("bind :{ENTRY}"),
                format!("{exit} ssl verify none"),
            ),
        ];
        for (pod, bind, server) in ends {
            let path = proxies.files.path().join(format!("{pod}.cfg"));
            fs::write(&path, settings(&bind, &server))?;
            let argv = ["haproxy", "-db", "-f", &path.to_string_lossy()];
            proxies.running.push(lab.start(Side::Plain, pod, &argv)?);
        }
        lab.await_answer_at(Side::Plain, &proxies.entry)?;
        Ok(proxies)
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        for child in &mut self.running {
            // One that has ended already cannot be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// As many threads as the tunnels' lanes on two cores.
fn settings(bind: &str, server: &str) -> String {
    format!(
        "global\n  nbthread 2\n  ssl-default-bind-options ssl-min-ver TLSv1.3\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen pair\n  {bind}\n  server next {server}\n"
    )
}
