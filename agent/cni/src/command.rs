//! What each CNI command does.

use std::time::Duration;

use serde_json::json;

use crate::agent::{self, Request};
use crate::config::{Config, VERSIONS};
use crate::env::{Command, Pod};
use crate::error::{CniError, Code};

/// Longest that DEL waits for an agent that is away.
const DEL_LIMIT: Duration = Duration::from_secs(5);
/// Longest that STATUS waits: runtimes ask often.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

/// Does `command` with the configuration `text`; returns what goes to stdout.
pub fn execute(
    command: Command,
    var: impl Fn(&str) -> Option<String>,
    text: &str,
) -> Result<String, CniError> {
    match command {
        Command::Version => Ok(version(text)),
        Command::Add => add(var, &Config::parse(text)?),
        Command::Check => check(var, &Config::parse(text)?),
        Command::Status => status(&Config::parse(text)?),
        Command::Del => {
            del(var, text);
            Ok(String::new())
        }
        // The agent lets a pod go by itself once the pod's network namespace is gone.
        Command::Gc => Ok(String::new()),
    }
}

fn version(text: &str) -> String {
    let asked = Config::parse(text)
        .map(|c| c.version)
        .unwrap_or_else(|_| crate::error::DEFAULT_VERSION.into());
    json!({ "cniVersion": asked, "supportedVersions": VERSIONS }).to_string()
}

fn add(var: impl Fn(&str) -> Option<String>, config: &Config) -> Result<String, CniError> {
    let in_version = |e: CniError| e.in_version(&config.version);
    let pod = Pod::from_env(var).map_err(in_version)?;
    if pod.netns.is_empty() {
        return Err(in_version(CniError::new(
            Code::Environment,
            "CNI_NETNS is not set; ADD needs it",
        )));
    }
    let (mut result, addresses) = (config.previous()?.clone(), config.addresses()?);
    let exempt = config.exempt_namespaces.contains(&pod.namespace);
    match tell(config, "add", &pod, addresses, config.timeout()) {
        Ok(()) => {}
        Err(e) if exempt => eprintln!(
            "warren-cni: {}/{} starts outside the mesh: {e}",
            pod.namespace, pod.name
        ),
        Err(e) => return Err(in_version(e)),
    }
    result["cniVersion"] = json!(config.version);
    Ok(result.to_string())
}

fn check(var: impl Fn(&str) -> Option<String>, config: &Config) -> Result<String, CniError> {
    let in_version = |e: CniError| e.in_version(&config.version);
    let pod = Pod::from_env(var).map_err(in_version)?;
    let addresses = config.addresses()?;
    tell(config, "check", &pod, addresses, config.timeout()).map_err(in_version)?;
    Ok(String::new())
}

fn del(var: impl Fn(&str) -> Option<String>, text: &str) {
    let told = Config::parse(text).and_then(|config| {
        let pod = Pod::from_env(var)?;
        tell(
            &config,
            "del",
            &pod,
            Vec::new(),
            DEL_LIMIT.min(config.timeout()),
        )
    });
    if let Err(e) = told {
        eprintln!("warren-cni: DEL goes on without the agent: {e}");
    }
}

fn status(config: &Config) -> Result<String, CniError> {
    match agent::listens(&config.socket, STATUS_LIMIT) {
        Ok(()) => Ok(String::new()),
        Err(e) => {
            let msg = format!(
                "the Warren agent does not listen on {}; start warren-agent",
                config.socket.display()
            );
            Err(CniError::new(Code::NotAvailable, msg)
                .with_details(e)
                .in_version(&config.version))
        }
    }
}

fn tell(
    config: &Config,
    op: &'static str,
    pod: &Pod,
    addresses: Vec<std::net::IpAddr>,
    limit: Duration,
) -> Result<(), CniError> {
    let request = Request {
        op,
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        netns: pod.netns.clone(),
        addresses,
    };
    let answer = agent::ask(&config.socket, &request, limit)?;
    if answer.ok {
        return Ok(());
    }
    let why = answer.error.unwrap_or_else(|| "no reason given".into());
    let msg = format!(
        "the Warren agent cannot {op} pod {}/{}: {why}",
        pod.namespace, pod.name
    );
    Err(CniError::new(Code::Agent, msg))
}
