//! Ring buffer events.

use crate::{FlowKey, VerdictKey};

/// One event; fields that a kind does not use are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `EventKind` as a number.
    pub kind: u32,
    /// The agent's number for the service asked for, or 0.
    pub service: u32,
    /// Who, whom, port, family.
    pub question: VerdictKey,
    /// Addresses of a direct flow.
    pub flow: FlowKey,
    /// Monotonic nanoseconds when the flow began.
    pub start_ns: u64,
    /// Monotonic nanoseconds when it ended.
    pub end_ns: u64,
    /// Bytes that the client sent and the server acknowledged.
    pub bytes_sent: u64,
    /// Bytes that the client received.
    pub bytes_received: u64,
    /// Smoothed round trip in microseconds.
    pub rtt_us: u32,
    /// TCP state that it ended from (2 = SYN_SENT: never established).
    pub old_state: u32,
}

/// What an event says.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The kernel has no verdict for `question`.
    VerdictWanted = 1,
    /// A direct flow ended.
    DirectClose = 2,
}

const _: () = assert!(size_of::<Event>() == 96);
