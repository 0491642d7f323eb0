//! The command lines of `install`, `upgrade`, `uninstall` and `render`.

use std::path::PathBuf;
use std::time::Duration;

/// Which cluster, and by which Helm.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// The mesh's own namespace.
    #[arg(short, long, default_value = "warren-system", value_parser = name)]
    pub namespace: String,
    /// The kubeconfig; that of kubectl by default.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; its current one by default.
    #[arg(long, value_name = "NAME")]
    pub kube_context: Option<String>,
    /// The Helm to run, 3.14 or newer; the one on PATH by default.
    #[arg(long, env = "WARREN_HELM", value_name = "PATH", default_value = "helm")]
    pub helm: PathBuf,
}

/// Settings of the mesh; `helm show values` or deploy/charts/mesh/values.yaml documents them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Values {
    /// A setting, such as `control.replicas=2`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub set: Vec<String>,
    /// A file of settings.
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// How long to wait.
#[derive(Clone, Debug, clap::Args)]
pub struct Waiting {
    /// Wait until every component is ready.
    #[arg(long)]
    pub wait: bool,
    /// How long at most, such as 90s or 5m.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    /// Change nothing: show what would be sent.
    #[arg(long)]
    pub dry_run: bool,
}

/// `install`.
#[derive(Clone, Debug, clap::Args)]
pub struct Deploy {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub values: Values,
    #[command(flatten)]
    pub waiting: Waiting,
    /// Go on where a check of the cluster fails.
    #[arg(long)]
    pub skip_checks: bool,
}

/// `upgrade`.
#[derive(Clone, Debug, clap::Args)]
pub struct Upgrade {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub values: Values,
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `uninstall`.
#[derive(Clone, Debug, clap::Args)]
pub struct Uninstall {
    #[command(flatten)]
    pub target: Target,
    /// How long agents may take to make ready, and everything to go, such as 90s or 5m.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    /// Also the kinds of objects, and with them every policy.
    #[arg(long)]
    pub purge_crds: bool,
    /// Yes, delete the policies that there are.
    #[arg(long, requires = "purge_crds")]
    pub yes: bool,
    /// Do not wait for agents that cannot run: what the mesh made on their nodes stays there, closed.
    #[arg(long)]
    pub skip_leave: bool,
}

/// `render`.
#[derive(Clone, Debug, clap::Args)]
pub struct Render {
    /// The mesh's own namespace.
    #[arg(short, long, default_value = "warren-system", value_parser = name)]
    pub namespace: String,
    /// The Helm to run, 3.14 or newer; the one on PATH by default.
    #[arg(long, env = "WARREN_HELM", value_name = "PATH", default_value = "helm")]
    pub helm: PathBuf,
    #[command(flatten)]
    pub values: Values,
}

fn name(text: &str) -> Result<String, String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edges = text.starts_with('-') || text.ends_with('-');
    if text.is_empty() || text.len() > 63 || edges || !text.chars().all(word) {
        return Err("a name has at most 63 of a-z, 0-9 and -, and no - at its ends".to_owned());
    }
    Ok(text.to_owned())
}

fn assignment(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// A whole number and its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("write a number and s, m or h, such as 90s".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "no number".to_owned())?;
    match number.checked_mul(seconds) {
        Some(total @ 1..=86_400) => Ok(Duration::from_secs(total)),
        _ => Err("from 1s to 24h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_an_end() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        for bad in [
            "",
            "5",
            "m",
            "-1s",
            "1.5m",
            "0s",
            "25h",
            "99999999999999999999s",
            "5 m",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_those_of_namespaces() {
        assert!(name("warren-system").is_ok());
        for bad in ["", "-a", "a-", "A", "a.b", &"a".repeat(64)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
