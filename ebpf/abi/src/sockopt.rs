//! The private socket options by which the tunnel speaks with the kernel programs.

use crate::Ip;

/// Level of Warren's options; the kernel knows none of that number.
pub const SOL_WARREN: i32 = 0x5752;
/// `getsockopt`: fills [`OriginalDst`] for a connection accepted from the outbound listener.
pub const WARREN_ORIGINAL_DST: i32 = 1;
/// `setsockopt`: takes [`ClientAddr`], before the tunnel connects to an application.
pub const WARREN_CLIENT_ADDR: i32 = 2;

/// What a captured client asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginalDst {
    /// Address asked for.
    pub ip: Ip,
    /// The backend that the kernel chose for a Service, or none.
    pub backend: Ip,
    /// Port asked for, host byte order.
    pub port: u16,
    /// Port of the backend, host byte order.
    pub backend_port: u16,
}

/// The client that a delivered connection stands for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientAddr {
    /// Its address.
    pub ip: Ip,
    /// Its port, host byte order.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}

const _: () = assert!(size_of::<OriginalDst>() == 36 && size_of::<ClientAddr>() == 20);
