//! The mesh end to end: suites that need a real API server, scheduler and kubelets. Each tells what it measured.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::commands::{UpArgs, up};
use crate::kubectl::Kubectl;
use crate::layout::Layout;
use crate::plan::Cni;
use crate::tally::Tally;
use crate::{binaries, interrupt, mesh, smoke};

mod cni;
mod control;
mod drain;
mod examples;
mod figures;
mod host_network;
mod ingress;
mod install;
mod jobs;
mod label;
mod load;
mod probes;
mod reboot;
mod rollout;
mod root;
mod scale;
mod scenarios;
mod stateful;
mod uninstall;
mod upgrade;
mod webhook;
mod world;

use world::World;

const DEFAULT_NAME: &str = "suites";
/// As the examples and the lab's manifests call them.
const NODES: [&str; 2] = ["a", "b"];

/// Which suites run, and on what.
#[derive(Debug, clap::Args)]
pub struct SuitesArgs {
    /// Folder of the mesh's image archives
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,
    /// Only suites whose name has this in it; several are alternatives
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Use the cluster if it is up, with the mesh on it, and leave it up
    #[arg(long)]
    stay: bool,
}

/// One suite.
struct Suite {
    name: &'static str,
    /// Returns what it measured.
    run: fn(&World) -> Result<String>,
}

/// In the order in which they run. The last ones leave the mesh otherwise than they found it.
const SUITES: &[Suite] = &[
    Suite {
        name: "figures: a pod's start and first use",
        run: figures::starts,
    },
    Suite {
        name: "probes under STRICT",
        run: probes::run,
    },
    Suite {
        name: "a policy that is wrong is refused",
        run: webhook::run,
    },
    Suite {
        name: "host network",
        run: host_network::run,
    },
    Suite {
        name: "ingress in front of STRICT",
        run: ingress::run,
    },
    Suite {
        name: "Job with init containers",
        run: jobs::run,
    },
    Suite {
        name: "StatefulSet by name",
        run: stateful::run,
    },
    Suite {
        name: "examples of the documentation",
        run: examples::run,
    },
    Suite {
        name: "a namespace is labelled under load",
        run: label::run,
    },
    Suite {
        name: "rolling restart of a Deployment under load",
        run: rollout::run,
    },
    Suite {
        name: "rolling restart of the agents under load",
        run: upgrade::agents,
    },
    Suite {
        name: "rolling restart of the tunnels under load",
        run: upgrade::tunnels,
    },
    Suite {
        name: "upgrade to other images under load",
        run: upgrade::images,
    },
    Suite {
        name: "two controllers are replaced and killed under load",
        run: control::two,
    },
    Suite {
        name: "the root is changed under load",
        run: root::changed,
    },
    Suite {
        name: "a node is drained under load",
        run: drain::run,
    },
    Suite {
        name: "scale 0, 50, 0",
        run: scale::run,
    },
    Suite {
        name: "CNI by hand: nonsense, twice, gone",
        run: cni::by_hand,
    },
    Suite {
        name: "CNI while the agent is away or hangs",
        run: cni::without_agent,
    },
    Suite {
        name: "the lab's scenarios",
        run: scenarios::run,
    },
    Suite {
        name: "figures: memory",
        run: figures::memory,
    },
    Suite {
        name: "a node restarts without the controller",
        run: reboot::run,
    },
    Suite {
        name: "uninstall under load",
        run: uninstall::run,
    },
];

/// Starts a cluster with the mesh, runs the suites, removes it.
///
/// # Errors
/// The cluster does not come up, or no suite has such a name.
pub fn command(args: &SuitesArgs, name: Option<&str>) -> Result<ExitCode> {
    interrupt::watch()?;
    let wanted = |suite: &&Suite| {
        args.only.is_empty() || args.only.iter().any(|text| suite.name.contains(text))
    };
    let suites: Vec<&Suite> = SUITES.iter().filter(wanted).collect();
    ensure!(
        !suites.is_empty(),
        "no suite's name has {} in it",
        args.only.join(" or ")
    );
    let layout = Layout::new(name.unwrap_or(DEFAULT_NAME));
    let mut tally = Tally::default();
    let kubectl = Kubectl::new(&binaries::ensure_all()?.program("kubectl")?, &layout);
    let there = args.stay && is_up(&kubectl);
    let world = World::new(kubectl, layout.clone());
    if there {
        smoke::load_workload(&layout)?;
    } else {
        start(&mut tally, args, &world)?;
    }
    if tally.failed() == 0 {
        for suite in suites {
            tally.measured(suite.name, || (suite.run)(&world));
        }
    }
    Ok(smoke::end(tally, &layout, args.stay))
}

fn is_up(kubectl: &Kubectl) -> bool {
    let agents = [
        "get",
        "daemonset",
        "warren-agent",
        "--namespace",
        mesh::SYSTEM,
    ];
    kubectl.run(&agents).is_ok()
}

fn start(tally: &mut Tally, args: &SuitesArgs, world: &World) -> Result<()> {
    let shape = UpArgs {
        nodes: NODES.map(str::to_owned).to_vec(),
        cni: Cni::default(),
        image: Vec::new(),
        keep: false,
    };
    up(&shape, &world.layout)?;
    tally.step("images on every node", || {
        smoke::load_workload(&world.layout)?;
        mesh::load_images(&world.layout, &args.images)
    });
    tally.measured("helm installs the mesh under load", || install::run(world));
    Ok(())
}
