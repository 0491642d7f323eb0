//! The plugin's configuration, as the runtime passes it on stdin.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{CniError, Code, DEFAULT_VERSION};

/// Versions of the specification that are spoken.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// One entry of a CNI network configuration list.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Version of the specification.
    #[serde(rename = "cniVersion", default = "default_version")]
    pub version: String,
    /// The agent's socket.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// Longest that ADD and CHECK wait, in seconds.
    #[serde(rename = "timeoutSeconds", default = "default_timeout")]
    pub timeout_seconds: u64,
    /// Namespaces whose pods may start while the agent is away.
    #[serde(rename = "exemptNamespaces", default)]
    pub exempt_namespaces: Vec<String>,
    /// What the plugin before this one answered.
    #[serde(rename = "prevResult", default)]
    pub prev_result: Option<Value>,
}

impl Config {
    /// Parses and checks the configuration.
    pub fn parse(text: &str) -> Result<Self, CniError> {
        let config: Self = serde_json::from_str(text).map_err(|e| {
            CniError::decode(format!(
                "the network configuration on stdin is not valid: {e}"
            ))
        })?;
        if !VERSIONS.contains(&config.version.as_str()) {
            let msg = format!(
                "cniVersion `{}` is not supported; use one of {}",
                config.version,
                VERSIONS.join(", ")
            );
            return Err(CniError::new(Code::Config, msg));
        }
        Ok(config)
    }

    /// [`Config::timeout_seconds`], never more than two minutes.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.clamp(1, 120))
    }

    /// What the plugin before answered; an error where there was none.
    pub fn previous(&self) -> Result<&Value, CniError> {
        self.prev_result.as_ref().filter(|v| v.is_object()).ok_or_else(|| {
            let msg = "no prevResult: warren-cni has to come after the plugin that gives the pod its addresses";
            CniError::new(Code::Config, msg).in_version(&self.version)
        })
    }

    /// The pod's addresses out of `prevResult.ips[].address`, without prefix lengths.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, CniError> {
        let ips = self
            .previous()?
            .get("ips")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        ips.iter().map(|ip| self.address(ip)).collect()
    }

    fn address(&self, ip: &Value) -> Result<IpAddr, CniError> {
        let text = ip
            .get("address")
            .and_then(Value::as_str)
            .unwrap_or_default();
        text.split('/').next().unwrap_or_default().parse().map_err(|_| {
            let msg = format!("prevResult.ips has the address `{text}`, which is not an address with a prefix length");
            CniError::new(Code::Config, msg).in_version(&self.version)
        })
    }
}

fn default_version() -> String {
    DEFAULT_VERSION.into()
}

fn default_socket() -> PathBuf {
    "/run/warren/cni.sock".into()
}

fn default_timeout() -> u64 {
    20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_prefix_length() {
        let text = r#"{"cniVersion":"1.0.0","prevResult":{"ips":[{"address":"10.1.0.5/24"},{"address":"fd00::5/64"}]}}"#;
        let expected: Vec<IpAddr> = vec!["10.1.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        assert_eq!(Config::parse(text).unwrap().addresses().unwrap(), expected);
    }

    #[test]
    fn a_bad_address_and_a_missing_result_are_configuration_errors() {
        let bad = Config::parse(r#"{"prevResult":{"ips":[{"address":"ten"}]}}"#).unwrap();
        assert_eq!(bad.addresses().unwrap_err().code, Code::Config);
        assert_eq!(
            Config::parse("{}").unwrap().addresses().unwrap_err().code,
            Code::Config
        );
    }

    #[test]
    fn an_unknown_version_is_refused() {
        assert!(
            Config::parse(r#"{"cniVersion":"9.9.9"}"#)
                .unwrap_err()
                .msg
                .contains("9.9.9")
        );
    }
}
