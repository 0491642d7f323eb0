//! AuthorizationPolicy to core policies, as Istio documents it for L4.
//!
//! HTTP-only fields: an ALLOW or AUDIT rule that holds one cannot match and is dropped, while the policy stays present; a
//! DENY rule keeps its L4 part, so it refuses more than was asked for, never less.

use std::sync::Arc;

use warren_core::policy::{Action, Audit, Clause, Match, Rule};
use warren_crds::AuthorizationPolicySpec;
use warren_crds::authorization_policy as crd;

use crate::model::labels::DRY_RUN;
use crate::model::{Labels, Meta};

mod condition;
mod parse;
mod source;

/// A problem that makes the whole object invalid.
pub type Invalid = String;

/// Which destinations an AuthorizationPolicy covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cover {
    /// Its namespace; the mesh, where that is the root namespace.
    Wide,
    /// Pods with these labels.
    Selector(Labels),
    /// Pods of these Services of its namespace, on their target ports.
    Services(Vec<Arc<str>>),
}

/// One AuthorizationPolicy, checked and compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// What it covers.
    pub cover: Cover,
    /// What a match means.
    pub action: Action,
    /// Set where a match is only reported.
    pub audit: Option<Audit>,
    /// Rules.
    pub rules: Vec<Rule>,
    /// What has no effect or another one than it seems: reason and next step.
    pub notes: Vec<(String, String)>,
}

impl Compiled {
    /// Whether its presence makes everything else refused.
    pub fn is_enforced_allow(&self) -> bool {
        self.audit.is_none() && self.action == Action::Allow
    }
}

/// Checks and compiles.
///
/// # Errors
/// A value that cannot be read, or fields that contradict each other; the object must not be taken.
pub fn compile(meta: &Meta, spec: &AuthorizationPolicySpec) -> Result<Compiled, Invalid> {
    let mut notes = Vec::new();
    let cover = cover(spec, &mut notes)?;
    let dry_run = match meta.annotations.get(DRY_RUN).map(String::as_str) {
        Some("true") => true,
        None | Some("false") => false,
        Some(other) => {
            return Err(format!(
                "annotation {DRY_RUN}: `{other}` is neither true nor false"
            ));
        }
    };
    let (action, audit) = match spec.action {
        crd::Action::Allow => (Action::Allow, dry_run.then_some(Audit::DryRun)),
        crd::Action::Deny => (Action::Deny, dry_run.then_some(Audit::DryRun)),
        crd::Action::Audit => (Action::Deny, Some(Audit::Audit)),
    };
    let mut compiler = Compiler {
        namespace: &meta.id.namespace,
        // Only a real DENY is widened to its L4 part.
        widen: spec.action == crd::Action::Deny,
        path: String::new(),
        http_only: Vec::new(),
        notes,
    };
    let given = spec.rules.as_deref().unwrap_or_default();
    let mut rules = Vec::new();
    for (i, rule) in given.iter().enumerate() {
        rules.extend(compiler.rule(i, rule)?);
    }
    let Compiler { mut notes, .. } = compiler;
    if given.is_empty() && spec.action != crd::Action::Allow {
        notes.push((
            "a policy without rules never matches".into(),
            "add rules; `- {}` matches everything".into(),
        ));
    }
    Ok(Compiled {
        cover,
        action,
        audit,
        rules,
        notes,
    })
}

fn cover(
    spec: &AuthorizationPolicySpec,
    notes: &mut Vec<(String, String)>,
) -> Result<Cover, Invalid> {
    let selector = spec
        .selector
        .as_ref()
        .map(|s| s.match_labels.clone())
        .filter(|s| !s.is_empty());
    let Some(targets) = &spec.target_refs else {
        return Ok(selector.map_or(Cover::Wide, Cover::Selector));
    };
    if spec.selector.is_some() {
        return Err("spec.selector and spec.targetRefs exclude each other".into());
    }
    if targets.is_empty() {
        return Err("spec.targetRefs is empty".into());
    }
    let mut services = Vec::new();
    for (i, target) in targets.iter().enumerate() {
        match (target.group.as_str(), target.kind.as_str()) {
            ("" | "core", "Service") => services.push(target.name.as_str().into()),
            (group, kind) => notes.push((
                format!("spec.targetRefs[{i}]: kind {kind} of group `{group}` is not supported in this release, so nothing is enforced for {}", target.name),
                "name a Service, or use a selector".into(),
            )),
        }
    }
    Ok(Cover::Services(services))
}

