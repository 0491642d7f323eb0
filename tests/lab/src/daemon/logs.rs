//! Logs are kept within bounds: they lie in memory on most machines.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Daemon;

/// Size at which a log is set aside as `*.log.old` and begun anew.
const LIMIT: u64 = 32 << 20;
/// Pause between looks.
const PAUSE: Duration = Duration::from_secs(2);

impl Daemon {
    /// Watches the logs until the lab goes down.
    pub(super) fn trim_logs(&self) {
        while self
            .wait(Some(Instant::now() + PAUSE), |s| s.closing.then_some(()))
            .is_none()
        {
            for log in logs_below(&self.paths.dir().join("nodes"), 4) {
                if let Err(error) = trim(&log) {
                    self.log(&format!("cannot set {} aside: {error}", log.display()));
                }
            }
        }
    }
}

fn logs_below(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
    {
        let big = || fs::metadata(&path).is_ok_and(|m| m.len() > LIMIT);
        if depth > 0 && path.is_dir() {
            found.extend(logs_below(&path, depth - 1));
        } else if path.extension().is_some_and(|e| e == "log") && big() {
            found.push(path);
        }
    }
    found
}

/// The writer goes on in the same file: it appends, so the file may be emptied under it.
fn trim(log: &Path) -> std::io::Result<()> {
    fs::copy(log, log.with_extension("log.old"))?;
    OpenOptions::new().write(true).open(log)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_big_logs_are_set_aside() {
        let dir = std::env::temp_dir().join(format!("warren-lab-logs-{}", crate::store::uuid()));
        fs::create_dir_all(dir.join("a/log")).unwrap();
        fs::write(dir.join("a/log/small.log"), "x").unwrap();
        let big = dir.join("a/log/big.log");
        fs::File::create(&big).unwrap().set_len(LIMIT + 1).unwrap();
        assert_eq!(logs_below(&dir, 4), std::slice::from_ref(&big));
        trim(&big).unwrap();
        assert_eq!(fs::metadata(&big).unwrap().len(), 0);
        assert!(big.with_extension("log.old").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
