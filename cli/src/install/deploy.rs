//! `warren install`, `warren upgrade` and `warren render`.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::arguments::{Deploy, Render, Target, Upgrade, Values, Waiting};
use super::charts::Charts;
use super::cluster::{Cluster, Right};
use super::error::Error;
use super::helm::{self, Helm};
use super::release::{self, Release};
use super::{RELEASES, preflight, progress, say};

/// What Helm makes on behalf of the charts.
const RIGHTS: &[Right] = &[
    ("create", "", "namespaces", false),
    (
        "create",
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        false,
    ),
    ("create", "rbac.authorization.k8s.io", "clusterroles", false),
    (
        "create",
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        false,
    ),
    (
        "create",
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        false,
    ),
    ("create", "apps", "daemonsets", true),
    ("create", "apps", "deployments", true),
    ("create", "", "secrets", true),
];

/// Puts both charts on a cluster that has no mesh yet.
pub async fn install(arguments: &Deploy) -> Result<(), Error> {
    let Deploy {
        target,
        values,
        waiting,
        ..
    } = arguments;
    let (helm, charts) = tools(target, values).await?;
    let cluster = Cluster::connect(target).await?;
    let namespace = &target.namespace;
    release::in_the_way(&release::owner(&cluster).await?, namespace)?;
    if let Some(Release { version, status }) = release::find(&helm, RELEASES[1]).await? {
        return Err(Error::Installed {
            version,
            namespace: namespace.clone(),
            status,
        });
    }
    cluster.may(namespace, RIGHTS).await?;
    preflight::run(&cluster, namespace, arguments.skip_checks).await?;
    if waiting.dry_run {
        return dry_run(&helm, &charts, values, &[]).await;
    }
    preflight::make_namespace(&cluster, namespace).await?;
    say("installing the kinds of objects (warren-crds)");
    crds(&helm, &charts).await?;
    say("installing the mesh (warren)");
    let mut words = helm::values_of(values);
    words.extend(waits(waiting));
    mesh(&helm, &charts, "install", words, &cluster, target, waiting).await?;
    say(format_args!(
        "Warren {} is installed in {namespace}; `kubectl label namespace NAME warren.dev/mesh=enabled` lets a namespace in",
        env!("CARGO_PKG_VERSION")
    ));
    Ok(())
}

/// Puts this program's charts in place of those that are installed; the settings stay.
pub async fn upgrade(arguments: &Upgrade) -> Result<(), Error> {
    let Upgrade {
        target,
        values,
        waiting,
    } = arguments;
    let (helm, charts) = tools(target, values).await?;
    let cluster = Cluster::connect(target).await?;
    let installed = installed(&helm, &cluster, &target.namespace).await?;
    if installed.is_pending() {
        return Err(Error::Pending {
            status: installed.status,
            namespace: target.namespace.clone(),
        });
    }
    let own = env!("CARGO_PKG_VERSION");
    release::may_follow(&installed.version, own)?;
    cluster.may(&target.namespace, RIGHTS).await?;
    // An uninstallation that was broken off has told the agents to leave when they end.
    let kept = ["--reset-then-reuse-values", "--set", "leave=false"];
    if waiting.dry_run {
        return dry_run(&helm, &charts, values, &kept).await;
    }
    say("upgrading the kinds of objects (warren-crds)");
    crds(&helm, &charts).await?;
    say(format_args!(
        "upgrading the mesh (warren) from {} to {own}",
        installed.version
    ));
    let mut words: Vec<OsString> = kept.iter().map(OsString::from).collect();
    words.extend(helm::values_of(values));
    words.extend(waits(waiting));
    mesh(&helm, &charts, "upgrade", words, &cluster, target, waiting).await?;
    say(format_args!("Warren is {own} now"));
    Ok(())
}

/// Writes both charts' manifests, and the namespace that they are in.
pub async fn render(arguments: &Render) -> Result<(), Error> {
    let helm = Helm::find(&arguments.helm, &arguments.namespace).await?;
    let charts = Charts::write()?;
    let text = helm.render(&charts, &arguments.values).await?;
    let namespace = preflight::namespace_yaml(&arguments.namespace);
    write_out(&format!("{namespace}{text}"))
}

/// The release of the mesh, which has to be there.
pub async fn installed(helm: &Helm, cluster: &Cluster, namespace: &str) -> Result<Release, Error> {
    release::in_the_way(&release::owner(cluster).await?, namespace)?;
    let found = release::find(helm, RELEASES[1]).await?;
    found.ok_or_else(|| Error::NotInstalled {
        namespace: namespace.to_owned(),
        found: None,
    })
}

/// Go takes seconds as we do.
pub fn seconds(time: Duration) -> OsString {
    format!("{}s", time.as_secs()).into()
}

/// Helm and the charts, after a look at the settings, which needs no cluster.
async fn tools(target: &Target, values: &Values) -> Result<(Helm, Charts), Error> {
    let helm = Helm::of(target).await?;
    let charts = Charts::write()?;
    helm.render(&charts, values).await?;
    Ok((helm, charts))
}

async fn crds(helm: &Helm, charts: &Charts) -> Result<(), Error> {
    let words: [OsString; 3] = ["--install".into(), RELEASES[0].into(), charts.crds().into()];
    helm.run("upgrade", &words).await.map(drop)
}

async fn mesh(
    helm: &Helm,
    charts: &Charts,
    command: &str,
    rest: Vec<OsString>,
    cluster: &Cluster,
    target: &Target,
    waiting: &Waiting,
) -> Result<(), Error> {
    let mut words: Vec<OsString> = vec![RELEASES[1].into(), charts.mesh().into()];
    words.extend(rest);
    let work = helm.run(command, &words);
    if !waiting.wait {
        return work.await.map(drop);
    }
    let done = progress::during(cluster, &target.namespace, work).await;
    match done {
        Ok(_) => Ok(()),
        Err(Error::Helm { command, why }) => {
            let state = progress::state(cluster, &target.namespace)
                .await
                .unwrap_or_default();
            let why = if state.is_empty() {
                why
            } else {
                format!("{why}; not ready: {state}")
            };
            Err(Error::Helm { command, why })
        }
        Err(error) => Err(error),
    }
}

fn waits(waiting: &Waiting) -> Vec<OsString> {
    let mut words = vec!["--timeout".into(), seconds(waiting.timeout)];
    if waiting.wait {
        words.push("--wait".into());
    }
    words
}

async fn dry_run(
    helm: &Helm,
    charts: &Charts,
    values: &Values,
    kept: &[&str],
) -> Result<(), Error> {
    let one = async |name: &str, chart: &Path, rest: Vec<OsString>| {
        let mut words: Vec<OsString> = vec!["--install".into(), name.into(), chart.into()];
        words.push("--dry-run=server".into());
        words.extend(rest);
        helm.run("upgrade", &words).await
    };
    let crds = one(RELEASES[0], &charts.crds(), Vec::new()).await?;
    let mut words: Vec<OsString> = kept.iter().map(OsString::from).collect();
    words.extend(helm::values_of(values));
    let mesh = one(RELEASES[1], &charts.mesh(), words).await?;
    write_out(&(crds + &mesh))
}

fn write_out(text: &str) -> Result<(), Error> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
