//! The real Helm, as a program.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::arguments::{Target, Values};
use super::charts::Charts;
use super::error::{Error, in_words};

/// `--reset-then-reuse-values` came with it.
const OLDEST: (u64, u64) = (3, 14);
/// The oldest version of Kubernetes that the charts take.
const KUBERNETES: &str = "1.30.0";

/// Helm, the namespace and the cluster that it works on.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    common: Vec<OsString>,
}

impl Helm {
    /// Finds it, and asks for its version.
    ///
    /// # Errors
    /// It is not there, or too old.
    pub async fn find(program: &Path, namespace: &str) -> Result<Self, Error> {
        let helm = Self {
            program: program.to_owned(),
            common: vec!["--namespace".into(), namespace.into()],
        };
        let output = Command::new(&helm.program)
            .args(["version", "--template", "{{.Version}}"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        let output = output.map_err(|e| helm.missing(in_words(&e)))?;
        if !output.status.success() {
            return Err(helm.missing(one_line(&output.stderr)));
        }
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if numbers(&version).is_none_or(|found| found < OLDEST) {
            let path = helm.program;
            return Err(Error::OldHelm { path, version });
        }
        Ok(helm)
    }

    /// The same, for a cluster.
    ///
    /// # Errors
    /// As [`Helm::find`].
    pub async fn of(target: &Target) -> Result<Self, Error> {
        let mut helm = Self::find(&target.helm, &target.namespace).await?;
        if let Some(file) = &target.kubeconfig {
            helm.common.extend(["--kubeconfig".into(), file.into()]);
        }
        if let Some(context) = &target.kube_context {
            helm.common
                .extend(["--kube-context".into(), context.into()]);
        }
        Ok(helm)
    }

    /// Runs a subcommand to its end; what it printed.
    ///
    /// # Errors
    /// It fails; its last words are in one line.
    pub async fn run<I: AsRef<OsStr>>(&self, command: &str, rest: &[I]) -> Result<String, Error> {
        let output = Command::new(&self.program)
            .args(command.split(' '))
            .args(rest)
            .args(&self.common)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        let output = output.map_err(|e| self.missing(in_words(&e)))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Helm {
            command: command.to_owned(),
            why: one_line(&output.stderr),
        })
    }

    /// Both charts' manifests, without asking a cluster.
    ///
    /// # Errors
    /// The settings are not good.
    pub async fn render(&self, charts: &Charts, values: &Values) -> Result<String, Error> {
        let words = |release: &str, chart: PathBuf| -> Vec<OsString> {
            // Helm otherwise takes the version that it was built with, which may be too old for the charts.
            vec![
                release.into(),
                chart.into(),
                "--kube-version".into(),
                KUBERNETES.into(),
            ]
        };
        let crds = self
            .run("template", &words(super::RELEASES[0], charts.crds()))
            .await?;
        let mut mesh = words(super::RELEASES[1], charts.mesh());
        mesh.extend(values_of(values));
        match self.run("template", &mesh).await {
            Ok(mesh) => Ok(crds + &mesh),
            Err(Error::Helm { why, .. }) => Err(Error::Values(why)),
            Err(other) => Err(other),
        }
    }

    fn missing(&self, why: String) -> Error {
        Error::NoHelm {
            path: self.program.clone(),
            why,
        }
    }
}

/// Settings as Helm takes them.
pub fn values_of(values: &Values) -> Vec<OsString> {
    let files = values
        .files
        .iter()
        .flat_map(|file| ["--values".into(), file.into()]);
    let set = values
        .set
        .iter()
        .flat_map(|set| ["--set".into(), set.into()]);
    files.chain(set).collect()
}

fn numbers(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What Helm says is wrong, without its prefixes, warnings and log lines.
fn one_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let beginning = text.find("Error: ").map_or(0, |at| at + "Error: ".len());
    let lines = text[beginning..]
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    let line = line.trim_start_matches("INSTALLATION FAILED: ");
    line.trim_start_matches("UPGRADE FAILED: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_and_without_patch() {
        assert_eq!(numbers("v3.14.2"), Some((3, 14)));
        assert_eq!(numbers("v4.3"), Some((4, 3)));
        assert_eq!(numbers("GNU coreutils"), None);
        assert!(numbers("v3.9.0") < Some(OLDEST));
    }

    #[test]
    fn last_words_are_one_line() {
        let said = b"level=WARN msg=x\nError: INSTALLATION FAILED: values don't fit:\nwarren:\n- at '': no `contro`\n\n";
        assert_eq!(
            one_line(said),
            "values don't fit: warren: - at '': no `contro`"
        );
        assert_eq!(one_line(b"Killed\n"), "Killed");
    }
}
