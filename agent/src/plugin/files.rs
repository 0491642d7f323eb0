//! Files that appear whole or not at all.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::PluginError;

/// End of the name of a file that is being made. No container runtime reads it.
const NEW: &str = ".warren-new";
/// End of the name of a file as it was before.
const SAVED: &str = ".warren-saved";

/// Where the earlier content of `path` is kept.
pub fn saved(path: &Path) -> PathBuf {
    with_end(path, SAVED)
}

/// Copies a program unless it is there already; says whether it had to.
pub fn copy(source: &Path, target: &Path) -> Result<bool, PluginError> {
    let program = fs::read(source).map_err(|e| PluginError::io("read", source, e))?;
    let is_same =
        |m: &Metadata| m.is_file() && m.mode() & 0o777 == 0o755 && m.len() == program.len() as u64;
    if fs::symlink_metadata(target).is_ok_and(|m| is_same(&m))
        && fs::read(target).is_ok_and(|old| old == program)
    {
        return Ok(false);
    }
    write(target, &program, 0o755)?;
    Ok(true)
}

/// Removes a file; says whether there was one.
pub fn remove(path: &Path) -> Result<bool, PluginError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(PluginError::io("remove", path, e)),
    }
}

/// Writes `path` in place of whatever is there.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), PluginError> {
    let new = prepare(path, content, mode)?;
    rename(&new, path)
}

/// Renames a file over another one.
pub fn rename(from: &Path, to: &Path) -> Result<(), PluginError> {
    fs::rename(from, to).map_err(|e| PluginError::io("rename", from, e))?;
    // Without it a power cut may lose the rename, which the next start repairs.
    let _ = to
        .parent()
        .map(fs::File::open)
        .map(|d| d.and_then(|d| d.sync_all()));
    Ok(())
}

/// Writes `path` if it still has the content `expected`; false where it has another one, which stays.
///
/// The two files change places in one step, and only then is looked at what was there: whatever somebody else wrote up to that
/// moment is not lost.
pub fn replace(path: &Path, expected: &[u8], content: &[u8]) -> Result<bool, PluginError> {
    let read = |path: &Path| fs::read(path).map_err(|e| PluginError::io("read", path, e));
    let mode = fs::metadata(path).map_or(0o644, |m| m.mode() & 0o777);
    let new = prepare(path, content, mode)?;
    if let Err(error) = exchange(&new, path) {
        if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) {
            let _ = fs::remove_file(&new);
            return Err(PluginError::io("replace", path, error));
        }
        // A file system that cannot exchange.
        if read(path)? != expected {
            remove(&new)?;
            return Ok(false);
        }
        rename(&new, path)?;
        return Ok(true);
    }
    let kept = read(&new)? == expected;
    if !kept {
        exchange(&new, path).map_err(|e| PluginError::io("replace", path, e))?;
    }
    remove(&new)?;
    Ok(kept)
}

fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    Ok(renameat2(
        AT_FDCWD,
        a,
        AT_FDCWD,
        b,
        RenameFlags::RENAME_EXCHANGE,
    )?)
}

fn prepare(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf, PluginError> {
    let new = with_end(path, NEW);
    let failed = |e| PluginError::io("write", &new, e);
    remove(&new)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)
        .map_err(failed)?;
    // The mode given to open(2) is cut by the umask.
    file.set_permissions(fs::Permissions::from_mode(mode))
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    Ok(new)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
