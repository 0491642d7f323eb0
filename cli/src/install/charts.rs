//! The charts, as they were when this program was built.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Paths below deploy/charts and what is there; a test compares them with the folder.
macro_rules! embed {
    ($($path:literal)*) => {
        &[$(($path, include_str!(concat!("../../../deploy/charts/", $path)))),*]
    };
}

const FILES: &[(&str, &str)] = embed! {
    "crds/Chart.yaml"
    "crds/templates/authorizationpolicies.warren.dev.yaml"
    "crds/templates/peerauthentications.warren.dev.yaml"
    "mesh/Chart.yaml"
    "mesh/dashboards/control.json"
    "mesh/dashboards/mesh.json"
    "mesh/dashboards/node.json"
    "mesh/dashboards/workload.json"
    "mesh/files/control-rbac.yaml"
    "mesh/files/roots-rbac.yaml"
    "mesh/templates/_helpers.tpl"
    "mesh/templates/agent.yaml"
    "mesh/templates/control-rbac.yaml"
    "mesh/templates/control-service.yaml"
    "mesh/templates/control.yaml"
    "mesh/templates/dashboards.yaml"
    "mesh/templates/pod-monitor.yaml"
    "mesh/templates/roots-rbac.yaml"
    "mesh/templates/service-accounts.yaml"
    "mesh/templates/webhook.yaml"
    "mesh/templates/ztunnel.yaml"
    "mesh/values.schema.json"
    "mesh/values.yaml"
};

/// Both charts in a private folder, which goes with this.
#[derive(Debug)]
pub struct Charts {
    folder: TempDir,
}

impl Charts {
    /// Writes them.
    ///
    /// # Errors
    /// The system's folder of temporary files cannot be written.
    pub fn write() -> io::Result<Self> {
        // Nobody else puts anything into what Helm is going to install.
        let folder = tempfile::Builder::new()
            .prefix("warren-charts-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()?;
        for (path, text) in FILES {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            fs::write(path, text)?;
        }
        Ok(Self { folder })
    }

    /// The kinds of objects.
    pub fn crds(&self) -> PathBuf {
        self.folder.path().join("crds")
    }

    /// The mesh.
    pub fn mesh(&self) -> PathBuf {
        self.folder.path().join("mesh")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn below(folder: &Path, found: &mut BTreeSet<String>, root: &Path) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                below(&path, found, root);
            } else {
                let path = path.strip_prefix(root).expect("below");
                found.insert(path.to_str().expect("UTF-8").to_owned());
            }
        }
    }

    #[test]
    fn every_file_of_the_charts_comes_along() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts");
        let mut found = BTreeSet::new();
        below(&root, &mut found, &root);
        let listed: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed, found, "complete the list in charts.rs");
    }

    #[test]
    fn they_are_of_this_version() {
        for chart in ["crds/Chart.yaml", "mesh/Chart.yaml"] {
            let text = FILES
                .iter()
                .find(|(path, _)| *path == chart)
                .expect(chart)
                .1;
            for field in ["version", "appVersion"] {
                let line = format!("\n{field}: {}\n", env!("CARGO_PKG_VERSION"));
                assert!(text.contains(&line), "{chart}: {field}");
            }
        }
    }

    #[test]
    fn nobody_else_reads_the_folder_and_it_goes() {
        let charts = Charts::write().expect("written");
        let folder = charts.folder.path().to_owned();
        let mode = fs::metadata(&folder).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0);
        assert!(
            charts.mesh().join("values.yaml").exists() && charts.crds().join("Chart.yaml").exists()
        );
        drop(charts);
        assert!(!folder.exists());
    }
}
