//! Settings, from flags and environment, read once.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::record::Format;

/// The L4 tunnel of one node: mutual TLS and policy for its pods.
#[derive(Clone, Debug, Parser)]
#[command(name = "warren-ztunnel", version)]
pub struct Settings {
    /// Name of this node.
    #[arg(long, env = "WARREN_NODE")]
    pub node: String,
    /// The controller's xDS service.
    #[arg(long, env = "WARREN_XDS", value_name = "https://HOST:15012", value_parser = https)]
    pub xds: String,
    /// The certificate authority; the same as --xds by default.
    #[arg(long, env = "WARREN_CA", value_name = "https://HOST:15012", value_parser = https)]
    pub ca: Option<String>,
    /// PEM file with the roots of the controller and of the mesh.
    #[arg(long, env = "WARREN_ROOT_CERT", value_name = "PATH")]
    pub root_cert: PathBuf,
    /// File with this node's token; read again for each use.
    #[arg(long, env = "WARREN_TOKEN", value_name = "PATH")]
    pub token: Option<PathBuf>,
    /// Sent to the controller as this tunnel's cluster.
    #[arg(long, env = "WARREN_CLUSTER_ID", default_value = "Kubernetes")]
    pub cluster_id: String,
    /// Address of this tunnel's own pod, told to the controller.
    #[arg(long, env = "WARREN_POD_IP", default_value = "127.0.0.1")]
    pub pod_ip: IpAddr,
    /// Name of this tunnel's own pod, told to the controller; `warren-ztunnel-NODE` by default.
    #[arg(long, env = "WARREN_POD_NAME")]
    pub pod_name: Option<String>,
    /// Namespace of this tunnel's own pod, told to the controller.
    #[arg(long, env = "WARREN_POD_NAMESPACE", default_value = "warren-system")]
    pub pod_namespace: String,
    /// Life to ask for in certificates, such as 24h or 10s; the controller may give less.
    #[arg(long, env = "WARREN_CERT_TTL", default_value = "24h", value_parser = duration)]
    pub cert_ttl: Duration,
    /// Where the node socket is and the admin socket is made.
    #[arg(long, env = "WARREN_RUN_DIR", default_value = "/run/warren")]
    pub run_dir: PathBuf,
    /// Admin over TCP; loopback only.
    #[arg(long, env = "WARREN_ADMIN_ADDR", default_value = "127.0.0.1:15000", value_parser = loopback)]
    pub admin_addr: SocketAddr,
    /// Prometheus metrics.
    #[arg(long, env = "WARREN_METRICS_ADDR", default_value = "0.0.0.0:15020")]
    pub metrics_addr: SocketAddr,
    /// Readiness: 200 once the model and the list of pods are complete.
    #[arg(long, env = "WARREN_READINESS_ADDR", default_value = "0.0.0.0:15021")]
    pub readiness_addr: SocketAddr,
    /// One line at the end of a connection, on standard output.
    #[arg(long, env = "WARREN_ACCESS_LOG", value_enum, default_value = "text")]
    pub access_log: Format,
    /// What is logged to standard error, as RUST_LOG directives.
    #[arg(long, env = "WARREN_LOG", default_value = "info")]
    pub log: String,
    /// Format of that log: text or json.
    #[arg(long, env = "WARREN_LOG_FORMAT", default_value = "text")]
    pub log_format: warren_admin::Format,
    /// At the end, connections get this long to end by themselves.
    #[arg(long, env = "WARREN_DRAIN_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// HBONE connections that a pod takes from one identity at one address; a tunnel needs one for each hundred connections that
    /// are open at a time, and for each of its threads.
    #[arg(long, env = "WARREN_MAX_PEER_CONNECTIONS", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_peer_connections: u16,
    /// Threads that carry connections.
    #[arg(long, env = "WARREN_WORKERS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
}

/// A number with one of the units ms, s, m, h, d.
fn duration(s: &str) -> Result<Duration, String> {
    let split = s
        .find(|c: char| !c.is_ascii_digit())
        .ok_or("give a unit: ms, s, m, h or d")?;
    let (number, unit) = s.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{s}` does not begin with a number"))?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{unit}` is not one of ms, s, m, h, d")),
    };
    number
        .checked_mul(ms)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{s}` is too long"))
}

fn https(s: &str) -> Result<String, String> {
    let host = s.strip_prefix("https://").unwrap_or_default();
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err("expected https://HOST:PORT".into());
    }
    Ok(s.to_owned())
}

fn loopback(s: &str) -> Result<SocketAddr, String> {
    let addr: SocketAddr = s.parse().map_err(|e| format!("{e}"))?;
    if addr.ip().is_loopback() {
        Ok(addr)
    } else {
        Err("only loopback addresses: anybody who reaches it may change settings".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in [
            "",
            "5",
            "h",
            "5x",
            "-1s",
            "99999999999999999999h",
            "18446744073709551615d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_controller_is_asked_by_https_only() {
        assert!(https("https://controller:15012").is_ok());
        for bad in [
            "",
            "controller:15012",
            "http://controller:15012",
            "https://",
            "https://a b",
        ] {
            assert!(https(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn admin_is_for_loopback_only() {
        assert!(loopback("127.0.0.1:15000").is_ok());
        assert!(loopback("[::1]:15000").is_ok());
        assert!(loopback("0.0.0.0:15000").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Settings as clap::CommandFactory>::command().debug_assert();
    }
}
