//! Trying the cluster itself, without the mesh: what every later test takes for granted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::commands::{UpArgs, load, up};
use crate::kubectl::Kubectl;
use crate::layout::Layout;
use crate::machine::mounts;
use crate::tally::Tally;
use crate::workload_image::{self, WORKLOAD};
use crate::{binaries, interrupt, mesh, out, remove, wait};

mod checks;
mod mesh_images;
mod meshed;

const DEFAULT_NAME: &str = "smoke";
const LIMIT: Duration = Duration::from_secs(120);

/// How the cluster is tried.
#[derive(Debug, clap::Args)]
pub struct SmokeArgs {
    #[command(flatten)]
    up: UpArgs,
    /// Also try the mesh on it, with the images whose archives are in this folder
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// Leave the cluster up
    #[arg(long)]
    stay: bool,
}

/// Starts a cluster, tries it, removes it, and looks for remains. The last line counts.
///
/// # Errors
/// The cluster does not come up.
pub fn command(args: &SmokeArgs, name: Option<&str>) -> Result<ExitCode> {
    interrupt::watch()?;
    let layout = Layout::new(name.unwrap_or(DEFAULT_NAME));
    let mut tally = Tally::default();
    let began = Instant::now();
    up(&args.up, &layout)?;
    out::line(format_args!(
        "cluster up: {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    tried(&mut tally, args, &layout);
    Ok(end(tally, &layout, args.stay))
}

/// Takes the cluster down, unless it is to stay, and counts.
pub(crate) fn end(mut tally: Tally, layout: &Layout, stay: bool) -> ExitCode {
    if stay {
        out::line(format_args!(
            "export KUBECONFIG={}",
            layout.kubeconfig().display()
        ));
    } else {
        interrupt::forget();
        tally.step("down leaves nothing", || down(layout));
    }
    tally.end()
}

fn tried(tally: &mut Tally, args: &SmokeArgs, layout: &Layout) {
    let mut kubectl = None;
    tally.step("workload image on every node", || {
        kubectl = Some(Kubectl::new(
            &binaries::ensure()?.program("kubectl")?,
            layout,
        ));
        load_workload(layout)
    });
    let Some(kubectl) = kubectl else {
        return;
    };
    tally.step("pods of a Deployment ready on both nodes", || {
        deploy(&kubectl)
    });
    let pods = match checks::Pods::find(&kubectl) {
        Ok(pods) => pods,
        Err(error) => return tally.step("pods have addresses", || Err(error)),
    };
    tally.step("pod to pod across nodes, IPv4 and IPv6", || {
        pods.reach_each_other(&kubectl)
    });
    tally.step("Service across nodes, IPv4 and IPv6", || {
        pods.reach_services(&kubectl)
    });
    tally.step("DNS: A, AAAA, headless", || pods.resolve(&kubectl));
    tally.step("a pod reaches the API server with its token", || {
        pods.api(&kubectl)
    });
    tally.step("kubectl exec passes input, output and status", || {
        checks::exec(&kubectl)
    });
    tally.step("a pod is confined: seccomp, capabilities, memory", || {
        checks::confined(&kubectl)
    });
    tally.step("kubectl logs", || checks::logs(&kubectl));
    tally.step("a privileged pod sees the node", || {
        checks::privileged(&kubectl)
    });
    if let Some(folder) = &args.images {
        tally.step("the mesh's images start", || {
            mesh_images::start(&kubectl, layout, folder)
        });
        with_mesh(tally, &kubectl, layout);
    }
    tally.step("a second cluster of the same name is refused", || {
        refused(args, layout)
    });
    tally.step("a node comes back after a power cut", || {
        checks::power_cut(&kubectl, layout)
    });
}

fn with_mesh(tally: &mut Tally, kubectl: &Kubectl, layout: &Layout) {
    tally.step("helm installs the mesh", || mesh::install(kubectl, layout));
    tally.step("pods of two nodes talk by mutual TLS", || {
        meshed::mutual_tls(kubectl)
    });
    tally.step("plaintext from outside is refused", || {
        meshed::strict(kubectl)
    });
    tally.step("helm uninstalls the mesh, and pods talk on", || {
        mesh::uninstall(layout)?;
        meshed::plaintext(kubectl)
    });
}

fn deploy(kubectl: &Kubectl) -> Result<()> {
    let objects = include_str!("smoke/objects.yaml")
        .replace("WORKLOAD_IMAGE", WORKLOAD)
        .replace("UNIFIED_CGROUP", &mounts::unified()?.to_string_lossy());
    kubectl.apply(&objects)?;
    wait::until("pods", LIMIT, &[], || {
        let path = "-o=jsonpath={.status.availableReplicas}";
        Ok(kubectl.run(&["get", "deployment", "web", path])? == "2")
    })
    .with_context(|| {
        kubectl
            .run(&["get", "pods,events", "-o=wide"])
            .unwrap_or_default()
    })
}

fn refused(args: &SmokeArgs, layout: &Layout) -> Result<()> {
    match up(&args.up, layout) {
        Err(error) if error.to_string().contains("is up") => Ok(()),
        Err(error) => Err(error),
        Ok(()) => bail!("it was started"),
    }
}

/// Gives the image of test workloads to every node.
pub(crate) fn load_workload(layout: &Layout) -> Result<()> {
    let archive = layout.dir().join("workload.tar");
    workload_image::write(&archive)?;
    load::load(&[archive], layout)
}

/// Takes a cluster down and looks for remains.
fn down(layout: &Layout) -> Result<()> {
    remove::remove(layout)?;
    let left = remove::remains(layout);
    ensure!(left.is_empty(), "left: {}", left.join(", "));
    let processes = processes(&layout.dir());
    ensure!(
        processes.is_empty(),
        "processes left: {}",
        processes.join(", ")
    );
    Ok(())
}

/// Command lines that name a path below `folder`.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string() + "/";
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let lines = entries
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&folder))
        .collect()
}
