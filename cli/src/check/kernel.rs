//! The kernel: its version, its type information, and the features that the programs use.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::Finding;

const FLOOR: (u32, u32) = (6, 1);
const NEWER: &str = "run Linux 6.1 or later";

/// A feature shows by a function of the kernel that only exists with it.
const FEATURES: [(&str, &str, &str); 7] = [
    (
        "connect hooks",
        "__cgroup_bpf_run_filter_sock_addr",
        "CONFIG_CGROUP_BPF=y",
    ),
    (
        "sockops hook",
        "__cgroup_bpf_run_filter_sock_ops",
        "CONFIG_CGROUP_BPF=y",
    ),
    (
        "socket option hooks",
        "__cgroup_bpf_run_filter_getsockopt",
        "CONFIG_CGROUP_BPF=y",
    ),
    (
        "socket lookup",
        "bpf_sk_lookup_assign",
        "CONFIG_BPF_SYSCALL=y and CONFIG_INET=y",
    ),
    (
        "network namespace cookies",
        "bpf_get_netns_cookie_sockopt",
        "CONFIG_NET_NS=y",
    ),
    (
        "socket maps",
        "bpf_sock_hash_update",
        "CONFIG_BPF_STREAM_PARSER=y",
    ),
    ("ring buffer", "bpf_ringbuf_output", "CONFIG_BPF_SYSCALL=y"),
];
const DESTROY: (&str, &str) = ("ending live flows", "tcp_diag_destroy");

pub fn version() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    judge_version(release.trim())
}

pub fn btf() -> Finding {
    const CHECK: &str = "BTF";
    let path = "/sys/kernel/btf/vmlinux";
    if Path::new(path).exists() {
        return Finding::pass(CHECK, path);
    }
    Finding::fail(
        CHECK,
        format!("no {path}"),
        "run a kernel with CONFIG_DEBUG_INFO_BTF=y",
    )
}

pub fn features() -> Vec<Finding> {
    let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let mut findings = judge_features(&text);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = fs::read_to_string(
        Path::new("/lib/modules")
            .join(release.trim())
            .join("modules.dep"),
    );
    findings.push(judge_destroy(&text, &modules.unwrap_or_default()));
    findings
}

/// Without the JIT everything works, slowly.
pub fn jit() -> Finding {
    const CHECK: &str = "BPF JIT";
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable")
        .as_deref()
        .map(str::trim)
    {
        Ok("0") => Finding::warn(CHECK, "off", "sysctl -w net.core.bpf_jit_enable=1"),
        Ok(_) => Finding::pass(CHECK, "on"),
        // The setting is not there in a network namespace other than the first, nor where the JIT is always on.
        Err(_) => Finding::pass(CHECK, "not switchable here"),
    }
}

pub fn ipv6() -> Finding {
    const CHECK: &str = "IPv6";
    if Path::new("/proc/net/if_inet6").exists() {
        return Finding::pass(CHECK, "on");
    }
    Finding::warn(
        CHECK,
        "off",
        "only IPv4 pods can be enrolled; boot without ipv6.disable=1 to change that",
    )
}

/// Whether a kernel of this release is new enough.
pub fn judge_version(release: &str) -> Finding {
    const CHECK: &str = "kernel";
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= FLOOR => Finding::pass(CHECK, release),
        (Some(_), Some(_)) => Finding::fail(CHECK, release, NEWER),
        _ => Finding::fail(CHECK, format!("`{release}` is no version"), NEWER),
    }
}

fn judge_features(kallsyms: &str) -> Vec<Finding> {
    let names = symbols(kallsyms);
    let judge = |(check, symbol, remedy): (&str, &str, &str)| {
        if names.is_empty() {
            let remedy = "the agent finds out when it loads its programs";
            return Finding::warn(check, "unknown: /proc/kallsyms is empty", remedy);
        }
        if names.contains(symbol) {
            return Finding::pass(check, "present");
        }
        Finding::fail(check, "missing", format!("run a kernel with {remedy}"))
    };
    FEATURES.into_iter().map(judge).collect()
}

/// Without it a policy that becomes DENY ends no direct flow that is open already.
fn judge_destroy(kallsyms: &str, modules: &str) -> Finding {
    let (check, symbol) = DESTROY;
    if symbols(kallsyms).contains(symbol) {
        return Finding::pass(check, "present");
    }
    if modules.lines().any(|l| {
        l.split(':')
            .next()
            .is_some_and(|m| m.contains("/tcp_diag.ko"))
    }) {
        return Finding::pass(check, "module tcp_diag, loaded when it is needed");
    }
    let remedy = "run a kernel with CONFIG_INET_DIAG=y and CONFIG_INET_DIAG_DESTROY=y, or turn direct flows off";
    Finding::warn(check, "not found", remedy)
}

fn symbols(kallsyms: &str) -> HashSet<&str> {
    kallsyms
        .lines()
        .filter_map(|l| l.split_whitespace().nth(2))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(judge_version("6.1.0-30-amd64").result, Verdict::Pass);
        assert_eq!(judge_version("6.18.44").result, Verdict::Pass);
        assert_eq!(judge_version("10.0").result, Verdict::Pass);
        for old in ["5.15.0", "6.0.19", "", "unknown"] {
            assert_eq!(judge_version(old).result, Verdict::Fail, "{old}");
        }
    }

    #[test]
    fn features_show_by_their_symbols() {
        let lines = FEATURES.map(|(_, symbol, _)| format!("0000000000000000 T {symbol}\n"));
        assert!(
            judge_features(&lines.concat())
                .iter()
                .all(|f| f.result == Verdict::Pass)
        );
        let without_last = judge_features(&lines[..6].concat());
        assert_eq!(without_last[6].result, Verdict::Fail);
        assert!(
            without_last[6].remedy.contains("CONFIG_"),
            "{without_last:?}"
        );
        assert!(judge_features("").iter().all(|f| f.result == Verdict::Warn));
    }

    #[test]
    fn destroying_sockets_may_come_from_a_module() {
        assert_eq!(
            judge_destroy("0 t tcp_diag_destroy\n", "").result,
            Verdict::Pass
        );
        let modules = "kernel/net/ipv4/tcp_diag.ko.xz: kernel/net/ipv4/inet_diag.ko.xz\n";
        assert_eq!(judge_destroy("0 t other\n", modules).result, Verdict::Pass);
        assert_eq!(judge_destroy("0 t other\n", "").result, Verdict::Warn);
    }
}
