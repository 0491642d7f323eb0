//! `STATE/namespaces.json`: which namespaces were in the mesh when the controller last spoke. It outlives a restart of the node,
//! after which pods may come before the controller does.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use warren_core::Workload;

use super::store;

/// Version of the file.
const VERSION: u32 = 1;
/// Most namespaces that are remembered; pods of further ones wait for the controller.
const MOST: usize = 20_000;

/// Whether namespaces are in the mesh, as far as their own labels say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(BTreeMap<String, bool>);

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    /// [`VERSION`].
    version: u32,
    /// Whether each is in the mesh.
    namespaces: BTreeMap<String, bool>,
}

impl Namespaces {
    /// Whether a namespace is in the mesh; None where nothing was heard of it.
    pub fn get(&self, namespace: &str) -> Option<bool> {
        self.0.get(namespace).copied()
    }

    /// Learns from a workload, and says whether that was news. A pod with a label of its own tells nothing of its namespace, nor
    /// does one that is never in the mesh.
    pub fn hear(&mut self, workload: &Workload) -> bool {
        let pod = workload.uid.0.contains("//Pod/");
        let namespace = &*workload.namespace;
        let full = self.0.len() >= MOST && !self.0.contains_key(namespace);
        if !pod || workload.host_network || workload.mesh_by_pod || full {
            return false;
        }
        let enrolled = workload.is_enrolled();
        if self.get(namespace) == Some(enrolled) {
            return false;
        }
        self.0.insert(namespace.to_owned(), enrolled);
        true
    }
}

/// Reads the file; nothing is remembered where there is none, or none that can be used (which is logged).
pub fn load(path: &Path) -> Namespaces {
    let content = store::read(path, "namespaces", VERSION, |c: &Content| c.version);
    content
        .map(|c| Namespaces(c.namespaces))
        .unwrap_or_default()
}

/// Writes the file.
///
/// # Errors
/// It cannot be written.
pub fn save(path: &Path, namespaces: &Namespaces) -> io::Result<()> {
    let content = Content {
        version: VERSION,
        namespaces: namespaces.0.clone(),
    };
    store::replace(path, &serde_json::to_vec_pretty(&content)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use warren_core::workload::TunnelProtocol;

    fn pod(namespace: &str, enrolled: bool) -> Workload {
        Workload {
            protocol: if enrolled {
                TunnelProtocol::Hbone
            } else {
                TunnelProtocol::None
            },
            ..Workload::new(format!("c//Pod/{namespace}/p").as_str(), namespace, "p")
        }
    }

    #[test]
    fn only_pods_without_a_label_of_their_own_speak_for_their_namespace() {
        let mut heard = Namespaces::default();
        assert!(heard.hear(&pod("shop", true)) && !heard.hear(&pod("shop", true)));
        let labelled = Workload {
            mesh_by_pod: true,
            ..pod("shop", false)
        };
        let on_the_host = Workload {
            host_network: true,
            ..pod("shop", false)
        };
        let mut machine = pod("shop", false);
        machine.uid = "c/warren.dev/ExternalWorkload/shop/vm".into();
        assert!(
            [labelled, on_the_host, machine]
                .iter()
                .all(|w| !heard.hear(w))
        );
        assert_eq!((heard.get("shop"), heard.get("plain")), (Some(true), None));
        assert!(heard.hear(&pod("shop", false)));
        assert_eq!(heard.get("shop"), Some(false));
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut heard = Namespaces::default();
        for n in 0..=MOST {
            heard.hear(&pod(&format!("ns-{n}"), true));
        }
        assert_eq!(heard.0.len(), MOST);
        assert!(heard.hear(&pod("ns-0", false)), "known ones still change");
    }

    #[test]
    fn what_is_saved_is_loaded_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("namespaces.json");
        assert_eq!(load(&path), Namespaces::default());
        let mut heard = Namespaces::default();
        heard.hear(&pod("shop", true));
        heard.hear(&pod("plain", false));
        save(&path, &heard).unwrap();
        assert_eq!(load(&path), heard);
        fs::write(&path, b"{\"version\":2,\"namespaces\":{}}").unwrap();
        assert_eq!(load(&path), Namespaces::default());
        fs::write(&path, b"{").unwrap();
        assert_eq!(load(&path), Namespaces::default());
    }
}