struct Compiler<'a> {
    namespace: &'a Arc<str>,
    widen: bool,
    /// Of the rule that is being compiled.
    path: String,
    http_only: Vec<String>,
    notes: Vec<(String, String)>,
}

impl Compiler<'_> {
    /// None where the rule cannot match at L4.
    fn rule(&mut self, index: usize, rule: &crd::Rule) -> Result<Option<Rule>, Invalid> {
        self.path = format!("spec.rules[{index}]");
        let mut clauses = Vec::new();
        clauses.extend(self.from(rule.from.as_deref())?);
        clauses.extend(self.to(rule.to.as_deref())?);
        for (i, when) in rule.when.iter().flatten().enumerate() {
            clauses.extend(self.condition(i, when)?);
        }
        let http_only = std::mem::take(&mut self.http_only);
        if http_only.is_empty() {
            return Ok(Some(Rule { clauses }));
        }
        let fields = http_only.join(", ");
        if self.widen {
            self.notes.push((
                format!("{fields}: cannot be checked at L4, so this DENY rule refuses everything that its other fields match"),
                "remove the field, or expect the wider effect".into(),
            ));
            return Ok(Some(Rule { clauses }));
        }
        self.notes.push((
            format!("{fields}: cannot be checked at L4, so this rule never matches"),
            "remove the field, or express the rule by identities, addresses and ports".into(),
        ));
        Ok(None)
    }

    fn from(&mut self, from: Option<&[crd::From]>) -> Result<Option<Clause>, Invalid> {
        let Some(from) = from else { return Ok(None) };
        let path = format!("{}.from", self.path);
        if from.is_empty() {
            return Err(format!(
                "{path} is empty: leave it out to match every source"
            ));
        }
        let mut matches = Vec::new();
        for (i, from) in from.iter().enumerate() {
            matches.push(self.source(&format!("{path}[{i}].source"), &from.source)?);
        }
        Ok(any_of(matches))
    }

    fn to(&mut self, to: Option<&[crd::To]>) -> Result<Option<Clause>, Invalid> {
        let Some(to) = to else { return Ok(None) };
        let path = format!("{}.to", self.path);
        if to.is_empty() {
            return Err(format!(
                "{path} is empty: leave it out to match every operation"
            ));
        }
        let mut matches = Vec::new();
        for (i, to) in to.iter().enumerate() {
            matches.push(self.operation(&format!("{path}[{i}].operation"), &to.operation)?);
        }
        Ok(any_of(matches))
    }

    fn operation(&mut self, path: &str, operation: &crd::Operation) -> Result<Match, Invalid> {
        if *operation == crd::Operation::default() {
            return Err(format!(
                "{path} is empty: leave `to` out to match every operation"
            ));
        }
        let http = [
            ("hosts", &operation.hosts),
            ("notHosts", &operation.not_hosts),
            ("methods", &operation.methods),
            ("notMethods", &operation.not_methods),
            ("paths", &operation.paths),
            ("notPaths", &operation.not_paths),
        ];
        self.note_http(path, &http);
        Ok(Match {
            destination_ports: parse::ports(&format!("{path}.ports"), &operation.ports)?,
            not_destination_ports: parse::ports(&format!("{path}.notPorts"), &operation.not_ports)?,
            ..Match::default()
        })
    }

    fn note_http(&mut self, path: &str, fields: &[(&str, &Vec<String>)]) {
        let given = fields.iter().filter(|(_, values)| !values.is_empty());
        self.http_only
            .extend(given.map(|(name, _)| format!("{path}.{name}")));
    }
}

/// One of several has to match. One that holds nothing any more, since all its fields were HTTP-only, matches everything.
fn any_of(matches: Vec<Match>) -> Option<Clause> {
    if matches.contains(&Match::default()) {
        None
    } else {
        Some(Clause { matches })
    }
}
