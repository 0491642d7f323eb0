//! Processes of pods.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use crate::cgroup::pod_of;

/// The oldest process of each pod of `wanted` that has any. It is the sandbox's, where the runtime keeps one, so it is in the
/// pod's own network namespace, whatever namespaces later ones make.
pub fn oldest<T>(proc: &Path, wanted: &HashMap<String, T>) -> BTreeMap<String, u32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let mut oldest: BTreeMap<String, (u64, u32)> = BTreeMap::new();
    for pid in pids {
        let dir = proc.join(pid.to_string());
        let text = fs::read_to_string(dir.join("cgroup")).unwrap_or_default();
        let Some(uid) = pod_of(&text).filter(|uid| wanted.contains_key(uid)) else {
            continue;
        };
        let Some(started) = started(&fs::read_to_string(dir.join("stat")).unwrap_or_default())
        else {
            continue;
        };
        let place = oldest.entry(uid).or_insert((started, pid));
        *place = (*place).min((started, pid));
    }
    let pid = |(uid, (_, pid))| (uid, pid);
    oldest.into_iter().map(pid).collect()
}

/// Field 22 of `/proc/PID/stat`. The second one is in parentheses and may hold anything. None for a process that has ended.
fn started(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(proc: &Path, pid: u32, state: &str, started: u64, cgroup: &str) {
        let dir = proc.join(pid.to_string());
        fs::create_dir(&dir).unwrap();
        let zeros = "0 ".repeat(18);
        fs::write(
            dir.join("stat"),
            format!("{pid} (a) b) {state} {zeros}{started} 0"),
        )
        .unwrap();
        fs::write(dir.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
    }

    #[test]
    fn the_oldest_living_process_of_each_wanted_pod_is_found() {
        let proc = tempfile::tempdir().unwrap();
        let (a, b) = ("aaaaaaaa-1111", "bbbbbbbb-2222");
        let of = |uid: &str| format!("/kubepods/pod{uid}/c");
        process(proc.path(), 9, "S", 50, &of(a));
        process(proc.path(), 7, "S", 60, &of(a));
        process(proc.path(), 5, "Z", 10, &of(a));
        process(proc.path(), 6, "S", 10, &of(b));
        process(proc.path(), 1, "S", 1, "/init.scope");
        fs::create_dir(proc.path().join("8")).unwrap();
        fs::create_dir(proc.path().join("sys")).unwrap();
        let wanted = HashMap::from([(a.to_owned(), ()), ("cccccccc".to_owned(), ())]);
        assert_eq!(
            oldest(proc.path(), &wanted),
            BTreeMap::from([(a.to_owned(), 9)])
        );
    }

    #[test]
    fn own_start_time_is_read() {
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(started(&own).unwrap() > 0);
        assert_eq!(started("garbage"), None);
    }
}
