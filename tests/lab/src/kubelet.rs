//! The kubelet's probes, in a process of its own: it sits in the node's network namespace and in the
//! kubelet's cgroup, so that its connections look exactly as a kubelet's do.
//!
//! ```text
//! daemon ──orders (stdin, JSON lines)──► a thread for each probe ──verdicts (stdout)──► daemon
//! ```

mod probe;

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::container::Entry;
use crate::podspec::{ProbePlan, Purpose};

pub use probe::{http_ok, look};

/// How long a container that is not ready yet is looked at more often than its probe says.
const HURRY: Duration = Duration::from_secs(15);

/// What the daemon says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// Probe a run of a container.
    Watch {
        /// Names the run.
        watch: String,
        /// The pod's addresses.
        addresses: Vec<IpAddr>,
        /// How to run a command inside the container.
        entry: Box<Entry>,
        /// Environment of such a command.
        env: Vec<(String, String)>,
        /// Probes.
        probes: Vec<ProbePlan>,
    },
    /// Stop probing a run.
    Forget {
        /// Names the run.
        watch: String,
    },
}

/// What the kubelet says when a probe changed its mind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Names the run.
    pub watch: String,
    /// Which probe.
    pub purpose: Purpose,
    /// Whether it passes.
    pub good: bool,
    /// Why not.
    pub detail: String,
}

/// A run under watch, shared by the threads of its probes.
pub struct Watched {
    /// Names the run.
    pub watch: String,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// How to run a command inside the container.
    pub entry: Entry,
    /// Environment of such a command.
    pub env: Vec<(String, String)>,
    stop: AtomicBool,
}

impl Watched {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Reads orders until the daemon closes its end.
pub fn run() -> Result<()> {
    let mut watched: HashMap<String, Arc<Watched>> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.context("cannot read orders")?;
        match serde_json::from_str(&line).context("not an order")? {
            Order::Watch {
                watch,
                addresses,
                entry,
                env,
                probes,
            } => {
                let run = Watched {
                    watch: watch.clone(),
                    addresses,
                    entry: *entry,
                    env,
                    stop: AtomicBool::new(false),
                };
                let run = Arc::new(run);
                watched.insert(watch, run.clone());
                std::thread::spawn(move || probe_all(&run, &probes));
            }
            Order::Forget { watch } => {
                if let Some(run) = watched.remove(&watch) {
                    run.stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }
    Ok(())
}

fn probe_all(run: &Arc<Watched>, probes: &[ProbePlan]) {
    let (startup, rest): (Vec<&ProbePlan>, Vec<&ProbePlan>) =
        probes.iter().partition(|p| p.purpose == Purpose::Startup);
    for plan in startup {
        if !follow(run, plan, true) {
            return;
        }
    }
    if !rest.iter().any(|p| p.purpose == Purpose::Readiness) && probes.len() > rest.len() {
        say(run, Purpose::Startup, true, String::new());
    }
    for plan in rest {
        let (run, plan) = (run.clone(), plan.clone());
        std::thread::spawn(move || follow(&run, &plan, false));
    }
}

/// Probes until the run is forgotten, or with `once` until the first verdict, which is returned.
fn follow(run: &Watched, plan: &ProbePlan, once: bool) -> bool {
    let began = Instant::now();
    let (mut said, mut good, mut bad) = (None, 0, 0);
    pause(run, Duration::from_secs(plan.delay.into()));
    while !run.stopped() {
        let outcome = look(run, plan);
        if run.stopped() {
            return false;
        }
        let detail = outcome
            .as_ref()
            .err()
            .map(|e| format!("{e:#}"))
            .unwrap_or_default();
        (good, bad) = if outcome.is_ok() {
            (good + 1, 0)
        } else {
            (0, bad + 1)
        };
        let verdict = if good >= plan.successes {
            Some(true)
        } else if bad >= plan.failures {
            Some(false)
        } else {
            None
        };
        if let Some(verdict) = verdict {
            if once && verdict {
                return true;
            }
            if said != Some(verdict) {
                say(run, plan.purpose, verdict, detail);
                said = Some(verdict);
            }
            if once {
                return false;
            }
        }
        // A container that has just begun is looked at often, so that a lab is up soon.
        let hurry =
            plan.purpose == Purpose::Readiness && said != Some(true) && began.elapsed() < HURRY;
        let period = Duration::from_secs(plan.period.into());
        pause(
            run,
            if hurry {
                Duration::from_millis(100).min(period)
            } else {
                period
            },
        );
    }
    false
}

fn pause(run: &Watched, time: Duration) {
    let end = Instant::now() + time;
    while !run.stopped() && Instant::now() < end {
        std::thread::sleep(time.min(Duration::from_millis(100)));
    }
}

fn say(run: &Watched, purpose: Purpose, good: bool, detail: String) {
    let verdict = Verdict {
        watch: run.watch.clone(),
        purpose,
        good,
        detail,
    };
    let line = serde_json::to_string(&verdict).unwrap_or_default();
    // A daemon that is gone takes the kubelet with it soon.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
