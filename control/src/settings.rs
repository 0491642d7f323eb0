//! Flags and environment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use serde_json::{Value, json};
use warren_admin::Format;

use crate::ca::cert_manager::IssuerRef;

/// Turns Kubernetes objects into configuration for tunnels and agents, and signs their certificates.
#[derive(Clone, Debug, Parser)]
#[command(name = "warren-control", version)]
pub struct Settings {
    /// Where objects come from: `kubernetes`, or `dir:PATH`, a directory of YAML and JSON files
    #[arg(long, env = "WARREN_SOURCE")]
    pub source: SourceSetting,
    /// API server of --source kubernetes; without it that of the pod's service account
    #[arg(long, env = "WARREN_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of --kubeconfig; without it the current one
    #[arg(long, env = "WARREN_KUBE_CONTEXT", requires = "kubeconfig")]
    pub kube_context: Option<String>,
    /// Namespace whose policies cover the whole mesh; with --source kubernetes also that of the controller's Lease, Secret and ConfigMap
    #[arg(
        long,
        env = "WARREN_ROOT_NAMESPACE",
        default_value = crate::index::ROOT_NAMESPACE
    )]
    pub root_namespace: String,
    /// This replica's own name in the leader election
    #[arg(long, env = "WARREN_POD_NAME", default_value = "warren-control")]
    pub pod_name: String,
    /// Secret with the CA's key and certificates (--source kubernetes); made where there is none
    #[arg(long, env = "WARREN_CA_SECRET", default_value = "warren-ca")]
    pub ca_secret: String,
    /// Issuer of cert-manager's that signs instead of an own CA (--source kubernetes): `NAME`, `NAME:KIND` or `NAME:KIND:GROUP`
    #[arg(long, env = "WARREN_CERT_MANAGER_ISSUER", conflicts_with = "ca_cert")]
    pub cert_manager_issuer: Option<IssuerRef>,
    /// ConfigMap for the trusted roots (--source kubernetes)
    #[arg(long, env = "WARREN_ROOT_CONFIGMAP", default_value = "warren-ca-root")]
    pub root_configmap: String,
    /// Further namespaces that get --root-configmap; may be repeated
    #[arg(long, env = "WARREN_ROOT_CONFIGMAP_NAMESPACES", value_delimiter = ',')]
    pub root_configmap_namespaces: Vec<String>,
    /// How long both roots are trusted before each step of a change of the root; --cert-ttl if that is longer
    #[arg(long, env = "WARREN_ROOT_OVERLAP", default_value = "24h", value_parser = duration)]
    pub root_overlap: Duration,
    /// Directory for the CA's key and root certificate
    #[arg(long, env = "WARREN_STATE_DIR", default_value = "/var/lib/warren")]
    pub state_dir: PathBuf,
    /// Address of xDS and CA
    #[arg(long, env = "WARREN_XDS_ADDR", default_value = "0.0.0.0:15012")]
    pub xds_addr: SocketAddr,
    /// Address of metrics and debugging
    #[arg(long, env = "WARREN_DEBUG_ADDR", default_value = "127.0.0.1:15014")]
    pub debug_addr: SocketAddr,
    /// Address of metrics and readiness alone, for whoever may reach it; without it only --debug-addr has them
    #[arg(long, env = "WARREN_METRICS_ADDR")]
    pub metrics_addr: Option<SocketAddr>,
    /// Address of the admission webhook; without it there is none
    #[arg(long, env = "WARREN_WEBHOOK_ADDR")]
    pub webhook_addr: Option<SocketAddr>,
    /// ValidatingWebhookConfiguration that is made to trust the webhook (--source kubernetes)
    #[arg(long, env = "WARREN_WEBHOOK_CONFIG", default_value = "warren-control")]
    pub webhook_config: String,
    /// DNS name or IP address in the server's certificate, beside `localhost` and a specific --xds-addr; may be repeated
    #[arg(
        long,
        env = "WARREN_XDS_SAN",
        value_delimiter = ',',
        default_value = "warren-control.warren-system.svc"
    )]
    pub xds_san: Vec<String>,
    /// Service accounts that may read the mesh: `NAMESPACE/NAME`, `NAMESPACE/*` or `*`; may be repeated
    #[arg(
        long,
        env = "WARREN_XDS_CLIENTS",
        value_delimiter = ',',
        default_value = "warren-system/*"
    )]
    pub xds_clients: Vec<String>,
    /// Service accounts of tunnels, which get certificates for the pods of their node; may be repeated
    #[arg(
        long,
        env = "WARREN_TUNNEL_ACCOUNT",
        value_delimiter = ',',
        default_value = "warren-system/warren-ztunnel"
    )]
    pub tunnel_account: Vec<String>,
    /// JWKS file with the keys that sign tokens; with --source kubernetes the API server checks them instead
    #[arg(long, env = "WARREN_JWKS")]
    pub jwks: Option<PathBuf>,
    /// Issuer of tokens
    #[arg(
        long,
        env = "WARREN_TOKEN_ISSUER",
        default_value = "https://kubernetes.default.svc.cluster.local"
    )]
    pub token_issuer: String,
    /// Audience of tokens; `istio-ca` is taken as well; may be repeated
    #[arg(
        long,
        env = "WARREN_TOKEN_AUDIENCE",
        value_delimiter = ',',
        default_value = "warren-ca"
    )]
    pub token_audience: Vec<String>,
    /// Trust domain of all identities
    #[arg(long, env = "WARREN_TRUST_DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// Domain of service names
    #[arg(long, env = "WARREN_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Name of the cluster
    #[arg(long, env = "WARREN_CLUSTER_ID", default_value = "Kubernetes")]
    pub cluster_id: String,
    /// Let every pod go, whatever labels say: the mesh is about to be uninstalled
    #[arg(long, env = "WARREN_LEAVE")]
    pub leave: bool,
    /// Longest life of a certificate, such as 24h or 90s
    #[arg(long, env = "WARREN_CERT_TTL", default_value = "24h", value_parser = duration)]
    pub cert_ttl: Duration,
    /// PEM chain of a CA to use instead of an own one: the issuing certificate first, without the root
    #[arg(long, env = "WARREN_CA_CERT", requires_all = ["ca_key", "root_cert"])]
    pub ca_cert: Option<PathBuf>,
    /// PEM key of --ca-cert
    #[arg(long, env = "WARREN_CA_KEY", requires = "ca_cert")]
    pub ca_key: Option<PathBuf>,
    /// PEM root of --ca-cert
    #[arg(long, env = "WARREN_ROOT_CERT", requires = "ca_cert")]
    pub root_cert: Option<PathBuf>,
    /// Directory for the admin socket and the root certificate
    #[arg(long, env = "WARREN_RUN_DIR", default_value = "/run/warren")]
    pub run_dir: PathBuf,
    /// Log filter, such as `info` or `info,warren_control=debug`
    #[arg(long, env = "WARREN_LOG", default_value = "info")]
    pub log: String,
    /// Log format: text or json
    #[arg(long, env = "WARREN_LOG_FORMAT", default_value = "text")]
    pub log_format: Format,
}

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSetting {
    /// A directory.
    Dir(PathBuf),
    /// An API server.
    Kubernetes,
}

