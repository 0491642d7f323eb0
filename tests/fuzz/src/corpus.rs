//! Committed inputs: one directory a target, one file an input.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The committed corpora.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Inputs below `dir` (none where it does not exist), by file name.
///
/// # Errors
/// A file cannot be read.
pub fn load(dir: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths
        .into_iter()
        .map(|path| Ok((path.clone(), fs::read(&path)?)))
        .collect()
}

/// Writes an input under a name made of its content (FNV-1a, 64 bits); returns where.
///
/// # Errors
/// The directory cannot be written.
pub fn save(dir: &Path, input: &[u8]) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
    });
    let path = dir.join(format!("{hash:016x}"));
    fs::write(&path, input)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_once() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), b"one").unwrap();
        save(dir.path(), b"one").unwrap();
        save(dir.path(), b"two").unwrap();
        let inputs: Vec<Vec<u8>> = load(dir.path())
            .unwrap()
            .into_iter()
            .map(|(_, input)| input)
            .collect();
        assert_eq!(inputs.len(), 2);
        assert!(inputs.contains(&b"one".to_vec()));
        assert!(load(&dir.path().join("none")).unwrap().is_empty());
    }
}
