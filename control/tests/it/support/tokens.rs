//! A token issuer as the platform has one: a P-256 key, its JWKS, and tokens bound to node and pod.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData};
use serde_json::{Value, json};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

pub const ISSUER: &str = "https://issuer.test";

pub struct Issuer {
    key: KeyPair,
    algorithm: Algorithm,
}

impl Issuer {
    pub fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
        Self {
            key,
            algorithm: Algorithm::ES256,
        }
    }

    /// As most clusters sign their tokens.
    pub fn rsa() -> Self {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("key");
        Self {
            key,
            algorithm: Algorithm::RS256,
        }
    }

    /// The private key, as an API server takes it.
    #[allow(dead_code, reason = "only the tests with an API server need it")]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The public key, likewise.
    #[allow(dead_code, reason = "only the tests with an API server need it")]
    pub fn public_key_pem(&self) -> String {
        self.key.public_key_pem()
    }

    pub fn jwks(&self) -> String {
        let raw = self.key.public_key_raw();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = if self.algorithm == Algorithm::ES256 {
            json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1", "x": text(&raw[1..33]), "y": text(&raw[33..65])})
        } else {
            let spki = self.key.subject_public_key_info();
            let (_, spki) = SubjectPublicKeyInfo::from_der(&spki).expect("SPKI");
            let Ok(PublicKey::RSA(rsa)) = spki.parsed() else {
                panic!("an RSA key")
            };
            let modulus: Vec<u8> = rsa
                .modulus
                .iter()
                .copied()
                .skip_while(|b| *b == 0)
                .collect();
            json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k1", "n": text(&modulus), "e": text(rsa.exponent)})
        };
        json!({ "keys": [key] }).to_string()
    }

    /// Signs claims as they are.
    pub fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some("k1".into());
        let pem = self.key.serialize_pem();
        let key = match self.algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        encode(&header, claims, &key.expect("PKCS#8")).expect("token")
    }

    pub fn token(&self, account: &str, node: &str, pod: &str) -> String {
        self.sign(&claims(account, node, pod))
    }

    /// The token of a node's tunnel.
    pub fn tunnel(&self, node: &str) -> String {
        self.token(
            "warren-system/warren-ztunnel",
            node,
            &format!("ztunnel-{node}"),
        )
    }
}

pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_secs()).expect("fits")
}

/// Good claims; `account` is `<namespace>/<name>`.
pub fn claims(account: &str, node: &str, pod: &str) -> Value {
    let (namespace, name) = account.split_once('/').expect("namespace/name");
    json!({
        "iss": ISSUER,
        "aud": ["warren-ca"],
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "iat": now() - 1,
        "nbf": now() - 1,
        "exp": now() + 600,
        "kubernetes.io": {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": "u-sa"},
            "node": {"name": node, "uid": "u-node"},
            "pod": {"name": pod, "uid": "u-pod"},
        },
    })
}
