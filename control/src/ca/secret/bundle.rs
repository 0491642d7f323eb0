//! The trusted roots as ConfigMaps, for the volumes of tunnels and agents, and for the API server's calls of the webhook.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::admission;
use crate::ca::Current;
use crate::status::FIELD_MANAGER;
use crate::status::lease::Leadership;
use crate::status::writer::call_limited;

/// Key of the ConfigMap, and name of the file that it becomes.
pub const KEY: &str = "root-cert.pem";
/// Somebody may have deleted or changed it.
const REPEAT: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);

/// Publishes the roots while we lead.
pub struct Publisher {
    /// The API server.
    pub client: Client,
    /// Where to.
    pub namespaces: Vec<String>,
    /// Name of the ConfigMaps.
    pub name: String,
    /// The ValidatingWebhookConfiguration that has to trust them as well.
    pub webhook: Option<String>,
    /// What to publish.
    pub current: Current,
    /// Whether we may.
    pub leadership: Leadership,
}

impl Publisher {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let stopped = stop.clone();
        stopped.run_until_cancelled(self.lead()).await;
    }

    async fn lead(&mut self) {
        let mut changes = self.current.subscribe();
        while self.leadership.wait().await {
            let roots = changes.borrow_and_update().root().to_owned();
            let pause = match self.publish(&roots).await {
                true => REPEAT,
                false => RETRY,
            };
            // A change of the roots, or the time.
            let _ = tokio::time::timeout(pause, changes.changed()).await;
        }
    }

    async fn publish(&self, roots: &str) -> bool {
        let mut good = true;
        for namespace in &self.namespaces {
            let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
            let patch = Patch::Apply(json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": self.name},
                "data": {KEY: roots},
            }));
            let params = PatchParams::apply(FIELD_MANAGER).force();
            let call = api.patch(&self.name, &params, &patch);
            match call_limited(call).await {
                Ok(Some(_)) => {}
                Ok(None) => good = false,
                Err(e) => {
                    good = false;
                    tracing::warn!("ConfigMap {namespace}/{}: {e}", self.name);
                }
            }
        }
        if let Some(name) = &self.webhook
            && let Err(e) = admission::bundle::publish(&self.client, name, roots).await
        {
            good = false;
            tracing::warn!("ValidatingWebhookConfiguration {name}: {e}");
        }
        good
    }
}
