//! `cluster`: builds what is out of date and hands over to the cluster's own program.

use std::process::ExitCode;

use crate::{run, setup};

/// Commands that start from nothing; the others speak to a cluster that is there.
const STARTING: &[&str] = &["up", "smoke", "suites", "binaries"];

/// Hands over, after making ready what the command may lack.
pub(crate) fn command(args: &[String]) -> anyhow::Result<ExitCode> {
    run::need_root("cargo xtask cluster")?;
    let program = run::binary("warren-cluster");
    if subcommand(args).is_some_and(|word| STARTING.contains(&word)) || !program.exists() {
        ready()?;
    }
    run::become_program(&program, args)
}

/// The first word that is neither a flag nor a flag's value.
fn subcommand(args: &[String]) -> Option<&str> {
    let mut words = args.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--name" => drop(words.next()),
            flag if flag.starts_with('-') => {}
            word => return Some(word),
        }
    }
    None
}

/// Sets the machine up and builds the cluster's program.
fn ready() -> anyhow::Result<()> {
    setup::cluster()?;
    run::run(run::cargo().args([
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "warren-cluster",
    ]))
}

#[cfg(test)]
mod tests {
    use super::subcommand;

    #[test]
    fn the_subcommand_is_found_behind_flags() {
        let find = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            subcommand(&words).map(str::to_owned)
        };
        assert_eq!(
            find("--name up kubectl exec web -- up").as_deref(),
            Some("kubectl")
        );
        assert_eq!(find("--name=x up --nodes a").as_deref(), Some("up"));
        assert_eq!(find("--help"), None);
    }
}
