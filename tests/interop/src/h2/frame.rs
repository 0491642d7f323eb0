//! Frames (RFC 9113 §4, §6) as bytes.

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::error::WireError;

/// Frame types.
#[allow(missing_docs)]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Frame flags.
#[allow(missing_docs)]
pub mod flag {
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
}

const HEADER: usize = 9;

/// One frame, right or wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream identifier; 0 is the connection.
    pub stream: u32,
    /// Everything behind the frame header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame of these parts.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// RST_STREAM.
    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(kind::RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// WINDOW_UPDATE.
    pub fn credit(stream: u32, bytes: u32) -> Self {
        Self::new(kind::WINDOW_UPDATE, 0, stream, bytes.to_be_bytes())
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let length = (self.payload.len() as u32).to_be_bytes();
        out.extend_from_slice(&length[1..]);
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.extend_from_slice(&self.payload);
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.payload.len());
        self.write(&mut out);
        out
    }

    /// Reads the next frame of at most `max` payload bytes.
    pub async fn read(from: &mut (impl AsyncRead + Unpin), max: usize) -> Result<Self, WireError> {
        let mut header = [0; HEADER];
        match from.read(&mut header[..1]).await? {
            0 => return Err(WireError::Closed),
            _ => from.read_exact(&mut header[1..]).await?,
        };
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        if length > max {
            let text = format!("a frame of {length} bytes, at most {max} were allowed");
            return Err(WireError::Protocol(text));
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes([header[5] & 0x7f, header[6], header[7], header[8]]);
        Ok(Self {
            kind: header[3],
            flags: header[4],
            stream,
            payload,
        })
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of DATA or HEADERS without padding and priority.
    pub fn content(&self) -> Result<&[u8], WireError> {
        let mut content = &self.payload[..];
        if self.has(flag::PADDED) {
            let (pad, rest) = content.split_first().ok_or_else(|| short("padding"))?;
            let end = rest
                .len()
                .checked_sub(usize::from(*pad))
                .ok_or_else(|| short("padding"))?;
            content = &rest[..end];
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            content = content.get(5..).ok_or_else(|| short("priority"))?;
        }
        Ok(content)
    }

    /// The 32-bit number at `at`.
    pub fn number(&self, at: usize) -> Result<u32, WireError> {
        self.payload
            .get(at..at + 4)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
            .ok_or_else(|| short("number"))
    }
}

fn short(what: &str) -> WireError {
    WireError::Protocol(format!("a frame too short for its {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_as_written() {
        let frame = Frame::new(kind::DATA, flag::END_STREAM, 7, *b"hello");
        let bytes = frame.bytes();
        assert_eq!(bytes[..9], [0, 0, 5, 0, 1, 0, 0, 0, 7]);
        assert_eq!(Frame::read(&mut &bytes[..], 5).await.unwrap(), frame);
        assert!(Frame::read(&mut &bytes[..], 4).await.is_err());
        assert!(matches!(
            Frame::read(&mut &[][..], 4).await,
            Err(WireError::Closed)
        ));
    }

    #[test]
    fn padding_and_priority_are_stripped() {
        let payload = [2, 0, 0, 0, 0, 9, b'x', 0, 0];
        let frame = Frame::new(kind::HEADERS, flag::PADDED | flag::PRIORITY, 1, payload);
        assert_eq!(frame.content().unwrap(), b"x");
        assert!(
            Frame::new(kind::DATA, flag::PADDED, 1, [4, 0])
                .content()
                .is_err()
        );
    }
}
