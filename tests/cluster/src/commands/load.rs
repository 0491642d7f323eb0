//! `load-images`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::commands::node;
use crate::layout::Layout;
use crate::plan::Plan;
use crate::{binaries, out, program};

#[derive(Debug, clap::Args)]
pub(super) struct LoadArgs {
    /// OCI image archives
    #[arg(required = true)]
    archives: Vec<PathBuf>,
}

pub(super) fn command(args: &LoadArgs, layout: &Layout) -> Result<ExitCode> {
    load(&args.archives, layout)?;
    Ok(ExitCode::SUCCESS)
}

/// Gives image archives to every node.
///
/// # Errors
/// A file is missing, a node is off, or containerd refuses the image.
pub fn load(archives: &[PathBuf], layout: &Layout) -> Result<()> {
    let ctr = binaries::ensure()?.program("ctr")?.display().to_string();
    for archive in archives {
        let path = archive
            .canonicalize()
            .with_context(|| archive.display().to_string())?;
        if !path.is_file() {
            bail!("{} is no file", path.display());
        }
        let file = std::fs::File::open(&path)?;
        for node in &Plan::load(layout)?.nodes {
            // By standard input: a node does not see every folder of this machine.
            let mut command = node::enter(layout, node)?;
            command.args([&ctr, "--namespace=k8s.io", "images", "import", "-"]);
            command.stdin(rewound(&file)?);
            program::output(&mut command)
                .with_context(|| format!("give {} to node {node}", path.display()))?;
            out::line(format_args!("{node}: {}", path.display()));
        }
    }
    Ok(())
}

/// Gives an image that every node has another name.
///
/// # Errors
/// A node is off, or has no such image.
pub(crate) fn tag(image: &str, name: &str, layout: &Layout) -> Result<()> {
    let ctr = binaries::ensure()?.program("ctr")?.display().to_string();
    for node in &Plan::load(layout)?.nodes {
        let mut command = node::enter(layout, node)?;
        command.args([&ctr, "--namespace=k8s.io", "images", "tag", "--force"]);
        program::output(command.args([image, name]))?;
    }
    Ok(())
}

fn rewound(file: &std::fs::File) -> Result<std::fs::File> {
    use std::io::Seek as _;
    let mut copy = file.try_clone()?;
    copy.rewind()?;
    Ok(copy)
}
