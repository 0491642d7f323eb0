//! Which processes there are: their admin sockets in the run directories of a node or of a lab.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::Arguments;

const RUN_DIR: &str = "/run/warren";
const LABS: &str = "/run/warren-lab";
const SOCKET_SUFFIX: &str = "-admin.sock";
/// What every node has.
const OF_A_NODE: [&str; 2] = ["agent", "ztunnel"];

/// Why no process was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory cannot be read.
    #[error("{}: {source}{}", path.display(), hint(source))]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// No such lab.
    #[error(
        "no lab `{name}` is up{}; `cargo xtask lab up --dir DIR --name {name}` starts it",
        others(labs)
    )]
    NoLab {
        /// As it was asked for.
        name: String,
        /// Those that are up.
        labs: Vec<String>,
    },
    /// No such node.
    #[error("no node `{node}`; there are {}", nodes.join(", "))]
    NoNode {
        /// As it was asked for.
        node: String,
        /// Those that there are.
        nodes: Vec<String>,
    },
    /// A lab in which nothing of the mesh runs.
    #[error(
        "lab {lab}: no process of the mesh runs in it; it is still starting, or was started with --without-mesh: \
         `cargo xtask lab ps --name {lab}` lists what runs"
    )]
    WithoutMesh {
        /// The lab.
        lab: String,
    },
    /// Nothing runs here.
    #[error("{}: no process of Warren serves an admin socket here{}", path.display(), several(labs))]
    Nobody {
        /// The run directory.
        path: PathBuf,
        /// Labs that are up.
        labs: Vec<String>,
    },
}

/// One process of the mesh, running or expected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its node; None outside a lab.
    pub node: Option<String>,
    /// `control`, `agent`, `ztunnel`, `waypoint` or `waypoint-<name>`.
    pub component: String,
    /// Its admin socket, whether it exists or not.
    pub socket: PathBuf,
}

impl Process {
    /// Whether `--from` means this process.
    pub fn is(&self, component: &str) -> bool {
        self.component == component
            || self
                .component
                .strip_prefix(component)
                .is_some_and(|rest| rest.starts_with('-'))
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{}@{node}", self.component),
            None => f.write_str(&self.component),
        }
    }
}

/// A node or a lab.
#[derive(Clone, Debug)]
pub struct Place {
    /// The lab, if it is one.
    pub lab: Option<String>,
    /// Its processes, sorted.
    pub processes: Vec<Process>,
}

impl Place {
    /// What to do about a process that does not answer.
    pub fn next_step(&self, process: &Process) -> String {
        let component = &process.component;
        match (&self.lab, &process.node) {
            (Some(lab), Some(node)) => format!(
                "`cargo xtask lab logs --name {lab} {component} --node {node}` shows its last words, \
                 `cargo xtask lab restart {component} --node {node} --name {lab}` starts it again"
            ),
            (Some(lab), None) => format!("`cargo xtask lab ps --name {lab}` lists what runs"),
            _ => format!(
                "`kubectl -n warren-system get pods` shows whether {component} runs, and where"
            ),
        }
    }
}

/// Finds the processes that `arguments` mean.
///
/// # Errors
/// See [`Error`].
pub fn find(arguments: &Arguments) -> Result<Place, Error> {
    let labs = labs_up(Path::new(LABS));
    if let Some(dir) = &arguments.run_dir {
        return host(dir, Vec::new());
    }
    match (&arguments.lab, labs.as_slice()) {
        (Some(name), _) => lab(name, arguments.node.as_deref(), &labs),
        (None, [only]) => lab(only, arguments.node.as_deref(), &labs),
        (None, _) => host(Path::new(RUN_DIR), labs),
    }
}

fn lab(name: &str, node: Option<&str>, labs: &[String]) -> Result<Place, Error> {
    let dir = Path::new(LABS).join(name);
    if !dir.is_dir() {
        return Err(Error::NoLab {
            name: name.to_owned(),
            labs: labs.to_vec(),
        });
    }
    let nodes_dir = dir.join("nodes");
    let nodes = directories(&nodes_dir)?;
    if let Some(node) = node
        && !nodes.iter().any(|n| n == node)
    {
        return Err(Error::NoNode {
            node: node.to_owned(),
            nodes,
        });
    }
    let mut processes = Vec::new();
    for name in nodes.iter().filter(|n| node.is_none_or(|node| node == *n)) {
        processes.extend(of_run_dir(
            &nodes_dir.join(name).join("run"),
            Some(name),
            true,
        )?);
    }
    // A controller may run beside the nodes.
    for own in [dir.join("run"), dir.join("control")] {
        if own.is_dir() {
            processes.extend(of_run_dir(&own, None, false)?);
        }
    }
    if !processes.iter().any(|p| p.socket.exists()) {
        return Err(Error::WithoutMesh {
            lab: name.to_owned(),
        });
    }
    processes.sort();
    Ok(Place {
        lab: Some(name.to_owned()),
        processes,
    })
}

