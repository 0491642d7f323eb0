//! Service account tokens, signed with a key of our own (ES256, RFC 7518).

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// `iss` that the target expects.
pub const ISSUER: &str = "https://issuer.example";
/// `aud` that it expects.
pub const AUDIENCE: &str = "warren-ca";

/// A key pair.
pub struct Key {
    pair: rcgen::KeyPair,
}

impl Key {
    /// A new one.
    ///
    /// # Panics
    /// No key can be made on this machine.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            pair: rcgen::KeyPair::generate().expect("a key"),
        }
    }

    /// The key set that verifies its signatures.
    pub fn jwks(&self) -> String {
        let point = self.pair.public_key_raw();
        let half = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k", "x": half(1), "y": half(33)}]})
            .to_string()
    }

    /// A token with these claims; `exp`, `nbf`, `iss` and `aud` are put in where they are missing, so that the rest is read.
    ///
    /// # Panics
    /// The key cannot sign.
    pub fn sign(&self, claims: &Value) -> String {
        let mut claims = claims.clone();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let usual = [
            ("exp", json!(now + 600)),
            ("nbf", json!(now)),
            ("iss", json!(ISSUER)),
            ("aud", json!([AUDIENCE])),
        ];
        if let Value::Object(map) = &mut claims {
            for (name, value) in usual {
                map.entry(name).or_insert(value);
            }
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("k".into());
        let key = EncodingKey::from_ec_der(&self.pair.serialize_der());
        jsonwebtoken::encode(&header, &claims, &key).expect("the key signs")
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let claims = json!({"sub": "system:serviceaccount:warren-system:warren-ztunnel", "kubernetes.io": {
        "namespace": "warren-system", "serviceaccount": {"name": "warren-ztunnel", "uid": "1"},
        "node": {"name": "a", "uid": "2"}, "pod": {"name": "z", "uid": "3"}}});
    let unbound = json!({"kubernetes.io": {"namespace": "", "serviceaccount": {"name": ""}}});
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let body = URL_SAFE_NO_PAD.encode(claims.to_string());
    let unsigned = format!("{none}.{body}.");
    // Signed by a key that nobody keeps.
    let stranger = Key::new().sign(&claims);
    vec![claims.to_string(), unbound.to_string(), unsigned, stranger]
        .into_iter()
        .map(String::into_bytes)
        .collect()
}
