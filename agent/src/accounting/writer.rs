//! Writes log lines to standard output from a thread of its own: a slow reader of the log costs lines, nothing else.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Lines that may wait.
const QUEUE: usize = 16 << 10;

/// How the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `key=value`.
    Text,
    /// One JSON object a line.
    Json,
    /// Denials only, as text.
    Off,
}

/// A queue of lines.
#[derive(Clone, Debug)]
pub struct LogWriter {
    /// How lines are written.
    pub format: Format,
    lines: SyncSender<String>,
    lost: Arc<AtomicU64>,
}

impl LogWriter {
    /// Starts the thread.
    pub fn start(format: Format) -> io::Result<Self> {
        Self::to(format, io::stdout())
    }

    /// Writes to `out` instead of standard output.
    pub fn to(format: Format, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, inbox) = sync_channel(QUEUE);
        // Standard output is gone when the process is being torn down: there is nobody to tell.
        let run = move || drop(write_all(&inbox, out));
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(run)?;
        Ok(Self {
            format,
            lines,
            lost: Arc::default(),
        })
    }

    /// Queues a line.
    pub fn line(&self, render: impl FnOnce(Format) -> String) {
        if self.lines.try_send(render(self.format)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that found the queue full.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

fn write_all(inbox: &Receiver<String>, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    while let Ok(line) = inbox.recv() {
        writeln!(out, "{line}")?;
        for line in inbox.try_iter() {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
    }
    Ok(())
}
