//! Probes of a container.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Whether the others may begin.
    Startup,
    /// Whether Services send traffic.
    Readiness,
    /// Whether the container is restarted.
    Liveness,
}

/// How a probe looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// A command inside the container that must exit with status 0.
    Exec(Vec<String>),
    /// An HTTP GET that must answer 200 to 399. TLS is not spoken.
    Http {
        /// Host to connect to instead of the pod.
        host: Option<String>,
        /// Port.
        port: u16,
        /// Path and query.
        path: String,
        /// Further headers.
        headers: Vec<(String, String)>,
    },
    /// A connection that must be accepted.
    Tcp {
        /// Host to connect to instead of the pod.
        host: Option<String>,
        /// Port.
        port: u16,
    },
}

/// A probe with its times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbePlan {
    /// What it decides.
    pub purpose: Purpose,
    /// How it looks.
    pub check: Check,
    /// Seconds before the first look.
    pub delay: u32,
    /// Seconds between looks.
    pub period: u32,
    /// Seconds a look may take.
    pub timeout: u32,
    /// Looks in a row that must succeed.
    pub successes: u32,
    /// Looks in a row that must fail.
    pub failures: u32,
}

/// The plan of a manifest's probe; named ports are looked up in `c`.
pub(super) fn probe(purpose: Purpose, p: &Probe, c: &Container) -> Result<ProbePlan> {
    let port = |value: &IntOrString| port_number(value, c);
    let check = if let Some(exec) = &p.exec {
        Check::Exec(exec.command.clone().unwrap_or_default())
    } else if let Some(http) = &p.http_get {
        if http
            .scheme
            .as_deref()
            .is_some_and(|s| s.eq_ignore_ascii_case("https"))
        {
            bail!(
                "httpGet with scheme HTTPS is not spoken by the lab's kubelet: use exec or tcpSocket"
            );
        }
        let headers = http
            .http_headers
            .iter()
            .flatten()
            .map(|h| (h.name.clone(), h.value.clone()))
            .collect();
        let path = http.path.clone().unwrap_or_else(|| "/".into());
        Check::Http {
            host: http.host.clone(),
            port: port(&http.port)?,
            path,
            headers,
        }
    } else if let Some(tcp) = &p.tcp_socket {
        Check::Tcp {
            host: tcp.host.clone(),
            port: port(&tcp.port)?,
        }
    } else {
        bail!("the lab's kubelet knows exec, httpGet and tcpSocket only");
    };
    let number =
        |v: Option<i32>, default: u32| v.and_then(|v| u32::try_from(v).ok()).unwrap_or(default);
    Ok(ProbePlan {
        purpose,
        check,
        delay: number(p.initial_delay_seconds, 0),
        period: number(p.period_seconds, 10).max(1),
        timeout: number(p.timeout_seconds, 1).max(1),
        successes: number(p.success_threshold, 1).max(1),
        failures: number(p.failure_threshold, 3).max(1),
    })
}

fn port_number(value: &IntOrString, c: &Container) -> Result<u16> {
    let number = match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let ports = c.ports.iter().flatten();
            let named = ports.clone().find(|p| p.name.as_deref() == Some(name));
            named
                .with_context(|| format!("no container port is called {name:?}"))?
                .container_port
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|n| *n > 0)
        .with_context(|| format!("{number} is not a port"))
}
