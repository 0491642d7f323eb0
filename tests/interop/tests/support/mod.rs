//! Credentials in a folder, and the program under test as a process.
#![allow(dead_code, missing_docs)]

pub mod controller;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use warren_interop::pki::Ca;

pub const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/server";
pub const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";

pub struct Folder {
    pub dir: TempDir,
    pub ca: Ca,
}

impl Folder {
    pub fn new() -> Self {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new().unwrap());
        let folder = Self { dir, ca };
        folder
            .ca
            .save(&folder.path("root.pem"), &folder.path("root-key.pem"))
            .unwrap();
        for (name, id) in [("server", SERVER), ("client", CLIENT)] {
            let identity = folder.ca.issue(id).unwrap();
            identity
                .save(
                    &folder.path(&format!("{name}.pem")),
                    &folder.path(&format!("{name}-key.pem")),
                )
                .unwrap();
        }
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// `--root-cert … --cert … --key …`.
    pub fn creds(&self, name: &str) -> Vec<String> {
        let mut args = self.root();
        args.extend(["--cert".into(), self.text(&format!("{name}.pem"))]);
        args.extend(["--key".into(), self.text(&format!("{name}-key.pem"))]);
        args
    }

    pub fn root(&self) -> Vec<String> {
        vec!["--root-cert".into(), self.text("root.pem")]
    }

    /// A certificate with a fault, signed by this CA.
    pub fn forged(&self, fault: &str) -> Vec<String> {
        let mut args = self.root();
        args.extend(["--forge".into(), fault.into()]);
        args.extend(["--signer-cert".into(), self.text("root.pem")]);
        args.extend(["--signer-key".into(), self.text("root-key.pem")]);
        args
    }
}

pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn command(parts: &[&[String]]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warren-interop"));
    command.args(parts.concat()).stdin(Stdio::null());
    command
}

/// Runs it to its end: whether it succeeded, and its lines.
pub fn run(parts: &[&[String]]) -> (bool, Vec<Value>) {
    let output: Output = command(parts).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(2), "{stderr}");
    (output.status.success(), lines(&output.stdout))
}

pub fn lines(stdout: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(stdout)
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// The first line with this event.
pub fn event<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    lines
        .iter()
        .find(|l| l["event"] == name)
        .unwrap_or_else(|| panic!("no {name} in {lines:#?}"))
}

pub struct Serving {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    pub at: Vec<String>,
}

impl Serving {
    /// Starts it and waits until it listens.
    pub fn start(parts: &[&[String]]) -> Self {
        let mut child = command(parts).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let ready: Value = serde_json::from_str(&first).unwrap();
        let list = ready["listen"].as_array().unwrap();
        let at = list
            .iter()
            .map(|a| a.as_str().unwrap().to_owned())
            .collect();
        Self { child, lines, at }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it printed until it ended by itself.
    pub fn rest(mut self) -> (bool, Vec<Value>) {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut text).unwrap();
        (self.child.wait().unwrap().success(), lines(text.as_bytes()))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn exists(path: &Path) -> bool {
    path.exists()
}
