//! The shared libraries that a program of this machine loads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Libraries and dynamic linker of `program`, as `ldd` finds them; none for a static program.
///
/// # Errors
/// `ldd` cannot be run, or a library is missing.
pub fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("run ldd")?;
    parse(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("libraries of {}", program.display()))
}

fn parse(text: &str) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if line.ends_with("not found") {
            bail!("{}", line.trim());
        }
        let path = line.split_once("=> ").map_or(line, |(_, path)| path).trim();
        if path.starts_with('/') {
            found.extend(path.split(" (").next().map(PathBuf::from));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ldd_prints() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f10)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f11)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(parse(text).unwrap(), expected.map(PathBuf::from).into());
        assert!(parse("\tnot a dynamic executable\n").unwrap().is_empty());
        assert!(parse("\tlibssl.so.3 => not found\n").is_err());
    }
}
