//! The image of test workloads: clients and servers from this machine's Debian packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use warren_images::{Image, Source, Tree, libraries};

use crate::{out, program};

/// The image's name.
pub const WORKLOAD: &str = "warren.dev/cluster-workload:1";

/// What it holds besides busybox, whose applets fill all other names. Names of Debian's packages are in `cargo xtask setup`.
const PROGRAMS: &[&str] = &[
    "/usr/bin/curl",
    "/usr/bin/nc.openbsd",
    "/usr/bin/openssl",
    "/usr/bin/python3",
    "/usr/bin/redis-cli",
    "/usr/bin/redis-server",
    "/usr/bin/socat",
    "/usr/bin/wrk",
    "/usr/bin/nghttp",
    "/usr/sbin/nghttpd",
    "/usr/bin/h2load",
];
const BUSYBOX: &str = "/usr/bin/busybox";
/// Servers and clients of the suites, run by Python.
const SCRIPTS: &[(&str, &str)] = &[
    ("web", include_str!("workload_image/web.py")),
    ("load", include_str!("workload_image/load.py")),
    ("health", include_str!("workload_image/health.py")),
];

/// Writes the archive and says what it is called.
pub(crate) fn command(archive: &Path) -> Result<ExitCode> {
    let digest = write(archive)?;
    out::line(format_args!("{}  {WORKLOAD}  {digest}", archive.display()));
    Ok(ExitCode::SUCCESS)
}

/// Writes the archive; the same packages give the same bytes. Returns the manifest's digest.
///
/// # Errors
/// A program is not installed, or the archive cannot be written.
pub fn write(archive: &Path) -> Result<String> {
    let mut tree = Tree::default();
    tree.folder("tmp", 0o1777);
    tree.folder("run", 0o755);
    tree.file(
        "etc/passwd",
        0o644,
        text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
    );
    tree.file("etc/group", 0o644, text("root:x:0:\nnogroup:x:65534:\n"));
    tree.file("etc/nsswitch.conf", 0o644, text("hosts: files dns\n"));
    let mut needed = BTreeSet::new();
    for path in PROGRAMS {
        add(&mut tree, &mut needed, Path::new(path))
            .with_context(|| format!("{path}: `cargo xtask setup` installs it"))?;
    }
    python(&mut tree, &mut needed)?;
    for library in needed {
        tree.machine_file(&library)?;
    }
    tree.link("usr/bin/nc", "nc.openbsd");
    for (name, script) in SCRIPTS {
        tree.file(&format!("tests/{name}.py"), 0o644, text(script));
    }
    // What the examples' web server serves.
    tree.folder("etc/skel", 0o755);
    busybox(&mut tree)?;
    let image = Image {
        name: WORKLOAD.to_owned(),
        tree,
        arguments: vec!["sleep".into(), "infinity".into()],
        environment: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".into()],
        ..Image::default()
    };
    image.write(archive)
}

fn text(text: &str) -> Source {
    Source::Bytes(text.as_bytes().to_vec())
}

fn add(tree: &mut Tree, needed: &mut BTreeSet<PathBuf>, path: &Path) -> Result<()> {
    needed.extend(libraries(path)?);
    tree.machine_file(path)
}

/// The standard library, and what its compiled modules load. Test suites, editors and caches stay behind.
fn python(tree: &mut Tree, needed: &mut BTreeSet<PathBuf>) -> Result<()> {
    const LEFT_OUT: &[&str] = &[
        "__pycache__",
        "test",
        "tests",
        "idlelib",
        "lib2to3",
        "tkinter",
        "ensurepip",
        "dist-packages",
        "EXTERNALLY-MANAGED",
    ];
    let print = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let library = program::output(Command::new("/usr/bin/python3").args(["-I", "-c", print]))?;
    let library = Path::new(library.trim());
    let wanted = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Links lead to places that are not in the image.
        !LEFT_OUT.contains(&&*name) && !path.is_symlink() && !name.starts_with("config-")
    };
    tree.machine_folder(library, &wanted)?;
    for entry in std::fs::read_dir(library.join("lib-dynload"))? {
        needed.extend(libraries(&entry?.path())?);
    }
    Ok(())
}

fn busybox(tree: &mut Tree) -> Result<()> {
    let list = program::output(Command::new(BUSYBOX).arg("--list"))
        .context("`cargo xtask setup` installs busybox-static")?;
    tree.machine_file(Path::new(BUSYBOX))?;
    for applet in list.lines().filter(|applet| *applet != "busybox") {
        let taken = ["usr/bin", "usr/sbin", "bin", "sbin"]
            .iter()
            .any(|folder| tree.has(&format!("{folder}/{applet}")));
        if !taken {
            tree.link(&format!("bin/{applet}"), BUSYBOX);
        }
    }
    Ok(())
}
