//! Lines for people. Whoever reads them may go away (`| head`) without stopping the work: a half-made cluster would be the result.

use std::fmt::Display;
use std::io::Write as _;

/// Prints a line.
pub fn line(text: impl Display) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
