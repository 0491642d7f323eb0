//! Mutual TLS 1.3 with workload identities: certificates, roots, both handshakes.

mod cert;
mod farewell;
mod handshake;
mod stream;
mod trust;
mod verify;

pub use cert::{CertError, WorkloadCert, identity_of};
pub use handshake::{Accepted, Encrypted, accept, connect};
pub use stream::TlsStream;
pub use trust::{Expect, Trust, TrustError};

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};

/// AES-GCM only, the shorter key first because it is the faster one; the hybrid post-quantum group before the classic ones.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
        ],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    })
});

/// The cryptography that every handshake of the mesh uses.
pub fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

const ALPN_H2: &[u8] = b"h2";
