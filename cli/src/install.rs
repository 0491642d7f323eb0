//! The mesh on a cluster: its charts come with this program, Helm does the work, and what Helm does not know is looked after here.
//!
//! ```text
//! embedded charts --write--> private folder --helm--> API server <--kube-- checks before, progress, removal of what is left
//! ```

use crate::Command;

mod arguments;
mod charts;
mod cluster;
mod deploy;
mod error;
mod helm;
mod leave;
mod leftovers;
mod preflight;
mod progress;
mod purge;
mod release;
mod uninstall;

pub use arguments::{Deploy, Render, Uninstall, Upgrade};
pub use error::Error;

/// The release of the kinds of objects, and that of the mesh.
const RELEASES: [&str; 2] = ["warren-crds", "warren"];
/// Whose objects in the cluster are the controller's.
const CONTROLLER: &str = "warren-control";

/// Runs one of the commands that change a cluster; None where `command` is another.
pub async fn run(command: &Command) -> Option<Result<(), Error>> {
    Some(match command {
        Command::Install(arguments) => deploy::install(arguments).await,
        Command::Upgrade(arguments) => deploy::upgrade(arguments).await,
        Command::Uninstall(arguments) => uninstall::run(arguments).await,
        Command::Render(arguments) => deploy::render(arguments).await,
        _ => return None,
    })
}

/// What is being done, for the person who waits.
fn say(what: impl std::fmt::Display) {
    eprintln!("{what}");
}
