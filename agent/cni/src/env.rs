//! The `CNI_*` variables (CNI specification, section 2, "Parameters").

use crate::error::{CniError, Code};

/// What the runtime asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A pod comes.
    Add,
    /// A pod goes.
    Del,
    /// Is a pod as it should be?
    Check,
    /// Which pods are left.
    Gc,
    /// Can pods be added?
    Status,
    /// Which versions are spoken.
    Version,
}

impl Command {
    /// Reads `CNI_COMMAND`.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        let name = var("CNI_COMMAND").ok_or_else(|| missing("CNI_COMMAND"))?;
        Ok(match name.as_str() {
            "ADD" => Self::Add,
            "DEL" => Self::Del,
            "CHECK" => Self::Check,
            "GC" => Self::Gc,
            "STATUS" => Self::Status,
            "VERSION" => Self::Version,
            other => {
                let msg = format!(
                    "CNI_COMMAND is `{other}`; expected ADD, DEL, CHECK, GC, STATUS or VERSION"
                );
                return Err(CniError::new(Code::Environment, msg));
            }
        })
    }
}

/// Which pod a command is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Kubernetes namespace (`K8S_POD_NAMESPACE`).
    pub namespace: String,
    /// Pod name (`K8S_POD_NAME`).
    pub name: String,
    /// Pod UID (`K8S_POD_UID`); empty where the runtime does not tell it.
    pub uid: String,
    /// Path of the pod's network namespace (`CNI_NETNS`); may be empty for DEL.
    pub netns: String,
}

impl Pod {
    /// Reads `CNI_ARGS` and `CNI_NETNS`.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        let args = var("CNI_ARGS").ok_or_else(|| missing("CNI_ARGS"))?;
        let find = |key: &str| {
            let value = args
                .split(';')
                .find_map(|pair| pair.split_once('=').filter(|(k, _)| *k == key));
            value.map(|(_, v)| v.to_owned()).filter(|v| !v.is_empty())
        };
        let need = |key: &str| {
            let msg = format!(
                "CNI_ARGS has no {key}; warren-cni needs the pod's name from a Kubernetes runtime"
            );
            find(key).ok_or_else(|| CniError::new(Code::Environment, msg))
        };
        Ok(Self {
            namespace: need("K8S_POD_NAMESPACE")?,
            name: need("K8S_POD_NAME")?,
            uid: find("K8S_POD_UID").unwrap_or_default(),
            netns: var("CNI_NETNS").unwrap_or_default(),
        })
    }
}

fn missing(name: &str) -> CniError {
    CniError::new(
        Code::Environment,
        format!("{name} is not set; a container runtime has to set it"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_is_read_from_args_in_any_order() {
        let var = |name: &str| match name {
            "CNI_ARGS" => Some(
                "IgnoreUnknown=1;K8S_POD_NAME=web-0;K8S_POD_UID=u;K8S_POD_NAMESPACE=shop"
                    .to_owned(),
            ),
            "CNI_NETNS" => Some("/run/netns/x".to_owned()),
            _ => None,
        };
        let pod = Pod::from_env(var).unwrap();
        assert_eq!(
            (pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str()),
            ("shop", "web-0", "u")
        );
        assert_eq!(pod.netns, "/run/netns/x");
    }

    #[test]
    fn a_missing_name_is_told() {
        let error = Pod::from_env(|_| Some("K8S_POD_NAMESPACE=shop".to_owned())).unwrap_err();
        assert_eq!(error.code, Code::Environment);
        assert!(error.msg.contains("K8S_POD_NAME"), "{}", error.msg);
    }

    #[test]
    fn an_unknown_command_is_refused() {
        let error = Command::from_env(|_| Some("EXPLODE".to_owned())).unwrap_err();
        assert!(error.msg.contains("EXPLODE"), "{}", error.msg);
    }
}
