//! Whether a kind is installed at all.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ApiResource;
use kube::{Api, Client};

const LIMIT: Duration = Duration::from_secs(10);

/// The CustomResourceDefinition of a kind.
pub struct Definition {
    api: Api<CustomResourceDefinition>,
    name: String,
    version: String,
}

impl Definition {
    /// That of this kind.
    pub fn of(client: Client, resource: &ApiResource) -> Self {
        Self {
            api: Api::all(client),
            name: format!("{}.{}", resource.plural, resource.group),
            version: resource.version.clone(),
        }
    }

    /// Whether the API server serves the kind, or is about to. A server that has just started answers 404 to lists of
    /// kinds that it has not read yet, so that a list alone does not tell.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn is_installed(&self) -> Result<bool, String> {
        let found = tokio::time::timeout(LIMIT, self.api.get_opt(&self.name)).await;
        let found = found.map_err(|_| format!("no answer within {} s", LIMIT.as_secs()))?;
        let found = found.map_err(|e| super::causes(&e))?;
        let serves = |crd: CustomResourceDefinition| {
            let mut versions = crd.spec.versions.into_iter();
            versions.any(|v| v.name == self.version && v.served)
        };
        Ok(found.is_some_and(serves))
    }
}
