//! Writes `api/src/gen/*.rs` from `api/proto/*.proto`, without `protoc`. `--check` writes nothing and fails where a
//! committed file differs from what would be written.
//!
//! ```text
//! api/proto/*.proto --protox--> descriptors --tonic-prost-build--> api/src/gen/<package>.rs
//! ```
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PROTOS: [&str; 5] = [
    "authorization.proto",
    "ca.proto",
    "cri.proto",
    "discovery.proto",
    "workload.proto",
];

/// Why nothing was generated.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("api/proto does not compile: {0}")]
    Compile(#[from] protox::Error),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("code generation failed: {0}")]
    Generate(io::Error),
    #[error("stale: {0}; run `cargo run -p warren-codegen` and commit the result")]
    Stale(String),
    #[error("unknown argument `{0}`; the only one is --check")]
    Usage(String),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("warren-codegen: {e}");
            ExitCode::from(if matches!(e, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn run() -> Result<(), Error> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => return Err(Error::Usage(other.to_owned())),
    };
    let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let fresh = generate(&api.join("proto"))?;
    let target = api.join("src/gen");
    if check {
        compare(&target, &fresh)
    } else {
        write(&target, &fresh)
    }
}

/// The generated files by name. Well-known types come from `prost-types`.
fn generate(protos: &Path) -> Result<BTreeMap<String, String>, Error> {
    let descriptors = protox::compile(PROTOS, [protos])?;
    let out = tempfile::tempdir().map_err(Error::Generate)?;
    tonic_prost_build::configure()
        .out_dir(out.path())
        .bytes(".")
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .build_client(true)
        .build_server(true)
        .compile_fds(descriptors)
        .map_err(Error::Generate)?;
    let files = read_all(out.path())?;
    // Packages without messages of their own yield files without content.
    Ok(files
        .into_iter()
        .filter(|(name, _)| !name.starts_with("google."))
        .collect())
}

fn read_all(dir: &Path) -> Result<BTreeMap<String, String>, Error> {
    let at = |path: &Path, source| Error::File {
        path: path.to_owned(),
        source,
    };
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(|e| at(dir, e))? {
        let path = entry.map_err(|e| at(dir, e))?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            files.insert(name, fs::read_to_string(&path).map_err(|e| at(&path, e))?);
        }
    }
    Ok(files)
}

fn compare(target: &Path, fresh: &BTreeMap<String, String>) -> Result<(), Error> {
    let committed = read_all(target)?;
    let names = committed.keys().chain(fresh.keys());
    let mut stale: Vec<&str> = names
        .filter(|n| committed.get(*n) != fresh.get(*n))
        .map(String::as_str)
        .collect();
    stale.sort_unstable();
    stale.dedup();
    if stale.is_empty() {
        Ok(())
    } else {
        Err(Error::Stale(stale.join(", ")))
    }
}

fn write(target: &Path, fresh: &BTreeMap<String, String>) -> Result<(), Error> {
    fs::create_dir_all(target).map_err(|source| Error::File {
        path: target.to_owned(),
        source,
    })?;
    for (name, text) in fresh {
        let path = target.join(name);
        fs::write(&path, text).map_err(|source| Error::File {
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}
