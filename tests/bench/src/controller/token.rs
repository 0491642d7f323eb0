//! A tunnel's service account token as a cluster would project it, signed with a key made for one run (ES256, RFC 7518).

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

/// `iss`.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// `aud`.
pub const AUDIENCE: &str = "warren-ca";
const KEY_ID: &str = "warren-bench";

/// A token and the key set that verifies it.
#[derive(Debug)]
pub struct Signed {
    /// The JWT.
    pub token: String,
    /// The JWKS.
    pub jwks: String,
}

/// A token of the tunnel on `node`, good for a day.
///
/// # Errors
/// No key could be made.
pub fn tunnel(node: &str) -> Result<Signed> {
    let pair = rcgen::KeyPair::generate().context("no token key could be made")?;
    let point = pair.public_key_raw();
    ensure!(
        point.len() == 65,
        "the token key is not an uncompressed P-256 point"
    );
    let jwks = json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])}]});
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(KEY_ID.into());
    let key = EncodingKey::from_ec_der(&pair.serialize_der());
    let token = jsonwebtoken::encode(&header, &claims(node), &key)
        .context("the token could not be signed")?;
    Ok(Signed {
        token,
        jwks: jwks.to_string(),
    })
}

fn claims(node: &str) -> serde_json::Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let named = |name: &str| json!({"name": name, "uid": format!("{name}-uid")});
    json!({
        "iss": ISSUER,
        "aud": [AUDIENCE],
        "sub": "system:serviceaccount:warren-system:warren-ztunnel",
        "iat": now,
        "nbf": now,
        "exp": now + 86_400,
        "kubernetes.io": {
            "namespace": "warren-system",
            "serviceaccount": named("warren-ztunnel"),
            "pod": named("warren-ztunnel-0"),
            "node": named(node),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};

    #[test]
    fn the_key_set_verifies_the_token() {
        let signed = tunnel("a").unwrap();
        let set: JwkSet = serde_json::from_str(&signed.jwks).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[AUDIENCE]);
        let key = DecodingKey::from_jwk(set.find(KEY_ID).unwrap()).unwrap();
        let decoded =
            jsonwebtoken::decode::<serde_json::Value>(&signed.token, &key, &validation).unwrap();
        assert_eq!(decoded.claims["kubernetes.io"]["node"]["name"], "a");
    }
}
