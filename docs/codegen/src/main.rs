//! Writes `docs/reference/*.md`. `--check` writes nothing and fails where a committed page differs from what would be written.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("warren-docs: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => bail!("unknown argument `{other}`; the only one is --check"),
    };
    let dir = warren_docs::reference();
    let fresh: BTreeMap<String, String> = warren_docs::pages()?.into_iter().collect();
    let committed = read(&dir)?;
    let names = committed.keys().chain(fresh.keys());
    let mut stale: Vec<&str> = names
        .filter(|name| committed.get(*name) != fresh.get(*name))
        .map(String::as_str)
        .collect();
    stale.sort_unstable();
    stale.dedup();
    if check && !stale.is_empty() {
        let stale = stale.join(", ");
        bail!("docs/reference is stale: {stale}; run `cargo xtask generate` and commit the result");
    }
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    for name in stale {
        let path = dir.join(name);
        let done = match fresh.get(name) {
            Some(text) => fs::write(&path, text),
            None => fs::remove_file(&path),
        };
        done.with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The pages that are there.
fn read(dir: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        pages.insert(name.into_owned(), text);
    }
    Ok(pages)
}
