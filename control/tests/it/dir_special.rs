//! The directory source among files that are none to read.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::dir::{B1, Watched, b, write};

/// A FIFO without a writer, an endless device and a file beyond the limit, each in the place of a good file or beside one.
#[tokio::test]
async fn only_regular_files_of_bounded_size_are_read() {
    let fifo = |path: PathBuf| {
        let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
        assert!(made.success());
    };
    let text = b("10.0.0.2");
    let mut w = Watched::start(&[("good.yaml", &text)]).await;
    w.until(&[B1]).await;
    fs::remove_file(w.path("good.yaml")).expect("remove");
    fifo(w.path("new.tmp"));
    write(w.path("keep.tmp"), &text);
    fs::rename(w.path("keep.tmp"), w.path("good.yaml")).expect("rename");
    fs::rename(w.path("new.tmp"), w.path("good.yaml")).expect("rename");
    symlink("/dev/zero", w.path("zero.yaml")).expect("link");
    fs::File::create(w.path("large.yaml"))
        .and_then(|f| f.set_len((64 << 20) + 1))
        .expect("a sparse file");
    let _socket = UnixListener::bind(w.path("s.yaml")).expect("bind");
    write(w.path("z.yaml"), &text.replace("name: b", "name: z"));
    let z = B1.replace("shop/b", "shop/z");
    w.until(&[B1, &z]).await;
    let parts = [
        "good.yaml:1: cannot be read: it is a named pipe, not a regular file; remove it, or put a regular file in its place",
        "zero.yaml:1: cannot be read: it is a character device",
        "large.yaml:1: cannot be read: it has 67108865 bytes, and at most 67108864 are read; divide it",
        "s.yaml:1: cannot be read: it is a socket",
    ];
    let started = Instant::now();
    while !parts.iter().all(|p| w.warned().contains(p)) {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{}",
            w.warned()
        );
        w.take(Duration::from_millis(100)).await;
    }
    assert_eq!(w.list(), [B1, &z]);
}
