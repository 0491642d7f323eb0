//! Results as JSON lines on standard output.

use std::io::Write;

use serde_json::{Value, json};

/// Prints one line at once.
pub fn line(value: &Value) {
    let mut out = std::io::stdout().lock();
    // A reader that went away needs no result.
    let _ = writeln!(out, "{value}");
    let _ = out.flush();
}

/// The last line: the outcome in one word, whether it was expected, and what else was found wrong.
pub fn done(outcome: &str, expected: &[String], violations: &[String]) -> bool {
    let met = expected
        .iter()
        .any(|e| outcome == e || outcome.starts_with(&format!("{e}:")));
    let ok = met && violations.is_empty();
    line(&json!({
        "event": "done",
        "ok": ok,
        "outcome": outcome,
        "expected": expected,
        "violations": violations,
    }));
    ok
}
