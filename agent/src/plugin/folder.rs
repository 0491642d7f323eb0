//! The folder of CNI networks. A container runtime uses the first file in the order of names; so do we.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{PluginError, chain, files};

/// Attempts beside somebody who writes at the same time.
const ATTEMPTS: u32 = 5;
/// Longest file that is read as a network, in bytes.
const MAX_NETWORK: u64 = 1024 * 1024;

/// Puts `entry` into the first network; returns the file if it had to be changed.
pub fn join(dir: &Path, entry: &Value) -> Result<Option<PathBuf>, PluginError> {
    let mut last = dir.to_owned();
    for _ in 0..ATTEMPTS {
        let Some(path) = networks(dir)?.into_iter().next() else {
            return Err(PluginError::NoNetwork {
                dir: dir.to_owned(),
            });
        };
        let text = read(&path)?;
        let joined = if is_list(&path) {
            join_list(&path, &text, entry)?
        } else {
            join_single(&path, &text, entry)?
        };
        match joined {
            Joined::Already => return Ok(None),
            Joined::Now(path) => return Ok(Some(path)),
            Joined::Changed => last = path,
        }
    }
    Err(PluginError::Busy { path: last })
}

/// Takes our entry out of every network, and returns the files that were changed. What is no network is passed over.
pub fn leave(dir: &Path) -> Result<Vec<PathBuf>, PluginError> {
    let mut changed = Vec::new();
    for path in networks(dir)?.into_iter().filter(|p| is_list(p)) {
        if leave_list(&path)? {
            changed.push(path);
        }
    }
    Ok(changed)
}

enum Joined {
    /// Nothing to do.
    Already,
    /// Done, in this file.
    Now(PathBuf),
    /// Somebody else has written meanwhile.
    Changed,
}

fn join_list(path: &Path, text: &[u8], entry: &Value) -> Result<Joined, PluginError> {
    let unusable = |problem| PluginError::not_usable(path, problem);
    let Some(new) = chain::chained(text, entry).map_err(unusable)? else {
        return Ok(Joined::Already);
    };
    let pristine = chain::unchained(text).map_err(unusable)?.is_none();
    if pristine {
        files::write(&files::saved(path), text, 0o600)?;
    }
    let done = files::replace(path, text, &new)?;
    Ok(if done {
        Joined::Now(path.to_owned())
    } else {
        Joined::Changed
    })
}

/// The list is there before the single plugin's file goes: at no time is there no network.
fn join_single(path: &Path, text: &[u8], entry: &Value) -> Result<Joined, PluginError> {
    let list = chain::listed(text, entry).map_err(|p| PluginError::not_usable(path, p))?;
    let target = path.with_extension("conflist");
    let ours = |text: Vec<u8>| matches!(chain::unchained(&text), Ok(Some(_)));
    if target.exists() && !fs::read(&target).is_ok_and(ours) {
        let problem = format!(
            "a network list {} stands beside it, so it cannot be made one; remove the one that is not used",
            target.display()
        );
        return Err(PluginError::not_usable(path, problem));
    }
    files::write(&target, &list, 0o644)?;
    files::rename(path, &files::saved(path))?;
    Ok(Joined::Now(target))
}

fn leave_list(path: &Path) -> Result<bool, PluginError> {
    for _ in 0..ATTEMPTS {
        let text = read(path)?;
        let without = match chain::unchained(&text) {
            Ok(Some(without)) => without,
            // No entry of ours.
            Ok(None) => return files::remove(&files::saved(path)).map(|_| false),
            Err(problem) => {
                tracing::warn!("{} is left as it is: {problem}", path.display());
                return Ok(false);
            }
        };
        if let Some((single, saved)) = single_of(path) {
            return give_single_back(path, &single, &saved);
        }
        let saved = fs::read(files::saved(path)).ok();
        let before = saved.filter(|saved| chain::same(saved, &without));
        if files::replace(path, &text, &before.unwrap_or(without))? {
            files::remove(&files::saved(path))?;
            return Ok(true);
        }
    }
    Err(PluginError::Busy {
        path: path.to_owned(),
    })
}

/// The file of a single plugin out of which we made this list, and where it is kept.
fn single_of(list: &Path) -> Option<(PathBuf, PathBuf)> {
    let both = ["conf", "json"].map(|ext| {
        let single = list.with_extension(ext);
        let saved = files::saved(&single);
        (single, saved)
    });
    both.into_iter().find(|(_, saved)| saved.exists())
}

fn give_single_back(list: &Path, single: &Path, saved: &Path) -> Result<bool, PluginError> {
    if single.exists() {
        // Its owner has written it again, so that one is newer.
        files::remove(saved)?;
    } else {
        files::rename(saved, single)?;
    }
    files::remove(list)
}

/// All networks in the order in which they count.
fn networks(dir: &Path) -> Result<Vec<PathBuf>, PluginError> {
    let failed = |e| PluginError::io("read", dir, e);
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let ext = path.extension().and_then(OsStr::to_str);
        if matches!(ext, Some("conf" | "conflist" | "json")) && !path.is_dir() {
            all.push(path);
        }
    }
    all.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    Ok(all)
}

fn is_list(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("conflist"))
}

fn read(path: &Path) -> Result<Vec<u8>, PluginError> {
    let failed = |e| PluginError::io("read", path, e);
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    if meta.file_type().is_symlink() {
        let problem =
            "it is a symbolic link; set --cni-conf-dir to the folder where the file itself is";
        return Err(PluginError::not_usable(path, problem));
    }
    if meta.len() > MAX_NETWORK {
        return Err(PluginError::not_usable(
            path,
            "it is longer than 1 MiB; remove it",
        ));
    }
    fs::read(path).map_err(failed)
}
