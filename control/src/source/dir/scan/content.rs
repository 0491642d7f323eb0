//! The text of one file. Whatever lies in the directory, reading it neither waits nor goes on without end.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Larger files are not read: a cluster's objects may be in as many files as they need.
pub const MAX_FILE: u64 = 64 << 20;

/// Why a file has no text.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Reading it might never end.
    #[error("it is a {0}, not a regular file")]
    Special(&'static str),
    /// Larger than is read.
    #[error("it has {}{length} bytes, and at most {limit} are read", if *grows { "more than " } else { "" })]
    TooLarge {
        /// Its size, or how much of it was read.
        length: u64,
        /// The most that is read.
        limit: u64,
        /// Whether there is more of it than its size says.
        grows: bool,
    },
    /// The system's word.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Unreadable {
    /// What to do about it.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Special(_) => "remove it, or put a regular file in its place",
            Self::TooLarge { .. } => "divide it into several files",
            Self::Io(_) => "correct it",
        }
    }
}

/// Reads a regular file of at most [`MAX_FILE`] bytes, following symbolic links.
///
/// # Errors
/// It is something else, larger, no UTF-8, or the system refuses.
pub fn read(path: &Path) -> Result<String, Unreadable> {
    // Opening a device may itself do something.
    regular(&fs::metadata(path)?)?;
    // What lies there may have changed since: opening a FIFO must not wait for its writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let meta = file.metadata()?;
    regular(&meta)?;
    bounded(&file, meta.len(), MAX_FILE)
}

fn regular(meta: &fs::Metadata) -> Result<(), Unreadable> {
    match kind(meta.file_type()) {
        None => Ok(()),
        Some(kind) => Err(Unreadable::Special(kind)),
    }
}

/// None: a regular file.
fn kind(of: FileType) -> Option<&'static str> {
    let kinds = [
        (of.is_dir(), "directory"),
        (of.is_fifo(), "named pipe"),
        (of.is_socket(), "socket"),
        (of.is_char_device(), "character device"),
        (of.is_block_device(), "block device"),
    ];
    let known = kinds.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind);
    known.or((!of.is_file()).then_some("special file"))
}

/// The size is no bound: the file may be growing, and those of /proc say that they are empty.
fn bounded(file: &File, length: u64, limit: u64) -> Result<String, Unreadable> {
    let too_large = |length, grows| Unreadable::TooLarge {
        length,
        limit,
        grows,
    };
    if length > limit {
        return Err(too_large(length, false));
    }
    let mut text = String::new();
    let read = file.take(limit + 1).read_to_string(&mut text)? as u64;
    if read > limit {
        return Err(too_large(limit, true));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_limit_holds_whatever_the_size_says() {
        let mut file = tempfile::NamedTempFile::new().expect("file");
        file.write_all(b"0123456789").expect("write");
        let of = |length, limit| {
            let file = File::open(file.path()).expect("open");
            bounded(&file, length, limit).map_err(|e| e.to_string())
        };
        assert_eq!(of(10, 10).as_deref(), Ok("0123456789"));
        let refused = of(10, 9).expect_err("too large");
        assert_eq!(refused, "it has 10 bytes, and at most 9 are read");
        let refused = of(0, 9).expect_err("more than it says");
        assert_eq!(refused, "it has more than 9 bytes, and at most 9 are read");
    }
}
