//! Valid inputs of the binary formats, made by the code that writes them.

pub mod certificate;
mod http2;
mod kernel;
pub mod token;
mod wire;

/// Every seed, with its target's name.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    seeds.extend(wire::addresses().into_iter().map(|s| ("address", s)));
    seeds.extend(
        wire::authorizations()
            .into_iter()
            .map(|s| ("authorization", s)),
    );
    seeds.extend(certificate::seeds().into_iter().map(|s| ("certificate", s)));
    seeds.extend(http2::connections().into_iter().map(|s| ("http2", s)));
    seeds.extend(http2::hellos().into_iter().map(|s| ("tls", s)));
    seeds.extend(certificate::requests().into_iter().map(|s| ("csr", s)));
    seeds.extend(token::seeds().into_iter().map(|s| ("token", s)));
    seeds.extend(kernel::answers().into_iter().map(|s| ("sock_diag", s)));
    seeds.extend(kernel::events().into_iter().map(|s| ("event", s)));
    seeds.extend(kernel::questions().into_iter().map(|s| ("dns", s)));
    seeds.extend(kernel::requests().into_iter().map(|s| ("xds_requests", s)));
    seeds
}
