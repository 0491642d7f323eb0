//! Boots a kernel under qemu's software emulation with this binary as its first process.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::PASSED;

/// Software emulation is slow: a boot takes about half a minute.
const LIMIT: Duration = Duration::from_secs(300);

/// Boots each kernel in turn; fails if one of them does not pass.
pub(crate) fn each(object: &Path, kernels: &[PathBuf]) -> anyhow::Result<()> {
    ensure!(
        !kernels.is_empty(),
        "no kernel given: warren-kernels run KERNEL-OBJECT VMLINUZ..."
    );
    let work = tempdir()?;
    let result = initramfs(object, &work).and_then(|image| {
        let failed: Vec<_> = kernels
            .iter()
            .filter(|kernel| !passes(kernel, &image))
            .collect();
        println!(
            "{} passed, {} failed",
            kernels.len() - failed.len(),
            failed.len()
        );
        ensure!(failed.is_empty(), "these kernels failed: {failed:?}");
        Ok(())
    });
    let _ = fs::remove_dir_all(&work);
    result
}

fn passes(kernel: &Path, image: &Path) -> bool {
    println!("=== {}", kernel.display());
    boot(kernel, image).unwrap_or_else(|error| {
        eprintln!("{}: {error:#}", kernel.display());
        false
    })
}

fn tempdir() -> anyhow::Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("warren-kernels-{}", std::process::id()));
    fs::create_dir(&dir)?;
    Ok(dir)
}

/// This binary has to be static: `--target x86_64-unknown-linux-gnu` with `-C target-feature=+crt-static`.
fn initramfs(object: &Path, work: &Path) -> anyhow::Result<PathBuf> {
    let root = work.join("root");
    for dir in ["proc", "sys", "dev"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::copy("/proc/self/exe", root.join("init"))?;
    fs::copy(object, root.join("warren-ebpf"))
        .with_context(|| format!("copy {}", object.display()))?;
    let image = work.join("initramfs.cpio");
    let mut cpio = Command::new("cpio")
        .args(["--quiet", "-o", "-H", "newc"])
        .current_dir(&root)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&image)?)
        .spawn()
        .context("run cpio (Debian package cpio)")?;
    cpio.stdin
        .take()
        .context("cpio's input")?
        .write_all(b".\nproc\nsys\ndev\ninit\nwarren-ebpf\n")?;
    ensure!(cpio.wait()?.success(), "cpio failed");
    Ok(image)
}

fn boot(kernel: &Path, image: &Path) -> anyhow::Result<bool> {
    let mut qemu = Command::new("qemu-system-x86_64")
        .args([
            "-M",
            "q35,accel=tcg",
            "-cpu",
            "max",
            "-m",
            "512",
            "-nographic",
            "-no-reboot",
            "-nic",
            "none",
            "-append",
        ])
        .arg("console=ttyS0 quiet panic=-1")
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("run qemu-system-x86_64 (Debian package qemu-system-x86)")?;
    let lines = read_lines(&mut qemu)?;
    let deadline = Instant::now() + LIMIT;
    let mut passed = false;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match lines.recv_timeout(left) {
            Ok(line) => {
                passed |= line.contains(PASSED);
                println!("  {line}");
            }
            Err(_) => break,
        }
    }
    if qemu.try_wait()?.is_none() && !passed {
        qemu.kill()?;
        qemu.wait()?;
        bail!("no verdict within {LIMIT:?}");
    }
    qemu.wait()?;
    Ok(passed)
}

fn read_lines(qemu: &mut Child) -> anyhow::Result<std::sync::mpsc::Receiver<String>> {
    let output = BufReader::new(qemu.stdout.take().context("qemu's output")?);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in output.split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).trim_end().to_owned())
                .is_err()
            {
                return;
            }
        }
    });
    Ok(receiver)
}
