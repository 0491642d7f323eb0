//! What an image holds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Where a file's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Given here.
    Bytes(Vec<u8>),
    /// A file of this machine, read when the image is written.
    Path(PathBuf),
}

/// What is at a path of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Folder { mode: u32 },
    File { mode: u32, source: Source },
    Link { target: String },
}

/// Files of an image by their path, without a leading slash. Folders above an entry are made with it.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// A folder with the given permissions.
    pub fn folder(&mut self, path: &str, mode: u32) -> &mut Self {
        self.put(path, Entry::Folder { mode })
    }

    /// A file with the given permissions.
    pub fn file(&mut self, path: &str, mode: u32, source: Source) -> &mut Self {
        self.put(path, Entry::File { mode, source })
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> &mut Self {
        let target = target.to_owned();
        self.put(path, Entry::Link { target })
    }

    /// Whether something is at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_matches('/'))
    }

    /// A file of this machine under its own path and with its own permissions. Symbolic links on the way are followed: the
    /// image gets a plain file.
    ///
    /// # Errors
    /// There is no such file.
    pub fn machine_file(&mut self, path: &Path) -> Result<()> {
        let mode = fs::metadata(path)
            .with_context(|| format!("{} is to go into an image", path.display()))?
            .permissions()
            .mode();
        self.file(
            &path.to_string_lossy(),
            mode & 0o755,
            Source::Path(path.to_owned()),
        );
        Ok(())
    }

    /// A folder of this machine with everything in it for which `wanted` says so.
    ///
    /// # Errors
    /// It cannot be read, or holds something that is neither file, folder nor link.
    pub fn machine_folder(&mut self, path: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<()> {
        let entries = fs::read_dir(path)
            .with_context(|| format!("{} is to go into an image", path.display()))?;
        for entry in entries {
            let path = entry?.path();
            let kind = fs::symlink_metadata(&path)?.file_type();
            if !wanted(&path) {
                continue;
            }
            if kind.is_dir() {
                self.machine_folder(&path, wanted)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&path)?;
                self.link(&path.to_string_lossy(), &target.to_string_lossy());
            } else if kind.is_file() {
                self.machine_file(&path)?;
            } else {
                bail!("{} is neither file, folder nor link", path.display());
            }
        }
        Ok(())
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (path.as_str(), entry))
    }

    fn put(&mut self, path: &str, entry: Entry) -> &mut Self {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            let above = Entry::Folder { mode: 0o755 };
            self.entries.entry(path[..at].to_owned()).or_insert(above);
        }
        self.entries.insert(path.to_owned(), entry);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_they_hold() {
        let mut tree = Tree::default();
        tree.file("/usr/bin/tool", 0o755, Source::Bytes(vec![1]));
        tree.folder("usr", 0o700);
        let paths: Vec<&str> = tree.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["usr", "usr/bin", "usr/bin/tool"]);
        assert!(tree.has("/usr/bin"));
        let first = tree.entries().next();
        assert_eq!(first, Some(("usr", &Entry::Folder { mode: 0o700 })));
    }
}
