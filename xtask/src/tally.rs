//! Counts of tests, read off what test programs print.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::run::shown;

/// Passed, failed, skipped, and passed only when tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    pub(crate) unsteady: usize,
}

impl Tally {
    /// One check that is not a test program of its own.
    pub(crate) fn step(&mut self, name: &str, result: anyhow::Result<()>) {
        match result {
            Ok(()) => {
                println!("ok: {name}");
                self.passed += 1;
            }
            Err(error) => {
                println!("FAILED: {name}: {error:#}");
                self.failed += 1;
            }
        }
    }

    /// Something that was left out, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        println!("skipped: {name}: {why}");
        self.skipped += 1;
    }

    /// Runs a test program, shows its output, and adds what its closing lines say. A program that fails without counting a failure
    /// counts as one.
    pub(crate) fn program(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let what = shown(command);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {what}"))?;
        let failed_before = self.failed;
        for line in BufReader::new(child.stdout.take().context("its output")?).lines() {
            let line = line?;
            println!("{line}");
            self.add(&line);
        }
        if !child.wait()?.success() && self.failed == failed_before {
            println!("FAILED: {what}");
            self.failed += 1;
        }
        Ok(())
    }

    /// Runs tests that an earlier program counted as skipped: they are no longer.
    pub(crate) fn made_up_for(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let before = self.passed + self.failed;
        self.program(command)?;
        let ran = self.passed + self.failed - before;
        self.skipped = self.skipped.saturating_sub(ran);
        Ok(())
    }

    /// The counts in a line, as a program's own closing line has them.
    pub(crate) fn closing(&self) -> String {
        let mut line = format!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        );
        if self.unsteady > 0 {
            line += &format!(", {} unsteady", self.unsteady);
        }
        line
    }

    fn add(&mut self, line: &str) {
        let cargo = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
            .map(|(_, counts)| (counts, ';'));
        let plain = line.contains(" passed, ").then_some((line, ','));
        let Some((counts, separator)) = cargo.or(plain) else {
            return;
        };
        for part in counts.split(separator) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(word)) =
                (words.next().map(str::parse::<usize>), words.next())
            else {
                continue;
            };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" | "skipped" => self.skipped += number,
                "unsteady" => self.unsteady += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::Tally;

    #[test]
    fn what_was_skipped_and_then_run_is_counted_once() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 5 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out");
        let line = "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 5 filtered out";
        tally
            .made_up_for(Command::new("echo").arg(line))
            .expect("echo runs");
        assert_eq!((tally.passed, tally.failed, tally.skipped), (6, 1, 1));
    }

    #[test]
    fn reads_the_closing_lines_of_cargo_and_of_our_own_programs() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        tally.add("7 passed, 3 failed, 1 skipped");
        assert_eq!(tally.closing(), "19 passed, 4 failed, 3 skipped");
        tally.add("0 passed, 0 failed, 0 skipped, 2 unsteady");
        tally.add("the password passed, they said");
        assert_eq!(
            tally,
            Tally {
                passed: 19,
                failed: 4,
                skipped: 3,
                unsteady: 2
            }
        );
        assert_eq!(
            tally.closing(),
            "19 passed, 4 failed, 3 skipped, 2 unsteady"
        );
    }
}
