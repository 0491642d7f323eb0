//! What can go wrong on the wire, and the one word for it that scenarios compare.

use std::io;

use rustls::Error as TlsError;

/// A failure of a connection to the peer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Reading or writing failed; carries TLS errors as well.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer closed without a word.
    #[error("the peer closed the connection")]
    Closed,
    /// Nothing came within the limit.
    #[error("the peer did not answer within the limit")]
    TimedOut,
    /// The peer broke HTTP/2.
    #[error("the peer broke HTTP/2: {0}")]
    Protocol(String),
    /// The peer broke header compression.
    #[error("the peer broke header compression: {0}")]
    Hpack(&'static str),
    /// The peer broke protobuf.
    #[error("the peer broke protobuf: {0}")]
    Proto(&'static str),
}

impl WireError {
    /// `alert:CertificateExpired`, `tls:…`, `reset`, `closed`, `timeout`, `protocol:…`, `refused`, `io:…`.
    pub fn outcome(&self) -> String {
        match self {
            Self::Io(error) => io_outcome(error),
            Self::Closed => "closed".into(),
            Self::TimedOut => "timeout".into(),
            Self::Protocol(text) => format!("protocol:{text}"),
            Self::Hpack(text) => format!("protocol:hpack: {text}"),
            Self::Proto(text) => format!("protocol:protobuf: {text}"),
        }
    }

    /// Whether the peer ended the connection, in whatever way.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Closed)
    }
}

fn io_outcome(error: &io::Error) -> String {
    match tls_error(error) {
        Some(TlsError::AlertReceived(alert)) => return format!("alert:{alert:?}"),
        Some(other) => return format!("tls:{other}"),
        None => {}
    }
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset".into(),
        io::ErrorKind::ConnectionRefused => "refused".into(),
        io::ErrorKind::UnexpectedEof => "closed".into(),
        io::ErrorKind::TimedOut => "timeout".into(),
        _ => format!("io:{error}"),
    }
}

fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref::<TlsError>()
}
