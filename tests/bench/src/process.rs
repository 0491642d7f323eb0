//! CPU time and memory of processes, out of /proc (proc_pid_stat(5), proc_pid_status(5)).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Whether a program of this name can be started.
pub fn installed(tool: &str) -> bool {
    Command::new(tool)
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// Seconds of CPU that a process and its threads have used, user and system.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat =
        fs::read_to_string(&path).with_context(|| format!("{path}: the process has ended"))?;
    let ticks =
        parse_ticks(&stat).with_context(|| format!("{path}: not as proc_pid_stat(5) says"))?;
    // USER_HZ is 100 on every architecture that runs eBPF.
    Ok(ticks as f64 / 100.0)
}

/// Seconds of CPU of several processes.
pub fn cpu_of(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| cpu_seconds(*pid)).sum()
}

fn parse_ticks(stat: &str) -> Option<u64> {
    // The name in parentheses may hold spaces and parentheses itself.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// Bytes of memory that a process holds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// Now (`VmRSS`).
    pub resident: u64,
    /// Highest so far (`VmHWM`).
    pub peak: u64,
}

/// Memory of a process.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status =
        fs::read_to_string(&path).with_context(|| format!("{path}: the process has ended"))?;
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes: Option<u64> =
            line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
        kilobytes
            .map(|k| k * 1024)
            .with_context(|| format!("{path}: no {name}"))
    };
    Ok(Memory {
        resident: field("VmRSS")?,
        peak: field("VmHWM")?,
    })
}

/// Raises this process's limit of open files to the hard limit and returns it.
pub fn raise_open_files() -> Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// The program `name` beside this one, or in `dir`.
pub fn program(dir: &Path, name: &str) -> Result<std::path::PathBuf> {
    let path = dir.join(name);
    anyhow::ensure!(
        path.is_file(),
        "{} is missing; build it first (`cargo xtask bench` does)",
        path.display()
    );
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4194560 9 0 0 0 120 30 0 0 20 0 4 0 1 1 1";
        assert_eq!(parse_ticks(stat), Some(150));
        assert_eq!(parse_ticks("7 (a"), None);
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let own = std::process::id();
        let memory = memory(own).unwrap();
        assert!(memory.resident > 100_000 && memory.peak >= memory.resident / 2);
        assert!(cpu_seconds(own).unwrap() >= 0.0);
    }
}
