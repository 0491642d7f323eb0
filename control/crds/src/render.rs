//! CustomResourceDefinitions as YAML.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::{AuthorizationPolicy, PeerAuthentication};

/// Every CustomResourceDefinition, sorted by name.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut all = vec![AuthorizationPolicy::crd(), PeerAuthentication::crd()];
    for version in all.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        let schema = version.schema.as_mut();
        if let Some(schema) = schema.and_then(|s| s.open_api_v3_schema.as_mut()) {
            keep_unknown_fields(schema);
        }
    }
    all
}

/// Marks every object with named fields, except below `status`, so that the API server stores fields that it does not know. It would
/// drop them otherwise, and `rules: [{form: [...]}]` of a client that does not ask for validation would become an ALLOW of everything.
/// What is stored is seen, and refused, by the webhook and by the controller.
fn keep_unknown_fields(schema: &mut JSONSchemaProps) {
    let fields = schema.properties.iter_mut().flatten();
    for (_, field) in fields.filter(|(name, _)| *name != "status") {
        keep_unknown_fields(field);
    }
    if schema.properties.is_some() {
        schema.x_kubernetes_preserve_unknown_fields = Some(true);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => keep_unknown_fields(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => {
            items.iter_mut().for_each(keep_unknown_fields);
        }
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        keep_unknown_fields(value);
    }
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
