//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::install;

/// Installs a Warren mesh on a cluster, and shows what its processes know.
#[derive(Clone, Debug, Parser)]
#[command(name = "warren", version, max_term_width = 120)]
pub struct Arguments {
    /// Run directory of the processes to ask; without it and --lab, the one lab that is up, else /run/warren.
    #[arg(
        long,
        global = true,
        env = "WARREN_RUN_DIR",
        value_name = "DIR",
        conflicts_with = "lab"
    )]
    pub run_dir: Option<PathBuf>,
    /// Ask the processes of this lab.
    #[arg(long, global = true, env = "WARREN_LAB", value_name = "NAME")]
    pub lab: Option<String>,
    /// Only this node of the lab.
    #[arg(long, global = true, value_name = "NODE")]
    pub node: Option<String>,
    /// How to write the answer.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub output: Format,
    /// What to show.
    #[command(subcommand)]
    pub command: Command,
}

/// How to write an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Table,
    /// JSON, for programs.
    Json,
    /// YAML.
    Yaml,
}

/// What to show.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Every process: version, readiness, its stream from the controller, pods; and what the controller could not honour.
    Status {
        /// Also the details that each process adds.
        #[arg(short, long)]
        verbose: bool,
    },
    /// Workloads: pods and VMs that can be source or destination.
    Workloads(Filter),
    /// Services.
    Services(Filter),
    /// Policies, as the tunnels evaluate them.
    Policies(Filter),
    /// Certificates, with their validity and renewal.
    Certs(From),
    /// Live connections.
    Connections(From),
    /// The pinned BPF maps and how full they are.
    Maps,
    /// Shows or changes what the processes log, without restarting them.
    LogLevel {
        /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,warren_api::xds=debug`.
        #[arg(value_parser = warren_admin::logging::checked)]
        filter: Option<String>,
        /// Only these processes: control, agent, ztunnel or waypoint.
        #[arg(long, value_name = "COMPONENT")]
        from: Option<String>,
        /// Switches the log of the kernel programs; it comes with the agent's log.
        #[arg(long, value_name = "on|off", value_parser = switch)]
        kernel: Option<bool>,
    },
    /// The settings in force and the addresses served.
    Config(From),
    /// Puts the mesh on a cluster, by Helm, after a look at whether it can run there.
    Install(install::Deploy),
    /// Puts this version in place of the one that is installed; settings stay.
    Upgrade(install::Upgrade),
    /// Takes the mesh away, and everything that it made on the nodes and in the cluster.
    Uninstall(install::Uninstall),
    /// Prints the manifests of an installation, for `kubectl apply -f -`.
    Render(install::Render),
    /// Whether this machine can be a node of a mesh (exit status 1 where it cannot), and which objects the controller that runs here cannot honour; where none does, it says where to look instead.
    Check {
        /// The cgroup that the programs will be attached to; the root of the cgroup v2 hierarchy by default.
        #[arg(long, value_name = "PATH")]
        cgroup: Option<PathBuf>,
    },
}

/// Which objects, and who is asked.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Filter {
    /// Only this namespace.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Only names that contain this.
    pub name: Option<String>,
    /// Who is asked: control, agent, ztunnel or waypoint; by default the first of control, ztunnel, waypoint, agent that answers.
    #[arg(long, value_name = "COMPONENT")]
    pub from: Option<String>,
}

/// Who is asked.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct From {
    /// Only these processes: control, agent, ztunnel or waypoint.
    #[arg(long, value_name = "COMPONENT")]
    pub from: Option<String>,
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("`{other}` is neither on nor off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn bad_arguments_exit_with_2() {
        for bad in [
            &["warren"][..],
            &["warren", "frobnicate"],
            &["warren", "status", "-o", "xml"],
            &["warren", "log-level", "--kernel", "maybe"],
            &["warren", "log-level", "garbage"],
            &["warren", "log-level", "warren_api=loud"],
            &["warren", "--run-dir", "/x", "--lab", "y", "status"],
            &["warren", "install", "--set", "replicas"],
            &["warren", "install", "--timeout", "soon"],
            &["warren", "render", "--namespace", "A"],
            &["warren", "uninstall", "--yes"],
        ] {
            let error = Arguments::try_parse_from(bad).expect_err("bad arguments");
            assert_eq!(error.exit_code(), 2, "{bad:?}");
        }
    }
}
