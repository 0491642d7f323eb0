//! Which Go modules there are, and how each is built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// A folder below `go/`.
#[derive(Debug)]
pub(super) struct Module {
    /// The folder.
    pub(super) name: &'static str,
    /// Import paths of what to build; each becomes a program called like its last part, `.` one called like the module.
    pub(super) packages: &'static [&'static str],
    /// Further names of the module's only program.
    pub(super) names: &'static [&'static str],
    /// Build tags.
    pub(super) tags: &'static str,
    /// The dependency whose version goes into variables, and those variables' packages.
    pub(super) stamp: Option<(&'static str, &'static [&'static str])>,
    /// Linked with C libraries, statically.
    pub(super) c: bool,
    /// Not needed for a cluster to be up.
    pub(super) extra: bool,
}

const PLAIN: Module = Module {
    name: "",
    packages: &["."],
    names: &[],
    tags: "",
    stamp: None,
    c: false,
    extra: false,
};

/// Every module, those first that are quick.
pub(super) const MODULES: &[Module] = &[
    Module {
        name: "pause",
        ..PLAIN
    },
    Module {
        name: "cni",
        packages: &[
            "github.com/containernetworking/plugins/plugins/ipam/host-local",
            "github.com/containernetworking/plugins/plugins/main/bridge",
            "github.com/containernetworking/plugins/plugins/main/loopback",
            "github.com/containernetworking/plugins/plugins/main/ptp",
            "github.com/containernetworking/plugins/plugins/meta/portmap",
        ],
        ..PLAIN
    },
    Module {
        name: "runc",
        packages: &["github.com/opencontainers/runc"],
        tags: "seccomp,netgo,osusergo",
        c: true,
        ..PLAIN
    },
    Module {
        name: "kubernetes",
        names: &[
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        ],
        stamp: Some((
            "k8s.io/kubernetes",
            &[
                "k8s.io/component-base/version",
                "k8s.io/client-go/pkg/version",
            ],
        )),
        ..PLAIN
    },
    Module {
        name: "containerd",
        packages: &[
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
        ],
        tags: "no_btrfs,no_zfs,no_devmapper",
        ..PLAIN
    },
    Module {
        name: "coredns",
        ..PLAIN
    },
    Module {
        name: "helm",
        packages: &["helm.sh/helm/v4/cmd/helm"],
        extra: true,
        ..PLAIN
    },
];

impl Module {
    /// The module's sources.
    pub(super) fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("go")
            .join(self.name)
    }

    /// What the built programs depend on, hashed.
    pub(super) fn key(&self, go: &str) -> Result<String> {
        let mut hash = Sha256::new();
        let settings = (self.packages, self.names, self.tags, self.stamp, self.c);
        hash.update(format!("{go}\n{settings:?}\n"));
        let mut files: Vec<PathBuf> = fs::read_dir(self.source())
            .with_context(|| self.source().display().to_string())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        files.sort();
        for file in files {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            hash.update(format!("{name}\n"));
            hash.update(fs::read(&file)?);
        }
        let digest = hash.finalize();
        Ok(digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }

    /// `go build` of the module into `folder`.
    pub(super) fn command(&self, folder: &Path) -> Result<Command> {
        let mut flags = "-s -w".to_owned();
        if self.c {
            flags.push_str(" -extldflags=-static");
        }
        if let Some((dependency, variables)) = self.stamp {
            flags.push_str(&stamps(&self.version(dependency)?, variables));
        }
        let mut command = Command::new("go");
        command
            .current_dir(self.source())
            .env("CGO_ENABLED", if self.c { "1" } else { "0" })
            .env("GOFLAGS", "-mod=readonly -buildvcs=false")
            .args([
                "build",
                "-trimpath",
                "-tags",
                self.tags,
                "-ldflags",
                &flags,
                "-o",
            ])
            .arg(folder.join(""))
            .args(self.packages);
        Ok(command)
    }

    fn version(&self, dependency: &str) -> Result<String> {
        let text = fs::read_to_string(self.source().join("go.mod"))?;
        let found = text.lines().find_map(|line| {
            let rest = line
                .trim()
                .trim_start_matches("require ")
                .strip_prefix(dependency)?;
            rest.split_whitespace().next().map(str::to_owned)
        });
        found.with_context(|| format!("{}: go.mod does not require {dependency}", self.name))
    }
}

/// Kubernetes knows its version only from the linker.
fn stamps(version: &str, variables: &[&str]) -> String {
    let minor = version.split('.').nth(1).unwrap_or_default();
    let values = [
        ("gitVersion", version),
        ("gitMajor", "1"),
        ("gitMinor", minor),
        ("gitTreeState", "clean"),
    ];
    let mut flags = String::new();
    for package in variables {
        for (name, value) in values {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_sources_and_go() {
        let pause = &MODULES[0];
        assert_eq!(pause.key("go1").unwrap(), pause.key("go1").unwrap());
        assert_ne!(pause.key("go1").unwrap(), pause.key("go2").unwrap());
        assert_ne!(pause.key("go1").unwrap(), MODULES[1].key("go1").unwrap());
    }

    #[test]
    fn kubernetes_gets_the_version_of_its_module() {
        let kubernetes = MODULES
            .iter()
            .find(|module| module.name == "kubernetes")
            .unwrap();
        let version = kubernetes.version("k8s.io/kubernetes").unwrap();
        assert!(version.starts_with("v1."), "{version}");
        let flags = stamps("v1.36.3", &["a/b"]);
        assert!(flags.contains(" -X a/b.gitMinor=36"), "{flags}");
    }

    #[test]
    fn every_module_is_complete() {
        for module in MODULES {
            for file in ["go.mod", "go.sum"] {
                assert!(
                    module.source().join(file).exists(),
                    "{} lacks {file}",
                    module.name
                );
            }
        }
    }
}
