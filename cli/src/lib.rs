//! `warren`: puts a mesh on a cluster and takes it away, shows what its processes know, on a node or in a lab, and checks whether a
//! machine can be a node. Of a mesh that runs it changes nothing but log levels, and it decides nothing.
//!
//! ```text
//! arguments --place--> admin sockets --ask (all at once)--> typed answers --output--> table, JSON or YAML
//! /proc, /sys --check--> findings with remedies ---------------------------^
//! charts (in this program) --install--> Helm --> API server
//! ```
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod arguments;
mod ask;
mod check;
mod commands;
mod install;
mod output;
mod place;

pub use arguments::{Arguments, Command, Format};

/// Something that went well, or did not.
const FAILURE: u8 = 1;
/// As for arguments that do not parse.
const BAD_ARGUMENTS: u8 = 2;

/// Why a command gave up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The processes could not be found.
    #[error(transparent)]
    Place(#[from] place::Error),
    /// No process answered.
    #[error("{0}")]
    NoAnswer(String),
    /// A process says that an argument makes no sense.
    #[error("{0}")]
    BadArgument(String),
    /// The mesh was not installed, upgraded or removed.
    #[error(transparent)]
    Install(#[from] install::Error),
    /// The output could not be written.
    #[error("output: {0}")]
    Output(String),
}

/// Runs one command; the exit status is 0, 1 where something failed or is missing, and 2 for bad arguments.
pub fn run(arguments: &Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(arguments)),
        Err(e) => Err(Error::Output(e.to_string())),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILURE),
        Err(e) => {
            eprintln!("warren: {e}");
            ExitCode::from(match e {
                Error::Install(e) => e.status(),
                Error::BadArgument(_) => BAD_ARGUMENTS,
                _ => FAILURE,
            })
        }
    }
}
