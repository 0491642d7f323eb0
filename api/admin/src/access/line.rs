//! One line of a log. Written straight into a string: there may be thousands a second.

use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use warren_core::{Identity, Workload};

use super::Format;

/// A line under construction, at the end of a string. Writing to a string does not fail.
pub struct Line<'a> {
    json: bool,
    out: &'a mut String,
}

impl<'a> Line<'a> {
    /// Begins a line of this kind, with this time.
    pub fn begin(out: &'a mut String, format: Format, kind: &str, at: SystemTime) -> Self {
        let at = OffsetDateTime::from(at)
            .format(&Rfc3339)
            .unwrap_or_default();
        let json = format == Format::Json;
        let _ = if json {
            write!(out, r#"{{"time":"{at}","type":"{kind}""#)
        } else {
            write!(out, "{at} {kind}")
        };
        Self { json, out }
    }

    /// A value that needs no quotes.
    pub fn number(&mut self, key: &str, value: impl Display) {
        self.key(key);
        let _ = write!(self.out, "{value}");
    }

    /// A text; one that could be taken for something else is quoted.
    pub fn text(&mut self, key: &str, value: impl Display) {
        self.key(key);
        let start = self.out.len();
        let _ = write!(self.out, "{value}");
        match (plain(&self.out[start..]), self.json) {
            (true, false) => {}
            (true, true) => {
                self.out.insert(start, '"');
                self.out.push('"');
            }
            (false, _) => {
                let raw = self.out.split_off(start);
                self.out
                    .push_str(&serde_json::to_string(&raw).unwrap_or_default());
            }
        }
    }

    /// One end of a connection: its address, and workload and identity where known.
    pub fn end_of(
        &mut self,
        [address, name, id]: [&str; 3],
        at: SocketAddr,
        workload: Option<&Workload>,
        identity: Option<&Identity>,
    ) {
        self.text(address, at);
        if let Some(w) = workload {
            self.text(name, format_args!("{}/{}", w.namespace, w.name));
        }
        if let Some(identity) = identity {
            self.text(id, identity);
        }
    }

    /// Ends it, without a line end.
    pub fn finish(self) {
        if self.json {
            self.out.push('}');
        }
    }

    fn key(&mut self, key: &str) {
        let _ = if self.json {
            write!(self.out, r#","{key}":"#)
        } else {
            write!(self.out, " {key}=")
        };
    }
}

/// Whether a text value needs no quotes.
fn plain(s: &str) -> bool {
    !s.is_empty()
        && s.bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'=' | b'\\'))
}
