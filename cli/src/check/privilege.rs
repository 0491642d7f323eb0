//! Capabilities.

use super::Finding;

const CHECK: &str = "capabilities";
/// Bits of `linux/capability.h` that the agent needs.
const NEEDED: [(u32, &str); 3] = [
    (12, "CAP_NET_ADMIN"),
    (21, "CAP_SYS_ADMIN"),
    (39, "CAP_BPF"),
];

pub fn capabilities() -> Finding {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    judge(nix::unistd::geteuid().is_root(), &status)
}

fn judge(root: bool, status: &str) -> Finding {
    let missing = missing(status);
    if missing.is_empty() {
        return Finding::pass(CHECK, NEEDED.map(|(_, name)| name).join(", "));
    }
    let found = format!("{} missing", missing.join(", "));
    let remedy = if root {
        "this container or service was started without them; give them to the agent"
    } else {
        "run it as root: sudo warren check"
    };
    Finding::fail(CHECK, found, remedy)
}

fn missing(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .map(str::trim);
    let bits = effective
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .unwrap_or(0);
    NEEDED
        .iter()
        .filter(|(bit, _)| bits & (1 << bit) == 0)
        .map(|(_, name)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    #[test]
    fn names_what_is_missing() {
        let all = judge(true, "Name:\tx\nCapEff:\t000001ffffffffff\n");
        assert_eq!(all.result, Verdict::Pass);
        let container = judge(true, "CapEff:\t00000000a80425fb\n");
        assert!(container.found.contains("CAP_BPF") && container.remedy.contains("container"));
        let user = judge(false, "CapEff:\t0000000000000000\n");
        assert_eq!(user.result, Verdict::Fail);
        assert!(user.remedy.contains("sudo"));
    }
}
