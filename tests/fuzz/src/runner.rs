//! Runs a target on one input or on many, and keeps what makes it panic.

use std::cell::RefCell;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::corpus;
use crate::coverage::Coverage;
use crate::mutate::Mutator;
use crate::targets::Target;
use crate::watch::{self, Bounds, Current};

/// Different panics after which a run gives up.
const MAX_CRASHES: usize = 20;
/// Inputs kept in memory; beyond that, new ones replace none.
const MAX_CORPUS: usize = 20_000;

thread_local!(static PANIC: RefCell<String> = const { RefCell::new(String::new()) });

/// Runs one input.
///
/// # Errors
/// The message and place of its panic.
pub fn once(target: &Target, input: &[u8]) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| {
            PANIC.with(|last| *last.borrow_mut() = info.to_string())
        }));
    });
    let result = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    result.map_err(|_| PANIC.with(|last| last.take()))
}

/// How a long run is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long.
    pub length: Duration,
    /// The same seed makes the same inputs.
    pub seed: u64,
    /// What one input may use.
    pub bounds: Bounds,
    /// Where inputs that panic go.
    pub crashes: PathBuf,
    /// Where inputs that reach new code go, in builds that can tell.
    pub grow: Option<PathBuf>,
}

/// What a long run did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Inputs run.
    pub runs: u64,
    /// The slowest one.
    pub slowest: Duration,
    /// Panics with different messages, and their inputs' files.
    pub crashes: Vec<(String, PathBuf)>,
    /// Inputs that reached new code.
    pub found: usize,
    /// Edges taken, of those that the build counts; 0 of 0 without counters.
    pub edges: (usize, usize),
}

/// Mutates a target's corpus for as long as told, or until too much has panicked.
///
/// # Errors
/// The corpus cannot be read, or a crash or find not be written.
pub fn long(target: &Target, options: &Options) -> io::Result<Summary> {
    let mut inputs: Vec<Vec<u8>> = corpus::load(&corpus::root().join(target.name))?
        .into_iter()
        .map(|(_, input)| input)
        .collect();
    if let Some(grown) = &options.grow {
        inputs.extend(
            corpus::load(&grown.join(target.name))?
                .into_iter()
                .map(|(_, input)| input),
        );
    }
    let current = Current::default();
    let crashes = options.crashes.join(target.name);
    watch::start(current.clone(), options.bounds, crashes);
    let mut run = Run {
        target,
        options,
        current,
        coverage: Coverage::default(),
        summary: Summary::default(),
    };
    for input in &inputs {
        run.input(input)?;
    }
    let mut mutator = Mutator::new(options.seed, target.words, target.max_len);
    let deadline = Instant::now() + options.length;
    while Instant::now() < deadline && run.summary.crashes.len() < MAX_CRASHES {
        let input = mutator.next(&inputs);
        if run.input(&input)? {
            run.keep(input, &mut inputs)?;
        }
    }
    run.summary.edges = (run.coverage.taken(), Coverage::edges());
    Ok(run.summary)
}

struct Run<'a> {
    target: &'a Target,
    options: &'a Options,
    current: Current,
    coverage: Coverage,
    summary: Summary,
}

impl Run<'_> {
    /// Whether the input reached new code.
    fn input(&mut self, input: &[u8]) -> io::Result<bool> {
        self.current.begin(input);
        let result = once(self.target, input);
        self.summary.slowest = self.summary.slowest.max(self.current.end());
        self.summary.runs += 1;
        if let Err(message) = result {
            self.crash(message, input)?;
        }
        Ok(self.coverage.add())
    }

    fn crash(&mut self, message: String, input: &[u8]) -> io::Result<()> {
        // The place is enough to tell panics apart; messages often quote the input.
        let place = |m: &str| m.lines().next().unwrap_or_default().to_owned();
        if self
            .summary
            .crashes
            .iter()
            .any(|(known, _)| place(known) == place(&message))
        {
            return Ok(());
        }
        let path = corpus::save(&self.options.crashes.join(self.target.name), input)?;
        self.summary.crashes.push((message, path));
        Ok(())
    }

    fn keep(&mut self, input: Vec<u8>, inputs: &mut Vec<Vec<u8>>) -> io::Result<()> {
        self.summary.found += 1;
        if let Some(grow) = &self.options.grow {
            corpus::save(&grow.join(self.target.name), &input)?;
        }
        if inputs.len() < MAX_CORPUS {
            inputs.push(input);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragile(data: &[u8]) {
        assert!(data.len() < 2, "two bytes");
        assert!(!data.contains(&0), "a zero");
    }

    #[test]
    fn panics_are_found_kept_and_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target {
            name: "fragile",
            about: "",
            run: fragile,
            words: &[],
            max_len: 4,
        };
        let options = Options {
            length: Duration::from_millis(300),
            seed: 1,
            bounds: Bounds::default(),
            crashes: dir.path().to_owned(),
            grow: None,
        };
        let summary = long(&target, &options).unwrap();
        let mut messages: Vec<&str> = summary
            .crashes
            .iter()
            .map(|(m, _)| m.lines().last().unwrap())
            .collect();
        messages.sort_unstable();
        assert_eq!(messages, ["a zero", "two bytes"]);
        for (_, path) in &summary.crashes {
            assert!(once(&target, &std::fs::read(path).unwrap()).is_err());
        }
        assert!(summary.runs > 100);
    }
}