impl fmt::Display for SourceSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(path) => write!(f, "dir:{}", path.display()),
            Self::Kubernetes => f.write_str("kubernetes"),
        }
    }
}

impl FromStr for SourceSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Dir(path.into())),
            None if text == "kubernetes" => Ok(Self::Kubernetes),
            _ => Err("expected kubernetes or dir:PATH".into()),
        }
    }
}

impl Settings {
    /// What no single flag can tell.
    ///
    /// # Errors
    /// Flags that do not go together.
    pub fn checked(self) -> Result<Self, clap::Error> {
        let error = |text: &str| Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, text));
        match self.source {
            SourceSetting::Dir(_) if self.jwks.is_none() => error(
                "--source dir:PATH needs --jwks FILE: there is no API server that checks tokens",
            ),
            SourceSetting::Dir(_) if self.cert_manager_issuer.is_some() => {
                error("--cert-manager-issuer goes with --source kubernetes")
            }
            SourceSetting::Dir(_) if self.kubeconfig.is_some() => {
                error("--kubeconfig goes with --source kubernetes")
            }
            _ => Ok(self),
        }
    }

    /// --log, without what the API server's client says of every failed call: who made the call says it once.
    pub fn log_filter(&self) -> String {
        let quiet = ["kube_client", "kube_runtime"];
        let quiet = quiet.iter().filter(|t| !self.log.contains(**t));
        let quiet = quiet.map(|target| format!(",{target}=off"));
        self.log.clone() + &quiet.collect::<String>()
    }

    /// How long each step of a change of the root takes: every certificate has to be renewed once.
    pub fn overlap(&self) -> Duration {
        self.root_overlap.max(self.cert_ttl)
    }

    /// Audiences that are taken.
    pub fn audiences(&self) -> Vec<String> {
        let mut all = self.token_audience.clone();
        if !all.iter().any(|a| a == "istio-ca") {
            all.push("istio-ca".into());
        }
        all
    }

    /// Names of the server's certificate.
    pub fn server_names(&self) -> Vec<String> {
        let bound = self.xds_addr.ip();
        let own = if bound.is_unspecified() {
            None
        } else {
            Some(bound.to_string())
        };
        let mut names: Vec<String> = self.xds_san.iter().cloned().chain(own).collect();
        for name in ["localhost", "127.0.0.1", "::1"] {
            if !names.iter().any(|n| n == name) {
                names.push(name.to_owned());
            }
        }
        names.dedup();
        names
    }

    /// Every setting in force, by flag.
    pub fn view(&self) -> BTreeMap<String, Value> {
        let pairs = [
            ("source", json!(self.source.to_string())),
            ("state-dir", json!(self.state_dir)),
            ("kubeconfig", json!(self.kubeconfig)),
            ("kube-context", json!(self.kube_context)),
            ("root-namespace", json!(self.root_namespace)),
            ("pod-name", json!(self.pod_name)),
            ("ca-secret", json!(self.ca_secret)),
            (
                "cert-manager-issuer",
                json!(self.cert_manager_issuer.as_ref().map(ToString::to_string)),
            ),
            ("root-configmap", json!(self.root_configmap)),
            (
                "root-configmap-namespaces",
                json!(self.root_configmap_namespaces),
            ),
            (
                "root-overlap",
                json!(format!("{}s", self.overlap().as_secs())),
            ),
            ("xds-addr", json!(self.xds_addr)),
            ("debug-addr", json!(self.debug_addr)),
            ("metrics-addr", json!(self.metrics_addr)),
            ("webhook-addr", json!(self.webhook_addr)),
            ("webhook-config", json!(self.webhook_config)),
            ("xds-san", json!(self.server_names())),
            ("xds-clients", json!(self.xds_clients)),
            ("tunnel-account", json!(self.tunnel_account)),
            ("jwks", json!(self.jwks)),
            ("token-issuer", json!(self.token_issuer)),
            ("token-audience", json!(self.audiences())),
            ("trust-domain", json!(self.trust_domain)),
            ("cluster-domain", json!(self.cluster_domain)),
            ("leave", json!(self.leave)),
            ("cluster-id", json!(self.cluster_id)),
            ("cert-ttl", json!(format!("{}s", self.cert_ttl.as_secs()))),
            ("ca-cert", json!(self.ca_cert)),
            ("root-cert", json!(self.root_cert)),
            ("run-dir", json!(self.run_dir)),
            ("log", json!(self.log)),
            ("log-format", json!(self.log_format.to_string())),
        ];
        pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }
}

