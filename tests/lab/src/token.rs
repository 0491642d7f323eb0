//! Projected service account tokens, as a cluster's API server would issue them (ES256, node- and pod-bound).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// `iss` of every token.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// `kid` of the lab's key.
pub const KEY_ID: &str = "warren-lab";

/// What a token says.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// Namespace of service account and pod.
    pub namespace: String,
    /// Service account name and uid.
    pub service_account: (String, String),
    /// Pod name and uid.
    pub pod: Option<(String, String)>,
    /// Node name and uid.
    pub node: Option<(String, String)>,
    /// Audiences.
    pub audiences: Vec<String>,
    /// Seconds from now until expiry; negative for a token that has expired.
    pub lifetime: i64,
}

/// Signs tokens with the lab's key.
#[derive(Clone)]
pub struct Issuer {
    key: EncodingKey,
}

impl Issuer {
    /// Makes a key and writes it and the public JWKS to the given files.
    pub fn create(key_path: &Path, jwks_path: &Path) -> Result<Self> {
        let pair = rcgen::KeyPair::generate().context("cannot make a token key")?;
        let der = pair.serialize_der();
        std::fs::write(key_path, &der)
            .with_context(|| format!("cannot write {}", key_path.display()))?;
        let point = pair.public_key_raw();
        if point.len() != 65 {
            bail!("the token key is not an uncompressed P-256 point");
        }
        let jwks = json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])}]});
        std::fs::write(jwks_path, jwks.to_string())
            .with_context(|| format!("cannot write {}", jwks_path.display()))?;
        Ok(Self {
            key: EncodingKey::from_ec_der(&der),
        })
    }

    /// Reads the key that [`Self::create`] wrote.
    pub fn open(key_path: &Path) -> Result<Self> {
        let der = std::fs::read(key_path)
            .with_context(|| format!("cannot read {}: is the lab up?", key_path.display()))?;
        Ok(Self {
            key: EncodingKey::from_ec_der(&der),
        })
    }

    /// A signed token.
    pub fn issue(&self, claims: &Claims) -> Result<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(KEY_ID.into());
        jsonwebtoken::encode(&header, &body(claims), &self.key).context("cannot sign a token")
    }
}

fn body(claims: &Claims) -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
        .cast_signed();
    let issued = now.min(now + claims.lifetime - 1);
    let named = |(name, uid): &(String, String)| json!({"name": name, "uid": uid});
    let mut kubernetes =
        json!({"namespace": claims.namespace, "serviceaccount": named(&claims.service_account)});
    if let Some(pod) = &claims.pod {
        kubernetes["pod"] = named(pod);
    }
    if let Some(node) = &claims.node {
        kubernetes["node"] = named(node);
    }
    json!({
        "iss": ISSUER,
        "sub": format!("system:serviceaccount:{}:{}", claims.namespace, claims.service_account.0),
        "aud": claims.audiences,
        "iat": issued,
        "nbf": issued,
        "exp": now + claims.lifetime,
        "jti": crate::store::uuid(),
        "kubernetes.io": kubernetes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};

    #[test]
    fn tokens_verify_with_the_published_keys() {
        let dir = std::env::temp_dir().join(format!("warren-lab-token-{}", crate::store::uuid()));
        std::fs::create_dir_all(&dir).unwrap();
        let issuer = Issuer::create(&dir.join("key"), &dir.join("jwks")).unwrap();
        let claims = Claims {
            namespace: "warren-system".into(),
            service_account: ("warren-ztunnel".into(), "1".into()),
            node: Some(("a".into(), "2".into())),
            audiences: vec!["warren-ca".into()],
            lifetime: 600,
            ..Claims::default()
        };
        let token = issuer.issue(&claims).unwrap();
        let set: JwkSet =
            serde_json::from_str(&std::fs::read_to_string(dir.join("jwks")).unwrap()).unwrap();
        let key = DecodingKey::from_jwk(set.find(KEY_ID).unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["warren-ca"]);
        let decoded = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
        assert_eq!(decoded.claims["kubernetes.io"]["node"]["name"], "a");
        let expired = issuer
            .issue(&Claims {
                lifetime: -300,
                ..claims
            })
            .unwrap();
        assert!(jsonwebtoken::decode::<Value>(&expired, &key, &validation).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
