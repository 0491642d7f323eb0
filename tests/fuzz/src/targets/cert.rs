//! Certificates and the identities in them.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use warren_core::Identity;
use warren_hbone::tls::identity_of;
use warren_hbone::{Trust, WorkloadCert};

pub(super) fn certificate(data: &[u8]) {
    let der = CertificateDer::from(data);
    if let Ok(id) = identity_of(&der) {
        check(&id);
    }
    // A root that is no certificate must be refused or kept, never crash.
    let _ = Trust::new(std::slice::from_ref(&der));
    for pem in CertificateDer::pem_slice_iter(data).take(16).flatten() {
        let _ = identity_of(&pem);
    }
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(data.to_vec()));
    let _ = WorkloadCert::new(vec![der.into_owned()], key);
}

pub(super) fn identity(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(id) = text.parse() {
        check(&id);
    }
}

fn check(id: &Identity) {
    assert!(
        !id.trust_domain.is_empty() && !id.namespace.is_empty() && !id.service_account.is_empty(),
        "an identity with an empty part: {id}"
    );
    assert_eq!(
        id.to_string().parse().as_ref(),
        Ok(id),
        "writing changed it"
    );
    assert_eq!(format!("spiffe://{}", id.principal()), id.to_string());
}
