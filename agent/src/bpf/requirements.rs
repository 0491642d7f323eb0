//! What this machine must have, checked before anything is loaded, each with its remedy.

use std::fs;
use std::path::Path;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use serde::Serialize;

/// Oldest kernel that is tested.
const KERNEL_FLOOR: (u32, u32) = (6, 1);
/// `CAP_NET_ADMIN`, `CAP_SYS_ADMIN`, `CAP_BPF` (`linux/capability.h`).
const CAPABILITIES: [(u32, &str); 3] = [
    (12, "CAP_NET_ADMIN"),
    (21, "CAP_SYS_ADMIN"),
    (39, "CAP_BPF"),
];

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it is as it must be.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do where it is not.
    pub remedy: &'static str,
}

/// Looks at everything; `cgroup` is where programs will attach.
pub fn check(cgroup: &Path) -> Vec<Check> {
    vec![kernel(), btf(), cgroup2(cgroup), capabilities()]
}

/// One line that names everything that is missing, or None.
pub fn missing(checks: &[Check]) -> Option<String> {
    let lines: Vec<_> = checks
        .iter()
        .filter(|c| !c.ok)
        .map(|c| format!("{}: {}; {}", c.name, c.found, c.remedy))
        .collect();
    (!lines.is_empty()).then(|| lines.join(". "))
}

fn kernel() -> Check {
    let found = fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .to_owned();
    let ok = version(&found).is_some_and(|v| v >= KERNEL_FLOOR);
    Check {
        name: "kernel",
        ok,
        found,
        remedy: "run Linux 6.1 or later",
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn btf() -> Check {
    let ok = Path::new("/sys/kernel/btf/vmlinux").exists();
    let found = if ok {
        "present"
    } else {
        "no /sys/kernel/btf/vmlinux"
    }
    .to_owned();
    Check {
        name: "BTF",
        ok,
        found,
        remedy: "run a kernel with CONFIG_DEBUG_INFO_BTF=y",
    }
}

fn cgroup2(path: &Path) -> Check {
    let kind = statfs(path).map(|fs| fs.filesystem_type());
    let ok = kind.is_ok_and(|k| k == CGROUP2_SUPER_MAGIC);
    let found = match kind {
        Err(e) => format!("{}: {e}", path.display()),
        Ok(_) if ok => path.display().to_string(),
        Ok(_) => format!("{} is not on a cgroup v2 file system", path.display()),
    };
    Check {
        name: "cgroup v2",
        ok,
        found,
        remedy: "give --cgroup a directory of the cgroup v2 hierarchy",
    }
}

fn capabilities() -> Check {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .map(str::trim)
        .unwrap_or_default();
    let set = u64::from_str_radix(effective, 16).unwrap_or(0);
    let lacking: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| set & (1 << bit) == 0)
        .map(|(_, name)| *name)
        .collect();
    let found = if lacking.is_empty() {
        "all".to_owned()
    } else {
        format!("lacking {}", lacking.join(", "))
    };
    Check {
        name: "capabilities",
        ok: lacking.is_empty(),
        found,
        remedy: "run as root, or with these capabilities",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_compare() {
        assert_eq!(version("6.1.0-31-amd64"), Some((6, 1)));
        assert!(version("5.15.0") < Some(KERNEL_FLOOR));
        assert!(version("6.18.44-x") > Some(KERNEL_FLOOR));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn only_what_is_missing_is_told() {
        let check = |ok, name| Check {
            name,
            ok,
            found: "f".into(),
            remedy: "r",
        };
        assert_eq!(missing(&[check(true, "a")]), None);
        assert_eq!(
            missing(&[check(true, "a"), check(false, "b")]).unwrap(),
            "b: f; r"
        );
    }
}
