//! What Helm remembers of an installation, and whose the mesh in the cluster is.

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use semver::Version;
use serde::Deserialize;

use super::cluster::Cluster;
use super::error::Error;
use super::helm::Helm;
use super::{CONTROLLER, RELEASES};

const OWNER: &str = "meta.helm.sh/release-name";
const OWNER_NAMESPACE: &str = "meta.helm.sh/release-namespace";

/// A release, as Helm tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Version of the chart, which is that of the mesh.
    pub version: String,
    /// `deployed`, `failed`, `pending-install` and so on.
    #[serde(default)]
    pub status: String,
}

impl Release {
    /// Whether a Helm is at work on it, or was ended in the middle.
    pub fn is_pending(&self) -> bool {
        self.status.starts_with("pending") || self.status == "uninstalling"
    }
}

/// Whose objects of the mesh the cluster has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// There are none.
    Nobody,
    /// Applied without Helm.
    Hand,
    /// A release and its namespace.
    Release(String, String),
}

/// The release `name`, if there is one in Helm's namespace.
///
/// # Errors
/// Helm fails, or answers something else than what it documents.
pub async fn find(helm: &Helm, name: &str) -> Result<Option<Release>, Error> {
    match helm.run("get metadata", &[name, "--output", "json"]).await {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| Error::Helm {
                command: "get metadata".to_owned(),
                why: format!("its answer cannot be read: {e}"),
            }),
        Err(Error::Helm { why, .. }) if why.contains("not found") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whose the mesh is: the one object of it that has the same name whatever the namespace is.
///
/// # Errors
/// The API server refuses to say.
pub async fn owner(cluster: &Cluster) -> Result<Owner, Error> {
    let api: Api<ClusterRole> = Api::all(cluster.client.clone());
    let role = api.get_opt(CONTROLLER).await;
    let role = role.map_err(|e| Error::api(format!("read the ClusterRole {CONTROLLER}"), &e))?;
    Ok(match role {
        None => Owner::Nobody,
        Some(role) => owner_of(role.metadata.annotations.unwrap_or_default()),
    })
}

fn owner_of(mut annotations: std::collections::BTreeMap<String, String>) -> Owner {
    match (
        annotations.remove(OWNER),
        annotations.remove(OWNER_NAMESPACE),
    ) {
        (Some(name), Some(namespace)) => Owner::Release(name, namespace),
        _ => Owner::Hand,
    }
}

/// Whether a mesh of somebody else is in the way of one in `namespace`.
///
/// # Errors
/// It is.
pub fn in_the_way(owner: &Owner, namespace: &str) -> Result<(), Error> {
    let (owner, remedy) = match owner {
        Owner::Nobody => return Ok(()),
        Owner::Release(name, place) if name == RELEASES[1] && place == namespace => return Ok(()),
        Owner::Release(name, place) if name == RELEASES[1] => (
            format!("in the namespace {place}"),
            format!("add `--namespace {place}`, or uninstall that one first"),
        ),
        Owner::Release(name, place) => (
            format!("Helm's release {name} in the namespace {place}"),
            format!("go on with `helm` and that name, or `helm uninstall {name} -n {place}` first"),
        ),
        Owner::Hand => (
            "which was not installed by Helm".to_owned(),
            "`warren render --set leave=true | kubectl apply -f -`, and when the agents are ready again `warren render | kubectl delete -f -`, \
             take it away"
                .to_owned(),
        ),
    };
    Err(Error::InTheWay { owner, remedy })
}

/// Whether this program's charts may follow `installed`: any newer version, and one minor version back.
///
/// # Errors
/// They may not.
pub fn may_follow(installed: &str, own: &str) -> Result<(), Error> {
    // A version that is none was not ours: Helm and the charts find out.
    let (Ok(installed), Ok(own)) = (Version::parse(installed), Version::parse(own)) else {
        return Ok(());
    };
    let near = own.major == installed.major && own.minor + 1 >= installed.minor;
    if own >= installed || near {
        return Ok(());
    }
    let oldest = format!("{}.{}", installed.major, installed.minor.saturating_sub(1));
    Err(Error::Downgrade {
        installed,
        own,
        oldest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_version_back_and_no_further() {
        for (installed, own) in [
            ("0.1.0", "0.1.0"),
            ("0.1.0", "1.4.0"),
            ("0.2.3", "0.2.0"),
            ("0.2.3", "0.1.0"),
            ("1.0.0-rc.1", "1.0.0"),
        ] {
            assert!(may_follow(installed, own).is_ok(), "{installed} {own}");
        }
        for (installed, own, oldest) in [
            ("0.3.0", "0.1.9", "0.2"),
            ("1.0.0", "0.9.0", "1.0"),
            ("2.1.0", "1.1.0", "2.0"),
        ] {
            let error = may_follow(installed, own).expect_err(installed).to_string();
            assert!(
                error.contains(&format!("not older than {oldest}")),
                "{error}"
            );
        }
    }

    #[test]
    fn whose_it_is_and_what_to_do() {
        let release = |name: &str, place: &str| Owner::Release(name.into(), place.into());
        assert!(in_the_way(&Owner::Nobody, "a").is_ok());
        assert!(in_the_way(&release("warren", "a"), "a").is_ok());
        for (owner, part) in [
            (release("warren", "b"), "--namespace b"),
            (release("mesh", "a"), "helm uninstall mesh -n a"),
            (Owner::Hand, "kubectl delete"),
        ] {
            let error = in_the_way(&owner, "a").expect_err("in the way").to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
