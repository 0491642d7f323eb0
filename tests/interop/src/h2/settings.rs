//! SETTINGS (RFC 9113 §6.5).

use super::frame::{Frame, kind};
use crate::error::WireError;

/// What one side allows the other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_streams: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE: receive window of a stream in bytes.
    pub stream_window: u32,
    /// Receive window of the connection in bytes (not a setting: a WINDOW_UPDATE follows).
    pub connection_window: u32,
    /// SETTINGS_MAX_FRAME_SIZE in bytes.
    pub max_frame: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE in bytes.
    pub max_header_list: Option<u32>,
}

/// Both windows before any SETTINGS.
pub(super) const FIRST_WINDOW: u32 = 65_535;

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_streams: None,
            stream_window: FIRST_WINDOW,
            connection_window: FIRST_WINDOW,
            max_frame: 16_384,
            max_header_list: None,
        }
    }
}

impl Settings {
    /// What a stock tunnel announces.
    pub fn stock() -> Self {
        Self {
            max_streams: Some(100),
            stream_window: 4 << 20,
            connection_window: 16 << 20,
            max_frame: 1 << 20,
            max_header_list: None,
        }
    }

    pub(super) fn frame(&self, client: bool) -> Frame {
        let mut payload = Vec::new();
        let mut add = |id: u16, value: u32| {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        };
        if client {
            add(2, 0);
        }
        if let Some(max) = self.max_streams {
            add(3, max);
        }
        add(4, self.stream_window);
        add(5, self.max_frame);
        if let Some(max) = self.max_header_list {
            add(6, max);
        }
        Frame::new(kind::SETTINGS, 0, 0, payload)
    }

    /// Takes the peer's values over.
    pub(super) fn update(&mut self, frame: &Frame) -> Result<(), WireError> {
        if !frame.payload.len().is_multiple_of(6) {
            return Err(WireError::Protocol("SETTINGS of a wrong length".into()));
        }
        for entry in frame.payload.chunks(6) {
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            match u16::from_be_bytes([entry[0], entry[1]]) {
                3 => self.max_streams = Some(value),
                4 => self.stream_window = value,
                5 => self.max_frame = value,
                6 => self.max_header_list = Some(value),
                _ => {}
            }
        }
        Ok(())
    }
}
