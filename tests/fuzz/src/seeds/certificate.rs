//! Certificates: good ones, and such as a verifier must refuse.

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::PrivateKeyDer;
use warren_hbone::{Trust, WorkloadCert};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

/// A server's certificate and the roots that it trusts.
///
/// # Panics
/// No key can be made on this machine.
pub fn material() -> (WorkloadCert, Trust) {
    let authority = authority();
    let root = authority.0.der().clone();
    let key = KeyPair::generate().expect("a key");
    let leaf = params(&[WEB], &[])
        .signed_by(&key, &authority.1)
        .expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let cert = WorkloadCert::new(vec![leaf.der().clone()], key).expect("a usable certificate");
    (cert, Trust::new(&[root]).expect("a usable root"))
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let (root, issuer) = authority();
    let mut seeds = vec![root.der().to_vec()];
    let names: [(&[&str], &[&str]); 5] = [
        (&[WEB], &[]),
        (&[WEB, "spiffe://cluster.local/ns/shop/sa/other"], &[]),
        (&["https://example.org/"], &["web.example.org"]),
        (&["spiffe://cluster.local/ns//sa/"], &[]),
        (&[], &["web"]),
    ];
    for (uris, hosts) in names {
        let key = KeyPair::generate().expect("a key");
        let leaf = params(uris, hosts)
            .signed_by(&key, &issuer)
            .expect("a certificate");
        seeds.push(leaf.der().to_vec());
        if uris == [WEB] {
            seeds.push(leaf.pem().into_bytes());
        }
    }
    seeds
}

pub(super) fn requests() -> Vec<Vec<u8>> {
    let names: [(&[&str], &[&str]); 4] = [
        (&[WEB], &[]),
        (&[WEB, WEB], &[]),
        (&[], &["web"]),
        (&[], &[]),
    ];
    let request = |(uris, hosts): (&[&str], &[&str])| {
        let key = KeyPair::generate().expect("a key");
        let request = params(uris, hosts)
            .serialize_request(&key)
            .expect("a request");
        request.pem().expect("PEM").into_bytes()
    };
    names.map(request).to_vec()
}

fn authority() -> (rcgen::Certificate, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).expect("a root");
    (root, Issuer::new(params, key))
}

fn params(uris: &[&str], hosts: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let name = |text: &&str| Ia5String::try_from(*text).expect("ASCII");
    params
        .subject_alt_names
        .extend(uris.iter().map(|u| SanType::URI(name(u))));
    params
        .subject_alt_names
        .extend(hosts.iter().map(|h| SanType::DnsName(name(h))));
    params
}
