//! Logs to standard error, as text or JSON, with a filter that can be changed while the process runs.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// How a line looks; settings take `text` or `json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("`{other}` is no log format: text or json")),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logging was not set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a filter.
    #[error("`{filter}` is no log filter: {problem}; try `info` or `info,warren_api::xds=debug`")]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong.
        problem: String,
    },
    /// Something else logs already.
    #[error("logging was set up twice in this process")]
    Twice,
    /// The subscriber is gone.
    #[error("logging has ended")]
    Ended,
}

type Handle = reload::Handle<EnvFilter, Registry>;

/// Changes the filter.
#[derive(Clone, Debug)]
pub struct LogHandle {
    handle: Handle,
    filter: Arc<Mutex<String>>,
}

impl LogHandle {
    /// The filter in force.
    pub fn get(&self) -> String {
        self.filter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts another filter in force.
    ///
    /// # Errors
    /// `filter` is none; the old one stays.
    pub fn set(&self, filter: &str) -> Result<(), Error> {
        let parsed = parse(filter)?;
        let mut current = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(parsed).map_err(|_| Error::Ended)?;
        filter.clone_into(&mut current);
        Ok(())
    }
}

/// Starts logging for the whole process.
///
/// # Errors
/// `filter` is none, or the process logs already.
pub fn init(filter: &str, format: Format) -> Result<LogHandle, Error> {
    let (reloadable, handle) = reload::Layer::new(parse(filter)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        Format::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(reloadable).with(layer);
    subscriber.try_init().map_err(|_| Error::Twice)?;
    Ok(LogHandle {
        handle,
        filter: Arc::new(Mutex::new(filter.to_owned())),
    })
}

/// Takes a filter for a program that only passes it on.
///
/// # Errors
/// It is none.
pub fn checked(filter: &str) -> Result<String, Error> {
    parse(filter).map(|_| filter.to_owned())
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    let bad = |problem: String| Error::Filter {
        filter: filter.to_owned(),
        problem,
    };
    if filter.trim().is_empty() {
        return Err(bad("it is empty".into()));
    }
    // A word by itself would be taken for a target, and everything else fall silent.
    let words = filter.split(',').map(str::trim);
    let mut alone = words.filter(|w| !w.is_empty() && !w.contains(['=', '[']));
    if let Some(word) = alone.find(|w| w.parse::<LevelFilter>().is_err()) {
        return Err(bad(format!("`{word}` is no level")));
    }
    EnvFilter::try_new(filter).map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_misspelt_level_is_no_filter() {
        for good in [
            "info",
            "off",
            "INFO",
            "info,warren_api::xds=debug",
            "warren_ebpf=info",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "loud", "info,warren_api", "warren_api=loud"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
