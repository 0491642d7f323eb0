//! Writes log lines to standard output from a thread of its own: a slow reader of the log costs lines, never connections.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::Format;

/// Batches of lines that may wait.
const QUEUE: usize = 1024;

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
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(format: Format) -> io::Result<Self> {
        Self::to(format, io::stdout())
    }

    /// Writes to `out` instead of standard output.
    ///
    /// # Errors
    /// No thread can be started.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing until its other end is gone.
    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_the_queue_full_are_counted_and_hold_nobody_up() {
        let (_hold, held) = std::sync::mpsc::channel();
        let writer = LogWriter::to(Format::Text, Stuck(held)).unwrap();
        // One more may be with the thread.
        for _ in 0..QUEUE + 1 {
            writer.lines("a\nb\n".into());
        }
        let before = writer.lost().load(Ordering::Relaxed);
        assert!(before <= 2, "{before}");
        writer.lines("a\nb\nc\n".into());
        writer.lines("d\n".into());
        let lost = writer.lost().load(Ordering::Relaxed) - before;
        assert!((1..=4).contains(&lost), "{lost}");
    }
}
