//! `warren uninstall`: first the agents get ready to leave, then the mesh goes, then what is left.

use std::ffi::OsString;

use super::arguments::Uninstall;
use super::cluster::{Cluster, Right};
use super::deploy::seconds;
use super::error::Error;
use super::helm::Helm;
use super::release::{self, Release};
use super::{RELEASES, leave, leftovers, purge, say};

const RIGHTS: &[Right] = &[
    ("delete", "rbac.authorization.k8s.io", "clusterroles", false),
    (
        "delete",
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        false,
    ),
    ("list", "", "configmaps", false),
    ("delete", "", "configmaps", false),
    ("list", "", "events", false),
    ("delete", "", "events", false),
    (
        "delete",
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        false,
    ),
    ("delete", "apps", "daemonsets", true),
    ("delete", "apps", "deployments", true),
    ("delete", "", "secrets", true),
    ("delete", "coordination.k8s.io", "leases", true),
];
const PURGE: &[Right] = &[(
    "delete",
    "apiextensions.k8s.io",
    "customresourcedefinitions",
    false,
)];

/// Takes the mesh away.
pub async fn run(arguments: &Uninstall) -> Result<(), Error> {
    let namespace = &arguments.target.namespace;
    let helm = Helm::of(&arguments.target).await?;
    let cluster = Cluster::connect(&arguments.target).await?;
    release::in_the_way(&release::owner(&cluster).await?, namespace)?;
    let mesh = release::find(&helm, RELEASES[1]).await?;
    let crds = release::find(&helm, RELEASES[0]).await?;
    cluster.may(namespace, RIGHTS).await?;
    let policies = purge::count(&cluster).await?;
    if arguments.purge_crds {
        cluster.may(namespace, PURGE).await?;
        if !policies.is_empty() && !arguments.yes {
            return Err(Error::Policies { what: policies });
        }
    }
    let purges = arguments.purge_crds && crds.is_some();
    if let Some(release) = &mesh {
        take_away(arguments, &helm, &cluster, release).await?;
    }
    // An uninstallation by Helm alone leaves these as well.
    let left = leftovers::remove(&cluster, namespace).await?;
    if mesh.is_none() && left == 0 && !purges {
        return Err(Error::NotInstalled {
            namespace: namespace.clone(),
            found: None,
        });
    }
    say(format_args!(
        "removed what the controller had made: {left} objects"
    ));
    if purges {
        say(format_args!(
            "removing the kinds of objects (warren-crds){}",
            lost(&policies)
        ));
        uninstall(arguments, &helm, RELEASES[0]).await?;
        if purge::namespace(&cluster, namespace).await? {
            say(format_args!("removed the namespace {namespace}"));
        }
    } else if crds.is_some() {
        let kept = if policies.is_empty() {
            String::new()
        } else {
            format!(" ({policies})")
        };
        say(format_args!(
            "the kinds of objects{kept} and the namespace stay; --purge-crds removes them as well"
        ));
    }
    say("Warren is uninstalled; labels warren.dev/… on namespaces and pods stay as they are");
    Ok(())
}

async fn take_away(
    arguments: &Uninstall,
    helm: &Helm,
    cluster: &Cluster,
    release: &Release,
) -> Result<(), Error> {
    let namespace = &arguments.target.namespace;
    if arguments.skip_leave {
        say("agents are not told to leave: what the mesh made on their nodes stays there");
    } else if release.is_pending() {
        return Err(Error::Pending {
            status: release.status.clone(),
            namespace: namespace.clone(),
        });
    } else {
        leave::prepare(helm, cluster, namespace, release, arguments.timeout).await?;
    }
    say("removing the mesh (warren), and waiting for its pods to end");
    uninstall(arguments, helm, RELEASES[1]).await?;
    leave::gone(cluster, namespace, arguments.timeout).await
}

async fn uninstall(arguments: &Uninstall, helm: &Helm, release: &str) -> Result<(), Error> {
    let mut words: Vec<OsString> = [release, "--cascade", "foreground", "--wait", "--timeout"]
        .map(OsString::from)
        .into();
    words.push(seconds(arguments.timeout));
    helm.run("uninstall", &words).await.map(drop)
}

fn lost(policies: &str) -> String {
    if policies.is_empty() {
        return String::new();
    }
    format!(", and with them {policies}")
}
