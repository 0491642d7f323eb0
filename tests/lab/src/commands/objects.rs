//! `apply`, `delete`, `label`, `wait`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use warren_control::model::Object;
use warren_control::model::labels::{ORIGIN, Traits};
use warren_control::source::decode::{Note, decode};

use super::current;
use crate::manifest::{Bad, Key, Manifests};
use crate::protocol::{REFUSED, Request, call, lines, refusals};

/// How a line that is a warning begins.
const WARNING: &str = "warning: ";

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// File, directory, or `-` for standard input; may be repeated
    #[arg(short = 'f', long = "file", alias = "filename", required = true)]
    files: Vec<PathBuf>,
    /// Wait until every pod is ready, at most so many seconds
    #[arg(long, num_args = 0..=1, default_missing_value = "60", require_equals = true)]
    wait: Option<u64>,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// File, directory, or `-` for standard input; may be repeated
    #[arg(short = 'f', long = "file", alias = "filename", required = true)]
    files: Vec<PathBuf>,
    /// Kill pods without a grace period
    #[arg(long)]
    now: bool,
}

/// Arguments of `label`.
#[derive(Debug, Args)]
pub struct LabelArgs {
    /// Namespace of the object
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Kind, such as `namespace` or `pod`
    kind: String,
    /// Name
    #[arg(id = "object")]
    name: String,
    /// `key=value` sets, `key-` removes
    #[arg(required = true)]
    labels: Vec<String>,
}

/// Arguments of `wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Seconds
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

/// `lab apply`: what is good is in force, what is bad is named.
pub fn apply(args: &ApplyArgs) -> Result<ExitCode> {
    let socket = current()?.socket();
    let Manifests {
        objects,
        bad,
        leftovers,
    } = Manifests::read(&args.files)?;
    something(&objects, &bad)?;
    remarks(&objects);
    let bad = say(&bad);
    let answer = call(&socket, &Request::Apply { objects, leftovers })?;
    print_lines(&answer);
    if let Some(seconds) = args.wait {
        call(&socket, &Request::Wait { seconds })?;
    }
    Ok(status(bad || refusals(&answer).next().is_some()))
}

/// `lab delete`.
pub fn delete(args: &DeleteArgs) -> Result<ExitCode> {
    let socket = current()?.socket();
    let Manifests {
        objects,
        bad,
        leftovers,
    } = Manifests::read(&args.files)?;
    something(&objects, &bad)?;
    let bad = say(&bad);
    let request = Request::Delete {
        objects,
        files: leftovers.into_iter().map(|l| l.file).collect(),
        now: args.now,
    };
    let answer = call(&socket, &request)?;
    print_lines(&answer);
    Ok(status(bad || refusals(&answer).next().is_some()))
}

/// `lab label`.
pub fn label(args: &LabelArgs) -> Result<ExitCode> {
    let mut labels = Map::new();
    for word in &args.labels {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) => labels.insert(key.to_owned(), json!(value)),
            (None, Some(key)) => labels.insert(key.to_owned(), Value::Null),
            (None, None) => bail!("{word:?} is neither key=value nor key-"),
        };
    }
    let request = Request::Label {
        kind: args.kind.clone(),
        namespace: args.namespace.clone(),
        name: args.name.clone(),
        labels,
    };
    print_lines(&call(&current()?.socket(), &request)?);
    Ok(ExitCode::SUCCESS)
}

/// `lab wait`.
pub fn wait(args: &WaitArgs) -> Result<ExitCode> {
    call(
        &current()?.socket(),
        &Request::Wait {
            seconds: args.timeout,
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn something(objects: &[Value], bad: &[Bad]) -> Result<()> {
    if objects.is_empty() && bad.is_empty() {
        bail!("there is no object in what -f names: is it the right file?");
    }
    Ok(())
}

/// Prints what is bad, one line each; returns whether there is anything.
fn say(bad: &[Bad]) -> bool {
    for bad in bad {
        eprintln!("{REFUSED}{bad}");
    }
    !bad.is_empty()
}

fn status(failed: bool) -> ExitCode {
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Prints what the controller will say of objects that it reads: unknown fields, values that mean nothing.
pub fn remarks(objects: &[Value]) {
    for object in objects {
        let notes = match decode(object.clone()) {
            Ok(mut decoded) => {
                decoded.notes.extend(decoded.object.iter().flat_map(labels));
                decoded.notes
            }
            Err(rejected) => vec![rejected.note],
        };
        for note in notes {
            let origin = object["metadata"]["annotations"][ORIGIN].as_str();
            let (key, Note { reason, next_step }) = (Key::of(object), note);
            eprintln!(
                "{WARNING}{}: {key}: {reason}; {next_step}",
                origin.unwrap_or("?")
            );
        }
    }
}

/// Labels of ours with values that mean nothing.
fn labels(object: &Object) -> Vec<Note> {
    let meta = match object {
        Object::Namespace(meta) => meta,
        Object::Pod(pod) => &pod.meta,
        _ => return Vec::new(),
    };
    let bad = Traits::of(meta).1.into_iter();
    bad.map(|(key, value, expected)| Note {
        reason: format!("{key}: `{value}` means nothing and has no effect"),
        next_step: format!("use {expected}"),
    })
    .collect()
}

/// Prints an answer that is a list of lines, warnings and errors to standard error.
pub fn print_lines(answer: &Value) {
    for line in lines(answer) {
        if line.starts_with(WARNING) || line.starts_with(REFUSED) {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }
}

/// Prints the warnings of an answer that is a list of lines; what was refused is one.
pub fn warn(answer: &Value) {
    for line in lines(answer).filter(|l| l.starts_with(WARNING)) {
        eprintln!("{line}");
    }
    for refused in refusals(answer) {
        eprintln!("{WARNING}{refused}");
    }
}
