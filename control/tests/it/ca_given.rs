//! A CA that the operator brings, and its mistakes.

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;
use warren_control::ca::files::{self, Given};
use warren_control::ca::{Authority, Subject};
use x509_parser::prelude::{FromDer, X509Certificate};

struct Chain {
    dir: TempDir,
    root: Certificate,
    intermediate: Certificate,
    key: KeyPair,
}

fn ca_params(name: &str, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(10);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
    params
}

fn chain(days: i64) -> Chain {
    let root_key = KeyPair::generate().expect("key");
    let root_params = ca_params("root", 100);
    let root = root_params.self_signed(&root_key).expect("root");
    let key = KeyPair::generate().expect("key");
    let issuer = Issuer::new(root_params, root_key);
    let intermediate = ca_params("intermediate", days)
        .signed_by(&key, &issuer)
        .expect("signed");
    Chain {
        dir: TempDir::new().expect("directory"),
        root,
        intermediate,
        key,
    }
}

impl Chain {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("file");
        path
    }

    fn load(&self, cert: &str, key: &str, root: &str) -> Result<Authority, String> {
        let given = Given {
            cert: self.write("cert.pem", cert),
            key: self.write("key.pem", key),
            root: self.write("root.pem", root),
        };
        files::load(&given).map_err(|e| e.to_string())
    }
}

#[test]
fn an_intermediate_signs_and_travels_in_the_chain() {
    let c = chain(50);
    let authority = c
        .load(&c.intermediate.pem(), &c.key.serialize_pem(), &c.root.pem())
        .expect("fits");
    let leaf = KeyPair::generate().expect("key");
    let subject = Subject::Spiffe("spiffe://cluster.local/ns/a/sa/b".into());
    let signed = authority
        .sign(&leaf, &subject, Duration::from_secs(3600))
        .expect("signed");
    assert_eq!(signed.chain.len(), 3, "leaf, intermediate, root");
    let ders: Vec<_> = signed
        .chain
        .iter()
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM"))
        .collect();
    let parsed: Vec<_> = ders
        .iter()
        .map(|d| X509Certificate::from_der(d).expect("certificate").1)
        .collect();
    for pair in parsed.windows(2) {
        pair[0]
            .verify_signature(Some(pair[1].public_key()))
            .expect("signed by the next");
        assert_eq!(pair[0].issuer(), pair[1].subject());
    }
    assert_eq!(files::views(&authority).len(), 2);
}

#[test]
fn a_leaf_never_outlives_its_issuer() {
    let c = chain(1);
    let authority = c
        .load(&c.intermediate.pem(), &c.key.serialize_pem(), &c.root.pem())
        .expect("fits");
    let leaf = KeyPair::generate().expect("key");
    let signed = authority
        .sign(
            &leaf,
            &Subject::Server(vec!["a.b".into()]),
            Duration::from_secs(30 * 86_400),
        )
        .expect("signed");
    assert!(signed.not_after <= time::OffsetDateTime::now_utc() + time::Duration::days(1));
}

#[test]
fn parts_that_do_not_fit_are_named() {
    let (c, other) = (chain(50), chain(50));
    let (cert, key, root) = (c.intermediate.pem(), c.key.serialize_pem(), c.root.pem());
    let leaf_params = CertificateParams::default();
    let leaf = leaf_params.self_signed(&c.key).expect("leaf").pem();
    let old = chain(-1);
    let cases = [
        (
            c.load(&cert, &other.key.serialize_pem(), &root),
            "key.pem: does not belong",
        ),
        (
            c.load(&cert, &key, &other.root.pem()),
            "root.pem: no root in it signed",
        ),
        (c.load("", &key, &root), "cert.pem: holds no certificate"),
        (c.load(&leaf, &key, &root), "is not a CA certificate"),
        (c.load(&cert, "x", &root), "key.pem: "),
        (
            old.load(
                &old.intermediate.pem(),
                &old.key.serialize_pem(),
                &old.root.pem(),
            ),
            "expired at",
        ),
    ];
    for (result, part) in cases {
        let error = result.expect_err(part);
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_lost_key_is_not_replaced_in_silence() {
    let dir = TempDir::new().expect("directory");
    let first = files::own(dir.path(), "cluster.local").expect("made");
    let again = files::own(dir.path(), "cluster.local").expect("read");
    assert_eq!(first.root(), again.root());
    std::fs::remove_file(dir.path().join("ca-key.pem")).expect("remove");
    let error = files::own(dir.path(), "cluster.local")
        .expect_err("the key is gone")
        .to_string();
    assert!(error.contains("ca-key.pem: missing"), "{error}");
}
