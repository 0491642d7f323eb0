//! The binary that the container runtime starts for every pod.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1
        || std::env::var_os("CNI_COMMAND").is_none() && std::io::stdin().is_terminal()
    {
        eprintln!(
            "warren-cni {}: a CNI plugin; a container runtime starts it with CNI_COMMAND set and JSON on stdin",
            env!("CARGO_PKG_VERSION")
        );
        return ExitCode::from(2);
    }
    let (text, code) =
        match warren_cni::run(|name| std::env::var(name).ok(), std::io::stdin().lock()) {
            Ok(text) => (text, ExitCode::SUCCESS),
            Err(error) => (error.to_json(), ExitCode::FAILURE),
        };
    // A runtime that went away cannot be told anything.
    let _ = std::io::stdout().write_all(text.as_bytes());
    code
}
