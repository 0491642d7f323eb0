//! Command lines. Own code rather than a library's: environment variables, defaults and flags that hold for every subcommand belong
//! into one table, each once.

use clap::builder::ValueRange;
use clap::{Arg, Command};

use crate::markdown::{code, table};

/// The page of one program.
pub fn page(mut command: Command) -> String {
    command.build();
    let mut out = format!("# `{}`\n\n", command.get_name());
    section(&mut command, 0, &mut out);
    out
}

fn section(command: &mut Command, depth: usize, out: &mut String) {
    if depth > 0 {
        let name = command.get_bin_name().unwrap_or(command.get_name());
        *out += &format!("{} `{name}`\n\n", "#".repeat((depth + 1).min(4)));
    }
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    *out += &format!("{}.\n\n", about.trim_end_matches('.'));
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    *out += &format!("```text\n{usage}\n```\n\n");
    let (flags, words): (Vec<&Arg>, Vec<&Arg>) = command
        .get_arguments()
        .filter(|a| !a.is_hide_set() && !["help", "version"].contains(&a.get_id().as_str()))
        .filter(|a| depth == 0 || !a.is_global_set())
        .partition(|a| a.get_long().is_some() || a.get_short().is_some());
    if !words.is_empty() {
        let rows: Vec<_> = words.iter().map(|a| vec![word(a), help(a)]).collect();
        *out += &table(&["Argument", "Meaning"], &rows);
    }
    if !flags.is_empty() {
        let rows: Vec<_> = flags.iter().map(|a| row(a)).collect();
        *out += &table(&["Flag", "Environment", "Default", "Meaning"], &rows);
    }
    if depth == 0 && command.has_subcommands() && flags.iter().any(|a| a.is_global_set()) {
        let all = flags.iter().filter(|a| a.is_global_set());
        let all: Vec<String> = all.map(|a| code(&names(a))).collect();
        *out += &format!("With every subcommand too: {}.\n\n", all.join(", "));
    }
    for sub in command.get_subcommands_mut() {
        if sub.get_name() != "help" && !sub.is_hide_set() {
            section(sub, depth + 1, out);
        }
    }
}

fn row(arg: &Arg) -> Vec<String> {
    let value = if arg.get_action().takes_values() {
        let names: Vec<String> = arg
            .get_value_names()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect();
        format!(" {}", names.join(" "))
    } else {
        String::new()
    };
    let environment = arg.get_env().map(|e| e.to_string_lossy().into_owned());
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|v| v.to_string_lossy()).collect();
    let default = if arg.get_action().takes_values() {
        code(&defaults.join(","))
    } else {
        String::new()
    };
    vec![
        code(&format!("{}{value}", names(arg))),
        code(&environment.unwrap_or_default()),
        default,
        help(arg),
    ]
}

/// `-o, --output`.
fn names(arg: &Arg) -> String {
    let short = arg.get_short().map(|c| format!("-{c}"));
    let long = arg.get_long().map(|l| format!("--{l}"));
    let both: Vec<String> = short.into_iter().chain(long).collect();
    both.join(", ")
}

fn word(arg: &Arg) -> String {
    let many = arg
        .get_num_args()
        .is_some_and(|n| n != ValueRange::EMPTY && n.max_values() > 1);
    let name = arg.get_id().as_str().to_uppercase();
    code(&format!("{name}{}", if many { " …" } else { "" }))
}

fn help(arg: &Arg) -> String {
    let text = arg.get_long_help().or(arg.get_help());
    let mut text = text.map(ToString::to_string).unwrap_or_default();
    if !text.ends_with('.') {
        text.push('.');
    }
    let possible = arg.get_possible_values();
    let values: Vec<String> = possible
        .iter()
        .filter(|v| !v.is_hide_set())
        .map(|v| code(v.get_name()))
        .collect();
    if !values.is_empty() && arg.get_action().takes_values() {
        text += &format!(" One of {}.", values.join(", "));
    }
    if arg.is_required_set() {
        text += " Required.";
    }
    text
}
