//! `apply`, `delete`, `label`, `wait`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use warren_control::model::labels::ORIGIN;
use warren_control::source::decode::{Note, decode};

use super::current;
use crate::manifest::{Bad, Key, Manifests};
use crate::protocol::{Request, call};

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
    remarks(&objects);
    let code = say(&bad);
    print_lines(&call(&socket, &Request::Apply { objects, leftovers })?);
    if let Some(seconds) = args.wait {
        call(&socket, &Request::Wait { seconds })?;
    }
    Ok(code)
}

/// `lab delete`.
pub fn delete(args: &DeleteArgs) -> Result<ExitCode> {
    let socket = current()?.socket();
    let Manifests {
        objects,
        bad,
        leftovers,
    } = Manifests::read(&args.files)?;
    let code = say(&bad);
    let request = Request::Delete {
        objects,
        files: leftovers.into_iter().map(|l| l.file).collect(),
        now: args.now,
    };
    print_lines(&call(&socket, &request)?);
    Ok(code)
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

/// Prints what is bad, one line each; the exit status is then that of a failure.
fn say(bad: &[Bad]) -> ExitCode {
    for bad in bad {
        eprintln!("error: {bad}");
    }
    if bad.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints what the controller will say of objects that it reads: unknown fields, values that mean nothing.
pub fn remarks(objects: &[Value]) {
    for object in objects {
        let notes = match decode(object.clone()) {
            Ok(decoded) => decoded.notes,
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

/// Prints an answer that is a list of lines, warnings to standard error.
pub fn print_lines(lines: &Value) {
    for line in lines
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !line.starts_with(WARNING) {
            println!("{line}");
        }
    }
    warn(lines);
}

/// Prints the warnings of an answer that is a list of lines.
pub fn warn(lines: &Value) {
    let lines = lines
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    for line in lines.filter(|l| l.starts_with(WARNING)) {
        eprintln!("{line}");
    }
}
