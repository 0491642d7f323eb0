//! Prometheus metrics of agent, tunnel and controller.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Pod;
use crate::scenario::Registry;
use crate::scenario::input::admin;
use crate::world::{CLIENT_A, Ip, PLAIN_A, SERVER_A, SERVER_B, World, eventually, port};

const CONNECTIONS: u64 = 7;
const BYTES: u64 = 12_345;

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("metrics/tunnelled", |w, ip| {
        counted(
            w,
            ip,
            CLIENT_A,
            SERVER_B,
            &["source_workload=\"client-a\"", "mutual_tls"],
        )
    });
    add.both("metrics/direct", |w, ip| {
        counted(w, ip, CLIENT_A, SERVER_A, &["source_workload=\"client-a\""])
    });
    add.both("metrics/plaintext", |w, ip| {
        counted(w, ip, PLAIN_A, SERVER_B, &["none"])
    });
    add.both("metrics/through-a-service", through_a_service);
    add.one("metrics/processes", processes);
}

/// Connections and bytes show at the server's node, whoever of agent and tunnel carried them.
///
/// # Errors
/// They grow by anything but what seven connections are; none of the same kind may be open or just over.
pub fn counted(world: &World, ip: Ip, from: Pod, to: Pod, labels: &[&str]) -> Result<()> {
    let at = world.at(to, ip, port::SINK)?.to_string();
    let destination = format!("destination_workload=\"{}\"", to.name);
    let mut wanted: Vec<&str> = vec!["reporter=\"destination\"", &destination];
    wanted.extend(labels);
    let sum = |name: &str| -> Result<f64> {
        let mut total = 0.0;
        for component in ["agent", "ztunnel"] {
            total += total_of(
                &admin(world, to.node(), component, "/metrics")?,
                name,
                &wanted,
            );
        }
        Ok(total)
    };
    let names = [
        "warren_tcp_connections_opened_total",
        "warren_tcp_connections_closed_total",
        "warren_tcp_connection_duration_seconds_count",
        "warren_tcp_sent_bytes_total",
        "warren_tcp_received_bytes_total",
    ];
    let before: Vec<f64> = names.iter().map(|n| sum(n)).collect::<Result<_>>()?;
    let mut received = 0;
    for _ in 0..CONNECTIONS {
        let options = ["--mode", "sink", "--bytes", &BYTES.to_string()];
        let answer = world.connect(from, &at, &options)?.received;
        ensure!(answer > 0, "the server answered nothing");
        // The client does not count the end of the line.
        received += answer + 1;
    }
    let (connections, bytes) = (CONNECTIONS, CONNECTIONS * BYTES);
    let expected = [connections, connections, connections, bytes, received];
    eventually(Duration::from_secs(5), || {
        for ((name, before), more) in names.iter().zip(&before).zip(expected) {
            let grown = sum(name)? - before;
            ensure!(
                grown == more as f64,
                "{name} with {wanted:?} grew by {grown}, expected {more}"
            );
        }
        Ok(())
    })
}

/// The client's node tells the Service, both ends' workloads and identities, the verdict and what secured the connection.
fn through_a_service(world: &World, ip: Ip) -> Result<()> {
    let account = "spiffe://cluster.local/ns/shop/sa";
    let wanted = [
        "reporter=\"source\"".to_owned(),
        "source_workload=\"client-a\"".to_owned(),
        "source_namespace=\"shop\"".to_owned(),
        format!("source_principal=\"{account}/client\""),
        "destination_workload=\"server-b\"".to_owned(),
        "destination_namespace=\"shop\"".to_owned(),
        format!("destination_principal=\"{account}/server\""),
        "destination_service=\"web-b.shop.svc.cluster.local\"".to_owned(),
        "security_policy=\"mutual_tls\"".to_owned(),
        "verdict=".to_owned(),
    ];
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let name = "warren_tcp_connections_opened_total";
    let count = || {
        let text = admin(world, "a", "ztunnel", "/metrics")?;
        anyhow::Ok(total_of(&text, name, &wanted))
    };
    let before = count()?;
    let service = format!("web-b.shop.svc.cluster.local:{}", port::ECHO);
    world.connect(CLIENT_A, &service, &["--family", ip.digit()])?;
    eventually(Duration::from_secs(5), || {
        let grown = count()? - before;
        ensure!(grown == 1.0, "{name} with {wanted:?} grew by {grown}");
        Ok(())
    })
}

/// The sum of a metric's samples that have all of these texts among their labels.
fn total_of(text: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = text
        .lines()
        .filter_map(|l| l.strip_prefix(name))
        .filter(|l| l.starts_with(['{', ' ']));
    let fits = samples.filter(|l| labels.iter().all(|w| l.contains(w)));
    fits.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Series of every process.
const OF_ALL: [&str; 3] = [
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
];

/// Series of each component, as a dashboard asks for them: whole names, of which others are only the beginning.
const OF_ONE: [(&str, &[&str]); 3] = [
    (
        "ztunnel",
        &[
            "warren_certificates_valid",
            "warren_certificate_remaining_seconds",
            "warren_xds_connected",
            "warren_tls_handshakes_total",
            "warren_tls_handshakes_in_flight",
            "warren_access_log_lost_lines",
        ],
    ),
    (
        "agent",
        &[
            "warren_bpf_map_entries{map=\"pods\"}",
            "warren_bpf_map_max_entries{map=\"pods\"}",
            "warren_bpf_events_total{event=\"events_lost\"}",
            "warren_bpf_events_total{event=\"map_full\"}",
            "warren_access_log_lost_lines",
            "warren_xds_connected",
        ],
    ),
    (
        "control",
        &[
            "warren_control_certificates_issued_total",
            "warren_control_xds_clients",
        ],
    ),
];

/// Saturation, certificates, the controller's stream: present, and with a value that makes sense.
fn processes(world: &World) -> Result<()> {
    for (component, own) in OF_ONE {
        let text = admin(world, "a", component, "/metrics")?;
        for series in OF_ALL.iter().chain(own) {
            ensure!(
                has_series(&text, series),
                "the metrics of {component} have no {series}"
            );
        }
    }
    for component in ["ztunnel", "agent"] {
        let connected = total_of(
            &admin(world, "a", component, "/metrics")?,
            "warren_xds_connected",
            &[],
        );
        ensure!(
            connected == 1.0,
            "{component}: warren_xds_connected is {connected}"
        );
    }
    Ok(())
}

/// Whether there is a sample of just this name and these labels.
fn has_series(text: &str, series: &str) -> bool {
    let name = |l: &str| l.rsplit_once(' ').is_some_and(|(name, _)| name == series);
    text.lines().any(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_found_by_its_whole_name() {
        let text = "# HELP lost x\nlost_lines 3\nall{x=\"lost\"} 4\n";
        assert!(has_series(text, "lost_lines") && has_series(text, "all{x=\"lost\"}"));
        assert!(!has_series(text, "lost") && !has_series(text, "all"));
    }

    #[test]
    fn samples_are_summed_by_label() {
        let text = "# HELP a_total x\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"3\"} 4\na_total_more{x=\"1\"} 9\nb 7\n";
        assert_eq!(total_of(text, "a_total", &["x=\"1\""]), 7.0);
        assert_eq!(total_of(text, "a_total", &["x=\"1\"", "y=\"3\""]), 4.0);
        assert_eq!(total_of(text, "b", &[]), 7.0);
    }
}
