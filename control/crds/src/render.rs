//! CustomResourceDefinitions as YAML.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{AuthorizationPolicy, PeerAuthentication};

/// Every CustomResourceDefinition, sorted by name.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![AuthorizationPolicy::crd(), PeerAuthentication::crd()]
}

/// Every CustomResourceDefinition as `(file name, YAML text)`.
///
/// # Errors
/// Only where the YAML library refuses a value, which none of the types can hold.
pub fn render() -> Result<Vec<(String, String)>, serde_saphyr::SerializeError> {
    definitions()
        .iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.metadata.name.as_deref().unwrap_or_default());
            let text = serde_saphyr::to_string(crd)?;
            Ok((
                name,
                format!("# Generated from control/crds; do not edit.\n{text}"),
            ))
        })
        .collect()
}
