//! Counting and timing checks, a line each.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::{interrupt, out};

/// What passed and failed since when.
#[derive(Debug)]
pub struct Tally {
    passed: usize,
    failed: usize,
    began: Instant,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            passed: 0,
            failed: 0,
            began: Instant::now(),
        }
    }
}

impl Tally {
    /// One check.
    pub fn step(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        self.measured(name, || check().map(|()| String::new()));
    }

    /// One check that tells what it measured.
    pub fn measured(&mut self, name: &str, check: impl FnOnce() -> Result<String>) {
        let began = Instant::now();
        let result = interrupt::check().and_then(|()| check());
        let took = began.elapsed().as_secs_f64();
        match result {
            Ok(told) => {
                let told = if told.is_empty() {
                    told
                } else {
                    format!(": {told}")
                };
                out::line(format_args!("ok: {name} ({took:.1} s){told}"));
                self.passed += 1;
            }
            Err(error) => {
                out::line(format_args!("FAILED: {name} ({took:.1} s): {error:#}"));
                self.failed += 1;
            }
        }
    }

    /// How many failed so far.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// The last lines, and the exit status.
    pub fn end(&self) -> ExitCode {
        out::line(format_args!("took {} s", self.began.elapsed().as_secs()));
        out::line(format_args!(
            "{} passed, {} failed, 0 skipped",
            self.passed, self.failed
        ));
        if self.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
