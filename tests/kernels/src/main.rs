//! Loads, verifies, attaches and tries every kernel program: on this machine, or as the first process of a small virtual machine
//! that boots an older kernel. Depends on nothing but a cgroup-v2 mount and root.
//!
//! ```text
//! run --> qemu (Debian kernel, initramfs with this binary) --> init --> smoke --> serial line --> run
//! ```

#![allow(unsafe_code)]

mod boot;
mod guest;
mod pod;
mod smoke;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

/// What a guest prints when everything held.
const PASSED: &str = "warren-kernels: passed";

fn main() -> ExitCode {
    let result = if std::process::id() == 1 {
        guest::init()
    } else {
        host()
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("warren-kernels: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn host() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let object = PathBuf::from(
        args.next()
            .context("usage: warren-kernels smoke|run KERNEL-OBJECT [VMLINUZ...]")?,
    );
    match command.as_str() {
        "smoke" => smoke::in_own_namespaces(&object),
        "run" => boot::each(&object, &args.map(PathBuf::from).collect::<Vec<_>>()),
        other => bail!("unknown command `{other}`: expected smoke or run"),
    }
}
