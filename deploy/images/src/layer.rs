//! A tree as a layer: a tar archive without anything that differs from machine to machine.

use std::fs::File;
use std::io::{self, Write};

use anyhow::{Context as _, Result};
use tar::{Builder, EntryType, Header};

use crate::tree::{Entry, Source, Tree};

/// Writes the layer.
pub(crate) fn write(tree: &Tree, to: impl Write) -> Result<()> {
    let mut tar = Builder::new(to);
    for (path, entry) in tree.entries() {
        append(&mut tar, path, entry).with_context(|| format!("{path} in the image"))?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

fn append(tar: &mut Builder<impl Write>, path: &str, entry: &Entry) -> Result<()> {
    match entry {
        Entry::Folder { mode } => {
            let mut header = header(EntryType::Directory, *mode, 0);
            tar.append_data(&mut header, format!("{path}/"), io::empty())?;
        }
        Entry::Link { target } => {
            let mut header = header(EntryType::Symlink, 0o777, 0);
            tar.append_link(&mut header, path, target)?;
        }
        Entry::File { mode, source } => match source {
            Source::Bytes(bytes) => {
                let mut header = header(EntryType::Regular, *mode, bytes.len() as u64);
                tar.append_data(&mut header, path, bytes.as_slice())?;
            }
            Source::Path(from) => {
                let file = File::open(from).with_context(|| from.display().to_string())?;
                let mut header = header(EntryType::Regular, *mode, file.metadata()?.len());
                tar.append_data(&mut header, path, file)?;
            }
        },
    }
    Ok(())
}

/// Owner root, time 0.
pub(crate) fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}
