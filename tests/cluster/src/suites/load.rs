//! Requests without end from inside a pod, and what came of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::world::{Namespace, SOON};
use crate::wait;

const DIRECT: &str = "direct, one connection";
const FAR: &str = "two nodes, one connection";
/// Targets for a client on node a, of servers `near` on the same node and `far` on the other: a connection each, for all requests.
pub(super) const KEPT: [&str; 2] = [
    "keep:direct, one connection=http://near/",
    "keep:two nodes, one connection=http://far/",
];

/// A pod that asks URLs over and over.
pub(super) struct Load<'a> {
    namespace: &'a Namespace<'a>,
    pod: &'static str,
}

/// What came of one URL so far.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Count {
    pub(super) ok: u64,
    pub(super) failed: u64,
    slowest_ms: u64,
    /// Seconds since 1970, 0 where nothing has come yet.
    pub(super) first_ok: f64,
    why: String,
    /// Answers by the pod that gave them.
    pub(super) by: BTreeMap<String, u64>,
}

/// Counts by target.
pub(super) type Counts = BTreeMap<String, Count>;

impl<'a> Load<'a> {
    /// Starts the pod and waits until every target has answered. A target is `KIND:NAME=URL`, as `load.py` takes it.
    pub(super) fn start(
        namespace: &'a Namespace<'a>,
        pod: &'static str,
        node: &str,
        targets: &[&str],
    ) -> Result<Self> {
        let load = Self::begin(namespace, pod, node, targets)?;
        namespace.until("answers to every target", || {
            Ok(load.counts()?.values().all(|count| count.ok >= 20))
        })?;
        Ok(load)
    }

    /// The same without waiting for answers.
    pub(super) fn begin(
        namespace: &'a Namespace<'a>,
        pod: &'static str,
        node: &str,
        targets: &[&str],
    ) -> Result<Self> {
        let targets = serde_json::to_string(targets)?;
        let words = [("NAME", pod), ("NODE", node), ("TARGETS", &targets)];
        namespace.apply(include_str!("load.yaml"), &words)?;
        namespace.wait(&format!("pod/{pod}"), "condition=Ready")?;
        Ok(Self { namespace, pod })
    }

    /// What came of every target so far.
    pub(super) fn counts(&self) -> Result<Counts> {
        let text = self.namespace.kubectl(&["logs", self.pod, "--tail=1"])?;
        let line = text.lines().next_back();
        let line = line.with_context(|| format!("{} has not told anything yet", self.pod))?;
        serde_json::from_str(line).with_context(|| format!("{} told {line:?}", self.pod))
    }

    /// Does something meanwhile. Returns what was added to the counts, a little time afterwards included.
    pub(super) fn during(&self, act: impl FnOnce() -> Result<()>) -> Result<Counts> {
        let before = self.counts()?;
        act()?;
        let at_end = self.counts()?;
        wait::until("requests after it", SOON, &[], || {
            let now = self.counts()?;
            Ok(now.iter().all(|(name, count)| {
                count.ok + count.failed >= at_end[name].ok + at_end[name].failed + 20
            }))
        })?;
        let mut after = self.counts()?;
        for (name, count) in &mut after {
            count.ok -= before[name].ok;
            count.failed -= before[name].failed;
        }
        Ok(after)
    }
}

/// For people: how many requests there were.
pub(super) fn told(counts: &Counts) -> String {
    let one = |(name, count): (&String, &Count)| {
        let total = count.ok + count.failed;
        format!(
            "{name}: {} of {total} failed, slowest {} ms",
            count.failed, count.slowest_ms
        )
    };
    counts.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// No request failed.
pub(super) fn none_failed(counts: &Counts) -> Result<String> {
    for (name, count) in counts {
        ensure!(
            count.failed == 0,
            "{name}: {} requests failed, at last {}; {}",
            count.failed,
            count.why,
            told(counts)
        );
    }
    Ok(told(counts))
}

/// Of the targets [`KEPT`], what the kernel carries did not break, and what tunnels carry broke at most so often.
pub(super) fn kept(counts: &Counts, breaks: u64) -> Result<String> {
    let all = told(counts);
    let failed = |name: &str| {
        let count = counts.get(name);
        count
            .map(|count| (count.failed, &count.why))
            .with_context(|| format!("nothing is known of {name}"))
    };
    let (direct, why) = failed(DIRECT)?;
    ensure!(direct == 0, "a direct flow broke, at last {why}: {all}");
    let (far, why) = failed(FAR)?;
    ensure!(
        far <= breaks,
        "a connection of two tunnels broke more than {breaks} times, at last {why}: {all}"
    );
    Ok(all)
}
