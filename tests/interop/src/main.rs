//! `warren-interop`: a peer that speaks the wire by hand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use warren_interop::command;

/// Speaks the mesh's protocols by hand, rightly or wrongly, and tells what came back as JSON lines.
/// Exit status: 0 what was expected held, 1 it did not, 2 bad arguments or files.
#[derive(Debug, Parser)]
#[command(name = "warren-interop", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask the CA for a certificate, as a stock shared tunnel does.
    Cert(command::cert::Options),
    /// Speak delta xDS with the controller by a script.
    Xds(command::xds::Options),
    /// Open HBONE streams to a tunnel.
    Connect(command::connect::Options),
    /// Take HBONE streams, as the tunnel of a pod does.
    Serve(command::serve::Options),
    /// Send what a hostile peer would send.
    Attack(command::attack::Options),
    /// Echo plain TCP.
    Echo(command::echo::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Args = match warren_arguments::parse() {
        Ok(args) => args,
        Err(status) => return status,
    };
    let result = match args.command {
        Command::Cert(options) => command::cert::run(&options).await,
        Command::Xds(options) => command::xds::run(&options).await,
        Command::Connect(options) => command::connect::run(&options).await,
        Command::Serve(options) => command::serve::run(&options).await,
        Command::Attack(options) => command::attack::run(&options).await,
        Command::Echo(options) => command::echo::run(&options).await,
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("warren-interop: {error:#}");
            ExitCode::from(2)
        }
    }
}