/// Reads `1h30m`, `90s`, `24h`: numbers with the units d, h, m and s.
///
/// # Errors
/// Something else, or nothing at all.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration such as 24h, 90s or 1h30m");
    let mut total = 0_u64;
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return Err(bad()),
        };
        let count: u64 = number.parse().map_err(|_| bad())?;
        number.clear();
        total = count
            .checked_mul(unit)
            .and_then(|s| total.checked_add(s))
            .ok_or_else(bad)?;
    }
    // Certificates count in seconds, and 100 years are for ever.
    if !number.is_empty() || total == 0 || total > 100 * 365 * 86_400 {
        return Err(bad());
    }
    Ok(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("1h30m5s"), Ok(Duration::from_secs(5_405)));
        for bad in [
            "",
            "0s",
            "10",
            "h",
            "5x",
            "-1s",
            "99999999999999999999s",
            "1000000d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn flags() {
        let parse = |args: &[&str]| {
            let all = ["warren-control"].iter().chain(args);
            Settings::try_parse_from(all).and_then(Settings::checked)
        };
        let base = ["--source", "dir:/m", "--jwks", "/j"];
        let settings = parse(&base).expect("enough");
        assert_eq!(settings.audiences(), ["warren-ca", "istio-ca"]);
        assert!(
            settings
                .server_names()
                .contains(&"warren-control.warren-system.svc".to_owned())
        );
        assert!(parse(&["--source", "/m", "--jwks", "/j"]).is_err());
        assert!(parse(&["--source", "dir:/m"]).is_err(), "no keys");
        assert!(parse(&[&base[..], &["--kubeconfig", "/k"]].concat()).is_err());
        let cluster = parse(&["--source", "kubernetes", "--cert-ttl", "48h"]).expect("enough");
        assert_eq!(cluster.overlap(), Duration::from_secs(48 * 3600));
        assert_eq!(
            cluster.log_filter(),
            "info,kube_client=off,kube_runtime=off"
        );
        assert!(parse(&[&base[..], &["--ca-cert", "/c"]].concat()).is_err());
        let addressed =
            parse(&[&base[..], &["--xds-addr", "10.0.0.1:15012"]].concat()).expect("enough");
        assert!(addressed.server_names().contains(&"10.0.0.1".to_owned()));
    }
}
