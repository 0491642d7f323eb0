//! What the pages say exists: links, objects, flags, labels, metrics.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use warren_control::model::labels::{KNOWN, PREFIX};
use warren_control::source::decode::decode;
use warren_control::source::dir::document::parse;
use warren_control::status::gateway::CONTROLLER;
use warren_docs::{commands, root};
use warren_ztunnel::record::Flag;

/// Flags of other programs that pages name: helm's and kubectl's, `cargo xtask`'s with those of what it runs, and an example of a name.
const FOREIGN: &[&str] = &[
    "cascade",
    "all-namespaces",
    "create-namespace",
    "field-selector",
    "ignore-daemonsets",
    "reset-then-reuse-values",
    "reuse-values",
    "set",
    "since",
    "validate",
    "wait",
    "cluster",
    "cluster-smoke",
    "dir",
    "keep",
    "no-cluster",
    "only",
    "foo-bar",
];

/// Every page: Markdown in `docs` and at the top.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths = files(&root().join("docs"), "md");
    paths.extend(files_here(&root(), "md"));
    let read = |p: PathBuf| {
        let text = fs::read_to_string(&p).unwrap_or_else(|e| panic!("{}: {e}", p.display()));
        (p, text)
    };
    paths.into_iter().map(read).collect()
}

fn files_here(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let paths = entries.map(|e| e.expect("an entry").path());
    paths
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .collect()
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut all = files_here(dir, extension);
    let entries = fs::read_dir(dir).expect("a directory");
    let below = entries.map(|e| e.expect("an entry").path());
    for below in below.filter(|p| p.is_dir()) {
        all.extend(files(&below, extension));
    }
    all
}

/// Text outside of blocks of code.
fn prose(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside && !line.starts_with("    ") {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

/// As GitHub makes anchors of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|l| l.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in pages() {
        let prose = prose(&text);
        let links = prose
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|l| !l.contains("://") && !l.starts_with("mailto:")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                path.parent().expect("a folder").join(file)
            };
            let found = target.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&target).is_ok_and(|t| anchors(&t).contains(anchor)));
            if !found {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The blocks of this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    let blocks = text.split(&begin).skip(1);
    blocks
        .filter_map(|rest| rest.split("\n```").next())
        .collect()
}

#[test]
fn objects_are_good() {
    let examples = files(&root().join("docs/examples"), "yaml");
    let mut texts: Vec<(PathBuf, String)> = examples
        .into_iter()
        .map(|p| (p.clone(), fs::read_to_string(&p).expect("an example")))
        .collect();
    for (path, text) in pages() {
        let yaml = blocks(&text, "yaml").into_iter();
        texts.extend(yaml.map(|block| (path.clone(), block.to_owned())));
    }
    let mut ours = 0;
    for (path, text) in texts {
        let (documents, malformed) = parse(&text, false);
        assert_eq!(malformed, [], "{}", path.display());
        for document in documents
            .into_iter()
            .filter(|d| d.value.get("kind").is_some())
        {
            let decoded = decode(document.value)
                .unwrap_or_else(|r| panic!("{}: {:?}\n{text}", path.display(), r.note));
            assert_eq!(decoded.notes, [], "{}\n{text}", path.display());
            ours += usize::from(decoded.object.is_some());
        }
    }
    assert!(ours > 10, "{ours} objects were read");
}

fn flags_of(command: &Command, into: &mut BTreeSet<String>) {
    let longs = command.get_arguments().filter_map(|a| a.get_long());
    into.extend(longs.map(str::to_owned));
    for sub in command.get_subcommands() {
        flags_of(sub, into);
    }
}

/// The words after `--` that are no rest of another word.
fn flags_in(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| !c.is_whitespace() && !"`([|\"'".contains(c)) {
            continue;
        }
        let word = text[at + 2..]
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-');
        let word: String = word.collect();
        if word.starts_with(|c: char| c.is_ascii_lowercase()) {
            found.insert(word);
        }
    }
    found
}

#[test]
fn flags_exist() {
    let mut known: BTreeSet<String> = ["help", "version"].map(str::to_owned).into();
    known.extend(FOREIGN.iter().map(|f| (*f).to_owned()));
    for (_, mut command) in commands() {
        command.build();
        flags_of(&command, &mut known);
    }
    let mut unknown = Vec::new();
    let mut used = BTreeSet::new();
    for (path, text) in pages() {
        let named = flags_in(&text);
        for flag in named.difference(&known) {
            unknown.push(format!("{}: --{flag}", path.display()));
        }
        used.extend(named);
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    let idle: Vec<_> = FOREIGN.iter().filter(|f| !used.contains(**f)).collect();
    assert!(idle.is_empty(), "no page names {idle:?}");
}

#[test]
fn labels_exist() {
    let known: BTreeSet<&str> = KNOWN.iter().map(|k| k.key).collect();
    let mut unknown = Vec::new();
    for (path, text) in pages() {
        for (at, _) in text.match_indices(PREFIX) {
            let end = |c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c));
            let key = text[at..].split(end).next().unwrap_or_default();
            let key = key.trim_end_matches(['.', '/', '-']);
            let whole = text[..at].chars().next_back();
            let no_label = key.starts_with("warren.dev/v1")
                || key.starts_with("warren.dev/warren-")
                || key == CONTROLLER;
            let part = whole.is_some_and(|c| c == '.' || c == '/');
            if !known.contains(key) && !no_label && !part && key.len() > PREFIX.len() {
                unknown.push(format!("{}: {key}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn every_response_flag_is_explained() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).expect("the page");
    let section = page.split("\n## Response flags\n").nth(1);
    let section = section.and_then(|s| s.split("\n## ").next());
    let rows = section.unwrap_or_default().lines();
    let explained = rows.filter_map(|l| l.strip_prefix("| `")?.split('`').next());
    let explained: BTreeSet<&str> = explained.collect();
    let all: BTreeSet<&str> = Flag::ALL.iter().map(|f| f.label()).collect();
    assert_eq!(explained, all);
}

/// Words that begin like metrics and are crates or eBPF objects, as log filters name them.
const CRATES: &[&str] = &["abi", "agent", "api", "control", "ebpf", "ztunnel"];

#[test]
fn metrics_exist() {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = |text: &str| -> BTreeSet<String> {
        let starts = text.match_indices("warren_").map(|(at, _)| at);
        let found = starts.filter_map(|at| text[at..].split(|c| !word(c)).next());
        found.map(str::to_owned).collect()
    };
    let reference = root().join("docs/reference/metrics.md");
    let known = words(&fs::read_to_string(reference).expect("the reference"));
    assert!(known.len() > 40, "{known:?}");
    let mut unknown = Vec::new();
    for (path, text) in pages() {
        for name in words(&text).difference(&known) {
            let rest = name.trim_start_matches("warren_").trim_end_matches('_');
            if !rest.is_empty() && !CRATES.contains(&rest) {
                unknown.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}
