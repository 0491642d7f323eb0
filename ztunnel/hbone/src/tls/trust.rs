//! The mesh's roots, replaceable while connections live.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use warren_core::Identity;

/// Why a set of roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A root cannot be read.
    #[error("a root certificate is unreadable: {0}; check the root bundle")]
    Root(rustls::Error),
    /// No roots.
    #[error("the root bundle holds no certificate: {0}; check the root bundle")]
    Empty(String),
}

/// Whom a client expects at the other end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Any workload of our trust domain.
    TrustDomain,
    /// One of these.
    OneOf(Arc<[Identity]>),
}

impl Expect {
    /// Exactly this identity.
    pub fn one(id: Identity) -> Self {
        Self::OneOf(Arc::from([id]))
    }
}

/// The roots that peers' chains must lead to. The trust domain that peers must be of is that of our own certificate.
#[derive(Debug)]
pub struct Trust {
    state: ArcSwap<Roots>,
}

/// One generation of roots with what is derived from them.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(crate) store: Arc<RootCertStore>,
    pub(crate) clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// Starts with these roots (DER).
    pub fn new(roots: &[CertificateDer<'_>]) -> Result<Self, TrustError> {
        Ok(Self {
            state: ArcSwap::from_pointee(Roots::new(roots)?),
        })
    }

    /// Takes new roots for handshakes from now on; connections that exist are not touched.
    pub fn replace(&self, roots: &[CertificateDer<'_>]) -> Result<(), TrustError> {
        self.state.store(Arc::new(Roots::new(roots)?));
        Ok(())
    }

    pub(crate) fn roots(&self) -> Arc<Roots> {
        self.state.load_full()
    }
}

impl Roots {
    fn new(roots: &[CertificateDer<'_>]) -> Result<Self, TrustError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store
                .add(root.clone().into_owned())
                .map_err(TrustError::Root)?;
        }
        let store = Arc::new(store);
        let clients = WebPkiClientVerifier::builder_with_provider(store.clone(), super::provider())
            .build()
            .map_err(|e| TrustError::Empty(e.to_string()))?;
        Ok(Self { store, clients })
    }
}