fn host(dir: &Path, labs: Vec<String>) -> Result<Place, Error> {
    if matches!(fs::metadata(dir), Err(e) if e.kind() == io::ErrorKind::NotFound) {
        return Err(Error::Nobody {
            path: dir.to_owned(),
            labs,
        });
    }
    let found = of_run_dir(dir, None, false)?;
    if found.is_empty() {
        return Err(Error::Nobody {
            path: dir.to_owned(),
            labs,
        });
    }
    let is_node = found.iter().any(|p| OF_A_NODE.contains(&&*p.component));
    let mut processes = of_run_dir(dir, None, is_node)?;
    processes.sort();
    Ok(Place {
        lab: None,
        processes,
    })
}

/// The sockets in a run directory, and those that a node should have.
fn of_run_dir(dir: &Path, node: Option<&str>, is_node: bool) -> Result<Vec<Process>, Error> {
    let at = |source| Error::Directory {
        path: dir.to_owned(),
        source,
    };
    let mut components: Vec<String> = Vec::new();
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                let name = entry.map_err(at)?.file_name();
                let component = name.to_str().and_then(|n| n.strip_suffix(SOCKET_SUFFIX));
                components.extend(component.map(ToOwned::to_owned));
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(at(e)),
    }
    if is_node {
        components.extend(OF_A_NODE.map(ToOwned::to_owned));
    }
    components.sort();
    components.dedup();
    let process = |component: String| Process {
        node: node.map(ToOwned::to_owned),
        socket: dir.join(format!("{component}{SOCKET_SUFFIX}")),
        component,
    };
    Ok(components.into_iter().map(process).collect())
}

/// Labs whose daemon answers; a directory that a crash left behind does not count.
fn labs_up(dir: &Path) -> Vec<String> {
    let names = directories(dir).unwrap_or_default();
    let up = |name: &String| {
        let socket = dir.join(name).join("daemon.sock");
        match UnixStream::connect(socket) {
            Ok(_) => true,
            Err(e) => e.kind() == io::ErrorKind::PermissionDenied,
        }
    };
    names.into_iter().filter(up).collect()
}

fn directories(dir: &Path) -> Result<Vec<String>, Error> {
    let at = |source| Error::Directory {
        path: dir.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(at)? {
        let entry = entry.map_err(at)?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; only root may ask the mesh's processes: run it with sudo"
        }
        _ => "",
    }
}

fn others(labs: &[String]) -> String {
    if labs.is_empty() {
        String::new()
    } else {
        format!("; up are {}", labs.join(", "))
    }
}

fn several(labs: &[String]) -> String {
    if labs.is_empty() {
        return "; --run-dir names another directory, --lab a lab".to_owned();
    }
    format!(
        "; several labs are up, choose one with --lab: {}",
        labs.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_lists_what_it_should_have() {
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join("agent-admin.sock"), "").expect("write");
        fs::write(dir.path().join("waypoint-shop-admin.sock"), "").expect("write");
        fs::write(dir.path().join("agent.sock"), "").expect("write");
        let place = host(dir.path(), Vec::new()).expect("a place");
        let names: Vec<_> = place.processes.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["agent", "waypoint-shop", "ztunnel"]);
        assert!(place.processes[1].is("waypoint") && !place.processes[0].is("waypoint"));
        assert!(place.next_step(&place.processes[2]).contains("ztunnel"));
    }

    #[test]
    fn a_controller_alone_is_no_node() {
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join("control-admin.sock"), "").expect("write");
        let place = host(dir.path(), Vec::new()).expect("a place");
        assert_eq!(place.processes.len(), 1);
    }

    #[test]
    fn nobody_here_says_what_to_do() {
        let dir = tempfile::tempdir().expect("dir");
        let labs = vec!["x".to_owned(), "y".to_owned()];
        let error = host(dir.path(), labs)
            .expect_err("an empty directory")
            .to_string();
        assert!(error.contains("--lab: x, y"), "{error}");
        let error = host(&dir.path().join("none"), Vec::new())
            .expect_err("no directory")
            .to_string();
        assert!(error.contains("--run-dir"), "{error}");
    }
}
