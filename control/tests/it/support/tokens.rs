//! A token issuer as the platform has one: a P-256 key, its JWKS, and tokens bound to node and pod.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://issuer.test";

pub struct Issuer {
    key: KeyPair,
}

impl Issuer {
    pub fn new() -> Self {
        Self { key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key") }
    }

    pub fn jwks(&self) -> String {
        let raw = self.key.public_key_raw();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&raw[1..33]), URL_SAFE_NO_PAD.encode(&raw[33..65]));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1", "x": x, "y": y}]})
            .to_string()
    }

    /// Signs claims as they are.
    pub fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("k1".into());
        let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).expect("PKCS#8");
        encode(&header, claims, &key).expect("token")
    }

    pub fn token(&self, account: &str, node: &str, pod: &str) -> String {
        self.sign(&claims(account, node, pod))
    }

    /// The token of a node's tunnel.
    pub fn tunnel(&self, node: &str) -> String {
        self.token("warren-system/warren-ztunnel", node, &format!("ztunnel-{node}"))
    }
}

pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
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
