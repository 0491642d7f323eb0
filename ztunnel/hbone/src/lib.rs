//! HBONE: byte streams as HTTP/2 CONNECT over mutual TLS, for the tunnel and the waypoint.
//! The client side pools connections by source, destination and expected peer; the server side hands out checked requests.
//!
//! ```text
//! TcpStream -tls::connect-> h2 client -Pool::open-> H2Tunnel <-copy-> TcpStream of the application
//! TcpStream -tls::accept--> server::serve -> ConnectRequest -accept-> H2Tunnel <-copy-> TcpStream to the application
//! ```
#![forbid(unsafe_code)]

pub mod copy;
mod early;
pub mod error;
pub mod headers;
mod keepalive;
pub mod pool;
mod readahead;
mod room;
pub mod server;
pub mod tls;
pub mod tunnel;
mod turns;
mod wrapper;

pub use copy::{CopyError, Counters, copy};
pub use early::Early;
pub use error::{HandshakeError, OpenError, PeerRefusal, TunnelError};
pub use pool::{Pool, PoolKey};
pub use server::{Authority, ConnectRequest, Handler, serve, serve_http2};
pub use tls::{Expect, Trust, WorkloadCert};
pub use tunnel::{H2Tunnel, IoTunnel, Tunnel};

/// The port on which every pod of the mesh takes HBONE.
pub const HBONE_PORT: u16 = 15008;

use std::time::Duration;

/// Sizes and times of both sides. The defaults are those of Istio's ambient tunnels, so that either peer finds what it
/// expects; but for the window of a connection, which here has room for the windows of all its streams. With less, a few
/// streams whose readers pause would hold up all others: connections that are independent without a mesh.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Streams on one client connection before another one is dialled; also what the server admits at once, doubled.
    pub streams_per_connection: usize,
    /// A pooled connection without streams is closed after this long.
    pub idle: Duration,
    /// Receive window of a stream in bytes; less while many streams of the process stall.
    pub stream_window: u32,
    /// Largest frame that we take, in bytes.
    pub frame: u32,
    /// Bytes of one stream that may wait in memory to be sent.
    pub send_buffer: usize,
    /// Bytes of request headers that we take (RFC 9113 §6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE).
    pub header_list: u32,
    /// A PING is sent this often.
    pub ping_interval: Duration,
    /// A PING unanswered for this long closes the connection.
    pub ping_timeout: Duration,
    /// The TLS handshake and, on the server, the wait for the first request each end after this long.
    pub handshake: Duration,
    /// The wait for an answer to CONNECT.
    pub response: Duration,
}

impl Limits {
    /// Receive window of a connection with this many streams, in bytes.
    fn connection_window(&self, streams: usize) -> u32 {
        let all = u64::from(self.stream_window) * streams as u64;
        // RFC 9113 §6.9.1: a window is at most 2^31-1.
        u32::try_from(all.min(i32::MAX as u64)).unwrap_or(i32::MAX as u32)
    }

    /// Streams that the server admits at once on a connection.
    fn streams_admitted(&self) -> usize {
        self.streams_per_connection * 2
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams_per_connection: 100,
            idle: Duration::from_secs(300),
            stream_window: 4 << 20,
            frame: 1 << 20,
            send_buffer: 512 << 10,
            header_list: 16 << 10,
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(20),
            handshake: Duration::from_secs(10),
            response: Duration::from_secs(20),
        }
    }
}

/// Memory that small DATA frames may take on one connection before the peer is told to calm down, in bytes. h2's own
/// default is half the window, which an application that writes single bytes to a stalled reader would exceed.
const SMALL_FRAME_BUDGET: usize = 32 << 20;
