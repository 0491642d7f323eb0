//! `bench.json` and the page made from it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::results::{Aim, Compare, Measure, Results, Section};
use crate::stats::Estimate;

/// Writes both files into `dir`.
///
/// # Errors
/// The directory cannot be written.
pub fn write(results: &Results, dir: &Path) -> Result<()> {
    let put = |name: &str, text: String| {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    put("bench.json", serde_json::to_string_pretty(results)? + "\n")?;
    put("BENCHMARKS.md", page(results))
}

/// Writes the page in `dir` anew from the figures there.
///
/// # Errors
/// There are no figures, or the directory cannot be written.
pub fn rewrite(dir: &Path) -> Result<()> {
    let path = dir.join("bench.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let results: Results = serde_json::from_str(&text)
        .with_context(|| format!("{}: other figures", path.display()))?;
    write(&results, dir)
}

/// The page.
pub fn page(results: &Results) -> String {
    let m = &results.machine;
    let mut out = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench`; do not edit. The figures behind it are in [bench.json](bench.json).\n\n",
    );
    let _ = writeln!(
        out,
        "Machine: {}, {} cores, {:.0} GB of memory, Linux {}; {}; Warren {}. Client, server and both nodes share these cores.",
        m.cpu,
        m.cores,
        m.memory as f64 / 1e9,
        m.kernel,
        m.date,
        results.version
    );
    if results.quick {
        out.push_str("\n**A quick run: too short and too few for conclusions.**\n");
    }
    out.push_str(METHOD);
    for (section, title, about) in SECTIONS {
        table(&mut out, results, section, title, about);
    }
    if !results.notes.is_empty() {
        out.push_str("\n## Notes\n\n");
        for note in &results.notes {
            let _ = writeln!(out, "- {note}");
        }
    }
    out
}

const METHOD: &str = "\nEvery comparison is of the same pods on the same nodes of one lab, in an enrolled and in a plain namespace, run alternately. \
`compared` is the median of the ratios mesh/plain of neighbouring runs or, where it says added, of their differences; \
in brackets the interval of \
order statistics that covers the true median with at least 95 % (with fewer than 6 pairs: all of them). The column \
Istio holds what its ztunnel reached on a machine of this kind, for orientation: it was not measured in the same run. \
An aim holds or not by the median; where it lies within the interval, the page says so.\n";

const SECTIONS: [(Section, &str, &str); 5] = [
    (
        Section::SameNode,
        "Same node: direct flows",
        "The kernel connects the two pods itself.",
    ),
    (
        Section::CrossNode,
        "Between nodes: mutual TLS",
        "Both tunnels carry the connection.",
    ),
    (
        Section::Yardstick,
        "Between nodes: beside a pair of HAProxy",
        "In the column `plain` stand two HAProxy in place of the tunnels, one beside the client and one beside the server, with TLS 1.3 between them: no identity, \
         no policy, no capture, and the client has to ask for them. They pass through what this machine does to anything that crosses it twice more; so they show which part of \
         a latency is the machine's.",
    ),
    (
        Section::Memory,
        "Memory of the tunnel",
        "Resident memory of one tunnel; the greater one of the two.",
    ),
    (
        Section::Controller,
        "Controller",
        "Workloads read from a directory of YAML files; one client that takes everything.",
    ),
];

fn table(out: &mut String, results: &Results, section: Section, title: &str, about: &str) {
    let rows: Vec<&Measure> = results
        .measures
        .iter()
        .filter(|m| m.section == section)
        .collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## {title}\n\n{about}\n");
    out.push_str("| | plain | mesh | compared | aim | Istio |\n|---|--:|--:|--:|--:|--:|\n");
    for m in rows {
        let value = |e: Option<Estimate>| {
            e.map_or("–".to_owned(), |e| {
                format!("{} {}", number(e.median), m.unit)
            })
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            m.what,
            value(m.plain),
            value(m.mesh),
            compared(m),
            aim(m),
            m.istio.map_or("–".to_owned(), number)
        );
    }
}

fn compared(m: &Measure) -> String {
    let Some(e) = m.compared else {
        return "–".into();
    };
    let range = |unit: &str| {
        format!(
            "{}{unit} [{}, {}]",
            number(e.median),
            number(e.low),
            number(e.high)
        )
    };
    match m.compare {
        Compare::Ratio => range(""),
        Compare::Difference => format!("added {}", range(&format!(" {}", m.unit))),
        Compare::Nothing => "–".into(),
    }
}

fn aim(m: &Measure) -> String {
    let Some(aim) = m.aim else {
        return "–".into();
    };
    let bound = match aim {
        Aim::AtLeast(bound) => format!("≥ {}", number(bound)),
        Aim::AtMost(bound) => format!("≤ {}", number(bound)),
    };
    let within = if m.is_open() {
        ", within the interval"
    } else {
        ""
    };
    match m.reached() {
        Some(true) => format!("{bound}: reached{within}"),
        Some(false) => format!("{bound}: missed{within}"),
        None => bound,
    }
}

/// Three significant digits, without an exponent.
fn number(value: f64) -> String {
    let magnitude = if value == 0.0 {
        0
    } else {
        value.abs().log10().floor() as i32
    };
    let decimals = usize::try_from(2 - magnitude).unwrap_or(0).min(6);
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    #[test]
    fn numbers_have_three_digits() {
        let shown: Vec<String> = [0.0, 0.951_23, 1.0, 12.345, 214.4, 104_321.2, 0.001_234]
            .into_iter()
            .map(number)
            .collect();
        assert_eq!(
            shown,
            ["0", "0.951", "1", "12.3", "214", "104321", "0.00123"]
        );
    }

    #[test]
    fn a_missed_aim_is_said() {
        let measure = Measure::compared(
            Section::SameNode,
            "throughput",
            "Gbit/s",
            Compare::Ratio,
            vec![9.0],
            vec![10.0],
        )
        .aim(Aim::AtLeast(0.95));
        let results = Results {
            machine: Machine::here(),
            version: "1".into(),
            quick: true,
            measures: vec![measure],
            notes: vec!["no wrk".into()],
        };
        let page = page(&results);
        assert!(
            page.contains(
                "| throughput | 10 Gbit/s | 9 Gbit/s | 0.9 [0.9, 0.9] | ≥ 0.95: missed | – |"
            ),
            "{page}"
        );
        assert!(page.contains("quick run") && page.contains("- no wrk"));
        assert!(!page.contains("## Controller"));
    }
}
