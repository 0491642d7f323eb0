//! Pods by the names of their cgroups, in the manner of both of the kubelet's cgroup drivers.

/// The UID of the pod that a process is in, out of its `/proc/PID/cgroup`; None for a process of no pod.
pub fn pod_of(text: &str) -> Option<String> {
    let path = |line: &str| line.splitn(3, ':').nth(2).and_then(pod_of_path);
    text.lines().find_map(path)
}

/// The outermost match counts: below it, a pod may name cgroups as it likes.
fn pod_of_path(path: &str) -> Option<String> {
    // Seen from another pod's cgroup namespace, the beginning is missing.
    let mut below = path.starts_with("/..");
    for name in path.split('/') {
        below |= name.contains("kubepods");
        if let Some(uid) = uid_of(name).filter(|_| below) {
            return Some(uid);
        }
    }
    None
}

/// `podUID` (cgroupfs), or `kubepods-burstable-podUID.slice` with `_` for `-` (systemd).
fn uid_of(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(unit) => unit
            .rsplit('-')
            .next()?
            .strip_prefix("pod")?
            .replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    ((8..=64).contains(&uid.len()) && uid.chars().all(plain)).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0a1b2c3d-0000-4000-8000-0123456789ab";

    fn found(text: &str) -> Option<String> {
        let text = text
            .replace("UID", UID)
            .replace("U_D", &UID.replace('-', "_"));
        pod_of(&text)
    }

    #[test]
    fn pods_are_found_under_both_drivers_and_in_every_hierarchy() {
        for text in [
            // cgroupfs, pure v2.
            "0::/kubepods/burstable/podUID/0123\n",
            "0::/kubepods/podUID\n",
            // cgroupfs, v1 and hybrid.
            "5:memory:/kubepods/besteffort/podUID/0123\n0::/system.slice/containerd.service\n",
            // systemd.
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/cri-containerd-01.scope\n",
            "0::/kubepods.slice/kubepods-podU_D.slice/crio-01.scope/container\n",
            "3:cpu,cpuacct:/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice/docker-01.scope\n",
            // The kubelet's --cgroup-root.
            "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_D.slice/cri-containerd-01.scope\n",
            "0::/warren/node-a/kubepods/podUID/01\n",
            // From another pod's cgroup namespace.
            "0::/../../podUID/0123\n",
            "0::/../../../kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice/crio-01.scope\n",
        ] {
            assert_eq!(found(text).as_deref(), Some(UID), "{text}");
        }
        let hash = "0::/kubepods/burstable/pod0123456789abcdef0123456789abcdef/01\n";
        assert_eq!(
            pod_of(hash).as_deref(),
            Some("0123456789abcdef0123456789abcdef"),
            "a static pod"
        );
    }

    #[test]
    fn others_are_no_pods() {
        for text in [
            "",
            "0::/\n",
            "0::/system.slice/kubelet.service\n",
            "0::/user.slice/podUID\n",
            "0::/kubepods/burstable\n",
            "0::/kubepods.slice/kubepods-burstable.slice\n",
            "0::/kubepods/pod..%2f..%2fetc/x\n",
            "no cgroup line",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn what_a_pod_names_inside_its_own_cgroup_means_nothing() {
        let other = "11111111-2222-4333-8444-555555555555";
        let text = format!("0::/kubepods/podUID/01/kubepods/pod{other}/02\n");
        assert_eq!(found(&text).as_deref(), Some(UID));
    }
}
