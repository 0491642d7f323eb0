//! `images`: the mesh's container images, as OCI archives; no container engine, no registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;

use crate::run::{cargo, root, run, target};
use crate::{build, setup};

const REPOSITORY: &str = "warren.dev";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Cargo profile: `ship` is small and fast, `release` and `dev` are quicker to build
    #[arg(long, default_value = "ship")]
    pub(crate) profile: String,
    /// Folder for the archives
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// What the images' names begin with
    #[arg(long, default_value = REPOSITORY)]
    repository: String,
    /// The images' tag: the version unless given
    #[arg(long)]
    tag: Option<String>,
    /// Also copy the programs and the kernel object into this folder
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Only these images
    #[arg(long, value_name = "IMAGE")]
    only: Vec<String>,
}

/// A development build whose dependencies are not optimised either: compiling them is most of the work.
const QUICK: [&str; 4] = [
    "--config",
    "profile.dev.package.'*'.opt-level=0",
    "--config",
    "profile.dev.debug=false",
];

/// Builds the programs statically and writes an archive each.
pub(crate) fn command(args: &Args) -> anyhow::Result<ExitCode> {
    write(args, &[])
}

fn write(args: &Args, options: &[&str]) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    setup::compilers()?;
    build::kernel_programs()?;
    let wanted: Vec<warren_images::Component> = warren_images::components()
        .iter()
        .filter(|component| {
            args.only.is_empty() || args.only.iter().any(|name| name == component.image)
        })
        .copied()
        .collect();
    anyhow::ensure!(
        !wanted.is_empty(),
        "no image is called {}",
        args.only.join(" or ")
    );
    let programs = programs(&wanted, &args.profile, options)?;
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| target().join("images"));
    let tag = args.tag.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    for component in &wanted {
        let image = component.image(&args.repository, tag, &programs, &build::object());
        let archive = output.join(format!("{}.tar", component.image));
        let digest = image.write(&archive)?;
        let size = fs::metadata(&archive)?.len() as f64 / 1e6;
        println!(
            "{}  {size:.1} MB  {}  {digest}",
            archive.display(),
            image.name
        );
    }
    if let Some(folder) = &args.programs {
        copy(&wanted, &programs, folder)?;
    }
    println!("took {} s", began.elapsed().as_secs());
    Ok(ExitCode::SUCCESS)
}

/// Builds every image quickly rather than well, and returns the folder of the archives.
pub(crate) fn for_tests() -> anyhow::Result<PathBuf> {
    let output = target().join("test-images");
    let args = Args {
        profile: "dev".into(),
        output: Some(output.clone()),
        repository: REPOSITORY.into(),
        tag: None,
        programs: None,
        only: Vec::new(),
    };
    write(&args, &QUICK)?;
    Ok(output)
}

/// Builds static programs in a target folder of their own, so that ordinary builds keep theirs; returns where they are.
fn programs(
    components: &[warren_images::Component],
    profile: &str,
    options: &[&str],
) -> anyhow::Result<PathBuf> {
    let folder = target().join("static");
    let triple = host()?;
    let mut command = cargo();
    command
        .args([
            "build",
            "--locked",
            "--quiet",
            "--profile",
            profile,
            "--target",
            &triple,
            "--target-dir",
        ])
        .arg(&folder)
        .args(options)
        .env("CARGO_ENCODED_RUSTFLAGS", flags());
    for component in components {
        command.args(["--package", component.package, "--bin", component.binary]);
        if let Some(also) = component.also {
            command.args(["--package", also, "--bin", also]);
        }
    }
    run(&mut command)?;
    // Cargo's name for the folder of the profile `dev`.
    let profile = if profile == "dev" { "debug" } else { profile };
    Ok(folder.join(triple).join(profile))
}

fn copy(components: &[warren_images::Component], from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for component in components {
        for program in std::iter::once(component.binary).chain(component.also) {
            fs::copy(from.join(program), to.join(program))?;
        }
        if component.kernel_object {
            fs::copy(build::object(), to.join("warren-ebpf"))?;
        }
    }
    Ok(())
}

/// Programs in an image have no C library beside them, and nothing in them says where they were built.
fn flags() -> String {
    let mut flags = vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=/warren", root().display()),
    ];
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    if let Some(home) = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))) {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    flags.join("\u{1f}")
}

/// This machine's target. It is named although it is the default: flags then leave build scripts and macros alone, which cannot be
/// static.
fn host() -> anyhow::Result<String> {
    let output =
        std::process::Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .arg("-vV")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .output()
            .context("run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV names no host")?.to_owned())
}
