//! The binary of the node agent.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use warren_admin::arguments;
use warren_agent::bpf::{cleanup, requirements};
use warren_agent::plugin::Plugin;
use warren_agent::settings::{Cli, CniCommand, Command, Settings};

fn main() -> ExitCode {
    let cli: Cli = match arguments::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    match cli.command {
        Some(Command::Check) => check(&cli.settings),
        Some(Command::Cni(command)) => cni(command, &cli.settings),
        _ if cli.settings.problem().is_some() => {
            arguments::refuse::<Cli>(&cli.settings.problem().unwrap_or_default())
        }
        _ if !nix::unistd::geteuid().is_root() => {
            fail("must run as root (CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN)")
        }
        Some(Command::Cleanup) => clean(&cli.settings),
        None => start(cli.settings),
    }
}

fn start(settings: Settings) -> ExitCode {
    let log = match warren_admin::logging::init(&settings.log, settings.log_format) {
        Ok(log) => log,
        Err(error) => return arguments::refuse::<Cli>(&format!("--log: {error}")),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(warren_agent::run::run(settings, log)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

fn clean(settings: &Settings) -> ExitCode {
    match cleanup(&settings.pins()) {
        Ok(removed) => {
            println!("removed {removed} pins below {}", settings.pins().display());
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.to_string()),
    }
}

fn cni(command: CniCommand, settings: &Settings) -> ExitCode {
    let Some(plugin) = Plugin::new(settings) else {
        return arguments::refuse::<Cli>("--cni-bin-dir and --cni-conf-dir are needed");
    };
    let result = match command {
        CniCommand::Install => plugin.want().and_then(|()| plugin.install()),
        CniCommand::Uninstall => plugin.uninstall(),
    };
    match result {
        Ok(done) => {
            println!("{}", done.in_words(command));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.to_string()),
    }
}

fn check(settings: &Settings) -> ExitCode {
    let checks = requirements::check(&settings.cgroup);
    for c in &checks {
        let (mark, remedy) = if c.ok {
            ("ok     ", String::new())
        } else {
            ("MISSING", format!("; {}", c.remedy))
        };
        println!("{mark} {}: {}{remedy}", c.name, c.found);
    }
    if checks.iter().all(|c| c.ok) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("warren-agent: {message}");
    ExitCode::FAILURE
}
