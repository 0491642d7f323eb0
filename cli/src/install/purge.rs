//! The kinds of objects, and the objects that go with them.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt as _};

use super::cluster::Cluster;
use super::error::Error;
use super::preflight::OURS;

const GROUP: &str = "warren.dev";

/// How many objects there are of each of our kinds, in words; empty for none.
///
/// # Errors
/// The API server does not say.
pub async fn count(cluster: &Cluster) -> Result<String, Error> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let all = api.list(&ListParams::default()).await;
    let all = all.map_err(|e| Error::api("list the kinds of objects", &e))?;
    let mut words = Vec::new();
    for definition in all.items.into_iter().filter(|d| d.spec.group == GROUP) {
        let names = &definition.spec.names;
        let objects = of(&cluster.client, &definition).await?;
        if objects > 0 {
            words.push(format!("{objects} {}", names.plural));
        }
    }
    Ok(words.join(", "))
}

/// Deletes the namespace, if `warren install` made it and nothing of it is needed any more.
///
/// # Errors
/// The API server refuses.
pub async fn namespace(cluster: &Cluster, name: &str) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let failed = |e| Error::api(format!("delete the namespace {name}"), &e);
    let found = api.get_opt(name).await.map_err(failed)?;
    let ours = |n: &Namespace| n.labels().get(OURS.0).is_some_and(|by| by == OURS.1);
    if !found.as_ref().is_some_and(ours) {
        return Ok(false);
    }
    api.delete(name, &DeleteParams::default())
        .await
        .map_err(failed)?;
    Ok(true)
}

async fn of(client: &Client, definition: &CustomResourceDefinition) -> Result<usize, Error> {
    let Some(version) = definition.spec.versions.iter().find(|v| v.served) else {
        return Ok(0);
    };
    let names = &definition.spec.names;
    let gvk = GroupVersionKind::gvk(GROUP, &version.name, &names.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &names.plural);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let all = api.list_metadata(&ListParams::default()).await;
    Ok(all
        .map_err(|e| Error::api(format!("count the {}", names.plural), &e))?
        .items
        .len())
}
