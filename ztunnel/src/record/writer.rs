//! Writes log lines to standard output from a thread of its own: a slow reader of the log costs lines, never connections.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Batches of lines that may wait.
const QUEUE: usize = 1024;

/// How access logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `key=value`.
    Text,
    /// One JSON object a line.
    Json,
    /// Denials and audits only, as text.
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
        let run = move || {
            // Standard output is gone when the process is being torn down: there is nobody to tell.
            let _ = write_all(&inbox, out);
        };
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(run)?;
        Ok(Self {
            format,
            lines,
            lost: Arc::default(),
        })
    }

    /// Queues lines, each with its end.
    pub fn lines(&self, lines: String) {
        if let Err(TrySendError::Full(lines) | TrySendError::Disconnected(lines)) =
            self.lines.try_send(lines)
        {
            let count = lines.bytes().filter(|b| *b == b'\n').count();
            self.lost.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// Counts lines that found the queue full.
    pub fn lost(&self) -> Arc<AtomicU64> {
        self.lost.clone()
    }
}

fn write_all(inbox: &Receiver<String>, mut out: impl Write) -> io::Result<()> {
    while let Ok(lines) = inbox.recv() {
        out.write_all(lines.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}
