//! What the controller made and Helm does not know: the CA's Secret, the ConfigMaps with its roots, the Lease, Events.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use kube::api::{DeleteParams, ListParams, ObjectMeta};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::cluster::Cluster;
use super::error::Error;
use super::{CONTROLLER, say};

const CA: &str = "warren-ca";
const ROOTS: &str = "warren-ca-root";
const ROOT: &str = "root-cert.pem";

/// Removes all of it; how many objects there were.
///
/// # Errors
/// The API server refuses; what was removed stays removed, and the next try goes on.
pub async fn remove(cluster: &Cluster, namespace: &str) -> Result<usize, Error> {
    let client = &cluster.client;
    let mut removed = one::<Lease>(client, namespace, CONTROLLER).await?;
    if is_own_root(client, namespace).await? {
        removed += one::<Secret>(client, namespace, CA).await?;
    }
    for place in roots(client).await? {
        removed += one::<ConfigMap>(client, &place, ROOTS).await?;
    }
    for (place, name) in events(client).await? {
        removed += one::<Event>(client, &place, &name).await?;
    }
    Ok(removed)
}

/// Whether the CA's Secret is one that the controller made. An intermediate that somebody gave is theirs to remove.
async fn is_own_root(client: &Client, namespace: &str) -> Result<bool, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(CA).await;
    let found = found.map_err(|e| Error::api(format!("read the Secret {namespace}/{CA}"), &e))?;
    let given = found.is_some_and(|secret| is_given(&secret));
    if given {
        say(format_args!(
            "the Secret {CA} stays: it holds an intermediate that somebody else put there"
        ));
    }
    Ok(!given)
}

/// A root is trusted itself; of an intermediate, what signed it is.
fn is_given(secret: &Secret) -> bool {
    let part = |key: &str| Some(secret.data.as_ref()?.get(key)?.0.trim_ascii());
    match (part("tls.crt"), part("ca.crt")) {
        (Some(cert), Some(roots)) if !cert.is_empty() => {
            !roots.windows(cert.len()).any(|window| window == cert)
        }
        _ => false,
    }
}

/// Namespaces with a ConfigMap of roots: the mesh's own, and those that `control.rootConfigMapNamespaces` named at some time.
async fn roots(client: &Client) -> Result<Vec<String>, Error> {
    let api: Api<ConfigMap> = Api::all(client.clone());
    let named = ListParams::default().fields(&format!("metadata.name={ROOTS}"));
    let all = api.list(&named).await;
    let all = all.map_err(|e| Error::api(format!("list the ConfigMaps {ROOTS}"), &e))?;
    // Somebody else's of that name has something else in it.
    let ours = |map: &ConfigMap| {
        map.data
            .as_ref()
            .is_some_and(|data| data.contains_key(ROOT))
    };
    let ours = all.items.into_iter().filter(ours);
    Ok(ours.filter_map(|map| map.metadata.namespace).collect())
}

async fn events(client: &Client) -> Result<Vec<(String, String)>, Error> {
    let api: Api<Event> = Api::all(client.clone());
    let ours = ListParams::default().fields(&format!("source={CONTROLLER}"));
    let all = api.list_metadata(&ours).await;
    let all = all.map_err(|e| Error::api("list the events", &e))?;
    let name = |meta: ObjectMeta| Some((meta.namespace?, meta.name?));
    Ok(all
        .items
        .into_iter()
        .filter_map(|event| name(event.metadata))
        .collect())
}

async fn one<K>(client: &Client, namespace: &str, name: &str) -> Result<usize, Error>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(1),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(0),
        Err(error) => {
            let kind = K::kind(&K::DynamicType::default()).into_owned();
            Err(Error::api(
                format!("delete the {kind} {namespace}/{name}"),
                &error,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn a_given_intermediate_is_told_from_an_own_root() {
        let secret = |cert: &str, roots: &str| Secret {
            data: Some(
                [("tls.crt", cert), ("ca.crt", roots)]
                    .map(|(key, text)| (key.to_owned(), ByteString(text.into())))
                    .into(),
            ),
            ..Secret::default()
        };
        for (own, roots) in [("A\n", "A\n"), ("A\n", "B\nA"), ("", "A"), ("A", "A")] {
            assert!(!is_given(&secret(own, roots)), "{own} {roots}");
        }
        assert!(is_given(&secret("A\n", "B\n")));
        assert!(!is_given(&Secret::default()));
    }
}
