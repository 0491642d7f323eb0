//! gRPC over our own HTTP/2: length-prefixed messages, status in the trailers.

use std::time::{Duration, Instant};

use crate::error::WireError;
use crate::h2::{Conn, Event, error_name};
use crate::hpack::Fields;

/// How a call ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// `grpc-status`; none where the peer ended the stream without one.
    pub code: Option<u32>,
    /// `grpc-message`, decoded.
    pub message: String,
    /// `:status`.
    pub http: Option<u16>,
}

impl Status {
    /// `OK`, `UNAUTHENTICATED`, …, `http:404`, `none`.
    pub fn name(&self) -> String {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        match (self.code.map(|c| NAMES.get(c as usize)), self.http) {
            (Some(Some(name)), _) => (*name).into(),
            (Some(None), _) => "UNKNOWN".into(),
            (None, Some(http)) => format!("http:{http}"),
            (None, None) => "none".into(),
        }
    }
}

/// What a call's stream brings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// A message.
    Message(Vec<u8>),
    /// The end.
    End(Status),
}

/// One call on a connection that carries nothing else.
pub struct Call {
    /// The connection.
    pub conn: Conn,
    stream: u32,
    buffer: Vec<u8>,
    status: Status,
    ended: bool,
}

impl Call {
    /// Sends the request's headers; `metadata` follows the usual ones.
    pub async fn open(
        mut conn: Conn,
        host: &str,
        path: &str,
        metadata: &[(String, String)],
    ) -> Result<Self, WireError> {
        let stream = conn.open();
        let mut fields: Vec<(&str, &str)> = vec![
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", host),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        fields.extend(metadata.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        conn.headers(stream, &fields, false).await?;
        let status = Status {
            code: None,
            message: String::new(),
            http: None,
        };
        Ok(Self {
            conn,
            stream,
            buffer: Vec::new(),
            status,
            ended: false,
        })
    }

    /// Sends a message; `end` closes our half.
    pub async fn send(
        &mut self,
        message: &[u8],
        end: bool,
        limit: Duration,
    ) -> Result<(), WireError> {
        let mut framed = vec![0];
        framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
        framed.extend_from_slice(message);
        let mut early = Vec::new();
        let sent = self
            .conn
            .send_all(self.stream, &framed, end, limit, |e| early.push(e))
            .await;
        for event in early {
            self.take(event).await?;
        }
        if self.ended { Ok(()) } else { sent }
    }

    /// The next message or the end.
    pub async fn next(&mut self, limit: Duration) -> Result<Item, WireError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(message) = self.message()? {
                return Ok(Item::Message(message));
            }
            if self.ended {
                return Ok(Item::End(self.status.clone()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.conn.next(left).await?;
            self.take(event).await?;
        }
    }

    fn message(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<5>() else {
            return Ok(None);
        };
        if head[0] != 0 {
            return Err(WireError::Protocol(
                "a compressed message that nobody asked for".into(),
            ));
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if rest.len() < length {
            return Ok(None);
        }
        let message = rest[..length].to_vec();
        self.buffer.drain(..5 + length);
        Ok(Some(message))
    }

    async fn take(&mut self, event: Event) -> Result<(), WireError> {
        match event {
            Event::Headers {
                stream,
                fields,
                end,
            } if stream == self.stream => {
                self.headers(&fields);
                self.ended |= end;
            }
            Event::Data { stream, bytes, end } => {
                self.conn.credit(stream, bytes.len()).await?;
                self.buffer.extend_from_slice(&bytes);
                self.ended |= end;
            }
            Event::Reset { stream, code } if stream == self.stream => {
                if self.status.code.is_none() {
                    self.status.message = format!("stream reset: {}", error_name(code));
                }
                self.ended = true;
            }
            Event::GoAway { code, debug, .. } if code != 0 => {
                return Err(WireError::Protocol(format!(
                    "GOAWAY {} {debug}",
                    error_name(code)
                )));
            }
            _ => {}
        }
        Ok(())
    }

    fn headers(&mut self, fields: &Fields) {
        for (name, value) in fields {
            match name.as_str() {
                ":status" => self.status.http = value.parse().ok(),
                "grpc-status" => self.status.code = value.parse().ok(),
                "grpc-message" => self.status.message = percent_decoded(value),
                _ => {}
            }
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = text
            .get(at + 1..at + 3)
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match code {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_status_are_percent_decoded() {
        assert_eq!(percent_decoded("no%20pod%3a 5%"), "no pod: 5%");
    }
}
