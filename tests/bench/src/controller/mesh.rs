//! Meshes of any size as Kubernetes YAML: a hundred pods and ten services a namespace, one file a namespace.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

const PODS: usize = 100;
const SERVICES: usize = 10;
const NODES: usize = 50;

/// The one pod that changes, in a file of its own.
#[derive(Debug)]
pub struct Changing {
    file: PathBuf,
    index: usize,
}

impl Changing {
    /// Replaces the pod's file by one that says whether it is ready; returns when, in seconds since 1970.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_ready(&self, ready: bool) -> Result<f64> {
        // Not *.yaml, so nobody reads it before the rename makes the change whole.
        let new = self.file.with_extension("new");
        fs::write(&new, pod(self.index, ready))
            .with_context(|| format!("cannot write {}", new.display()))?;
        let now = seconds_now();
        fs::rename(&new, &self.file)
            .with_context(|| format!("cannot replace {}", self.file.display()))?;
        Ok(now)
    }
}

/// Seconds since 1970.
pub fn seconds_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

/// Writes a mesh of `workloads` enrolled pods into `dir`.
///
/// # Errors
/// The directory cannot be written.
pub fn generate(dir: &Path, workloads: usize) -> Result<Changing> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let last = workloads.saturating_sub(1);
    for first in (0..workloads).step_by(PODS) {
        let number = first / PODS;
        let mut text = namespace(number);
        (first..(first + PODS).min(last)).for_each(|index| text.push_str(&pod(index, true)));
        let file = dir.join(format!("{}.yaml", namespace_name(number)));
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let changing = Changing {
        file: dir.join("changing.yaml"),
        index: last,
    };
    changing.set_ready(true)?;
    Ok(changing)
}

fn namespace_name(number: usize) -> String {
    format!("team-{number}")
}

fn namespace(number: usize) -> String {
    let name = namespace_name(number);
    let mut out = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: {{warren.dev/mesh: enabled}}\n---\n\
         apiVersion: warren.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: same-team, namespace: {name}}}\n\
         spec:\n  action: ALLOW\n  rules:\n  - from:\n    - source: {{namespaces: [{name}]}}\n---\n"
    );
    for service in 0..SERVICES {
        let n = number * SERVICES + service;
        let _ = write!(
            out,
            "apiVersion: v1\nkind: Service\nmetadata: {{name: app-{service}, namespace: {name}}}\nspec:\n  \
             clusterIP: 172.{}.{}.{}\n  selector: {{app: app-{service}}}\n  ports: [{{name: http, port: 80, targetPort: 8080}}]\n---\n",
            16 + n / 62_500,
            n / 250 % 250,
            n % 250 + 1
        );
    }
    out
}

fn pod(index: usize, ready: bool) -> String {
    let (name, app) = (namespace_name(index / PODS), index % PODS % SERVICES);
    let status = if ready { "True" } else { "False" };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app-{app}-{index}\n  namespace: {name}\n  uid: 00000000-0000-0000-0000-{index:012}\n  \
         labels: {{app: app-{app}, version: v1}}\n\
         spec:\n  nodeName: node-{}\n  serviceAccountName: app-{app}\n  containers:\n  - name: app\n    image: app\n    \
         ports: [{{name: http, containerPort: 8080}}]\n\
         status:\n  phase: Running\n  podIP: 10.{}.{}.{}\n  conditions: [{{type: Ready, status: \"{status}\"}}]\n---\n",
        index % NODES,
        index / 62_500,
        index / 250 % 250,
        index % 250 + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_pod_has_its_own_name_and_address() {
        let dir = tempfile::tempdir().unwrap();
        let changing = generate(dir.path(), 250).unwrap();
        changing.set_ready(false).unwrap();
        let mut text = String::new();
        for entry in fs::read_dir(dir.path()).unwrap() {
            text += &fs::read_to_string(entry.unwrap().path()).unwrap();
        }
        let unique = |prefix: &str| {
            text.lines()
                .filter(|l| l.trim_start().starts_with(prefix))
                .collect::<HashSet<_>>()
                .len()
        };
        assert_eq!(text.matches("kind: Pod\n").count(), 250);
        assert_eq!(
            (unique("podIP:"), unique("uid:"), unique("clusterIP:")),
            (250, 250, 30)
        );
        assert_eq!(text.matches("status: \"False\"").count(), 1);
    }

    #[test]
    fn addresses_stay_valid_at_100_000_pods() {
        let text = pod(99_999, true);
        let ip = text
            .lines()
            .find_map(|l| l.trim().strip_prefix("podIP: "))
            .unwrap();
        ip.parse::<std::net::Ipv4Addr>().unwrap();
    }
}
