//! `warren check`: whether this machine can be a node, and what the mesh on it cannot honour.

use std::path::Path;

use serde::Serialize;
use warren_admin::types::Warning;

use crate::output::{self, Table};
use crate::{Error, Format};

mod cgroup;
mod kernel;
mod privilege;

const OBJECTS: &str = "objects of the mesh";
/// Where a controller runs somewhere else, as it does on Kubernetes.
const CONDITIONS: &str = "on Kubernetes their condition Accepted says whether they are honoured: `kubectl get authorizationpolicies,peerauthentications -A`; \
     of other objects `kubectl get events -A --field-selector source=warren-control`";

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Pass,
    /// Could not be found out, or only some features suffer.
    Warn,
    /// A node cannot work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub check: String,
    /// How it is.
    pub result: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it; empty for a pass.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Finding {
    pub(crate) fn pass(check: &str, found: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            result: Verdict::Pass,
            found: found.into(),
            remedy: String::new(),
        }
    }

    pub(crate) fn warn(check: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            result: Verdict::Warn,
            remedy: remedy.into(),
            ..Self::pass(check, found)
        }
    }

    pub(crate) fn fail(check: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            result: Verdict::Fail,
            remedy: remedy.into(),
            ..Self::pass(check, found)
        }
    }
}

/// Whether the programs do not run on a kernel of this release.
pub fn kernel_is_old(release: &str) -> bool {
    kernel::judge_version(release).result == Verdict::Fail
}

/// Looks at everything and writes it, with the objects that the controller cannot honour (None: no controller told); false where
/// something fails.
///
/// # Errors
/// The output cannot be written.
pub fn run(
    cgroup: Option<&Path>,
    objects: Option<&[Warning]>,
    format: Format,
) -> Result<bool, Error> {
    let mut findings = vec![privilege::capabilities(), kernel::version(), kernel::btf()];
    findings.extend(kernel::features());
    findings.extend([
        kernel::jit(),
        kernel::ipv6(),
        cgroup::hierarchy(cgroup),
        cgroup::bpffs(),
    ]);
    findings.extend(of_objects(objects));
    output::write(format, &findings, |findings| draw(findings))?;
    Ok(findings.iter().all(|f| f.result != Verdict::Fail))
}

/// Silence would read as if every object were honoured.
fn of_objects(objects: Option<&[Warning]>) -> Vec<Finding> {
    match objects {
        Some(objects) => objects.iter().map(of_object).collect(),
        None => vec![Finding::warn(
            OBJECTS,
            "not looked at: no controller answers on this machine",
            CONDITIONS,
        )],
    }
}

/// The controller's reason says what to do as well.
fn of_object(warning: &Warning) -> Finding {
    Finding::warn(&output::object(warning), &*warning.reason, "")
}

fn draw(findings: &[Finding]) -> String {
    let mut table = Table::new(&["check", "result", "found", "remedy"]);
    for f in findings {
        let result = match f.result {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        table.row(vec![
            f.check.clone(),
            result.to_owned(),
            f.found.clone(),
            f.remedy.clone(),
        ]);
    }
    let failed = findings
        .iter()
        .filter(|f| f.result == Verdict::Fail)
        .count();
    let verdict = match failed {
        0 => "This machine can be a node.".to_owned(),
        n => format!(
            "This machine cannot be a node yet: {n} of {} checks fail.",
            findings.len()
        ),
    };
    format!("{}\n{verdict}\n", table.render(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_is_not_honoured_is_named_and_fails_no_machine() {
        let warning = Warning {
            kind: "AuthorizationPolicy".into(),
            namespace: "shop".into(),
            name: "bad".into(),
            file: None,
            line: None,
            reason: "spec.rules: no such field; correct its name".into(),
        };
        let finding = of_object(&warning);
        assert_eq!(finding.result, Verdict::Warn);
        let shown = draw(&[finding]);
        for word in [
            "AuthorizationPolicy shop/bad",
            &warning.reason,
            "can be a node",
        ] {
            assert!(shown.contains(word), "{shown}");
        }
        assert_eq!(of_objects(Some(&[])), [], "a controller has no complaint");
    }

    #[test]
    fn where_no_controller_answers_it_says_where_to_look() {
        let findings = of_objects(None);
        assert_eq!(findings[0].result, Verdict::Warn);
        let shown = draw(&findings);
        for word in [
            "objects of the mesh",
            "no controller answers on this machine",
            "kubectl get authorizationpolicies,peerauthentications -A",
            "This machine can be a node.",
        ] {
            assert!(shown.contains(word), "{shown}");
        }
    }
}
