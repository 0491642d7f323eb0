//! What the API server trusts the webhook by: the `caBundle` of its ValidatingWebhookConfiguration. All replicas' certificates
//! are of the roots in it, since they share the CA; the leader writes it.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::status::FIELD_MANAGER;
use crate::status::writer::{Failure, call_limited};

/// Makes the API server trust `roots` for every webhook of the configuration `name`. Where there is no such configuration,
/// there is nothing to do.
///
/// # Errors
/// See [`Failure`].
pub async fn publish(client: &Client, name: &str, roots: &str) -> Result<(), Failure> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let Some(found) = call_limited(api.get(name)).await? else {
        return Ok(());
    };
    let bundle = ByteString(roots.as_bytes().to_vec());
    let webhooks = found.webhooks.unwrap_or_default();
    if webhooks
        .iter()
        .all(|w| w.client_config.ca_bundle.as_ref() == Some(&bundle))
    {
        return Ok(());
    }
    let trusting = |name: &str| json!({"name": name, "clientConfig": {"caBundle": bundle}});
    let patch = Patch::Apply(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        // One that was replaced meanwhile is looked at anew.
        "metadata": {"name": name, "uid": found.metadata.uid},
        "webhooks": webhooks.iter().map(|w| trusting(&w.name)).collect::<Vec<_>>(),
    }));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    if call_limited(api.patch(name, &params, &patch))
        .await?
        .is_some()
    {
        tracing::info!(configuration = name, "the API server trusts the webhook");
    }
    Ok(())
}
