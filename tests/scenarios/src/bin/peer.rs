//! `warren-peer`: the program at both ends of the connections that the scenarios make.

use std::process::ExitCode;

fn main() -> ExitCode {
    warren_scenarios::peer::main()
}
