//! Tokens checked against a JWKS file, where there is no API server to ask.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::{AuthError, Caller};

/// Clocks of two machines may differ by this much.
const LEEWAY_SECONDS: u64 = 5;
/// How often the JWKS file is looked at.
const RECHECK: Duration = Duration::from_secs(1);
/// The signature algorithms that are taken.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];

/// Which tokens are good.
#[derive(Clone, Debug)]
pub struct Settings {
    /// File with the issuer's keys.
    pub jwks: PathBuf,
    /// `iss`.
    pub issuer: String,
    /// `aud`: one of these.
    pub audiences: Vec<String>,
}

/// Checks tokens.
#[derive(Debug)]
pub struct Jwks {
    settings: Settings,
    keys: Mutex<Option<Keys>>,
}

#[derive(Debug)]
struct Keys {
    checked: Instant,
    modified: SystemTime,
    set: Arc<JwkSet>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: String,
    exp: u64,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Reference,
    node: Option<Reference>,
    pod: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    #[serde(default)]
    uid: String,
}

impl Jwks {
    /// The keys are read at the first token.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            keys: Mutex::new(None),
        }
    }

    /// Checks a token.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub fn authenticate(&self, token: &str) -> Result<Caller, AuthError> {
        let header =
            decode_header(token).map_err(|e| AuthError::Token(format!("not a JWT: {e}")))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(AuthError::Token(format!(
                "algorithm {:?} is not RS256 or ES256",
                header.alg
            )));
        }
        let keys = self.keys()?;
        let candidates: Vec<&Jwk> = match &header.kid {
            Some(kid) => keys.find(kid).into_iter().collect(),
            None => keys.keys.iter().collect(),
        };
        let mut last = AuthError::Token("signed by a key that the JWKS file does not hold".into());
        for jwk in candidates {
            match self.check(token, jwk, header.alg) {
                Ok(claims) => return caller(claims),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn check(&self, token: &str, jwk: &Jwk, algorithm: Algorithm) -> Result<Claims, AuthError> {
        let key = DecodingKey::from_jwk(jwk)
            .map_err(|e| AuthError::Token(format!("unusable key: {e}")))?;
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&self.settings.audiences);
        decode::<Claims>(token, &key, &validation)
            .map(|data| data.claims)
            .map_err(|e| self.explain(&e))
    }

    fn explain(&self, error: &jsonwebtoken::errors::Error) -> AuthError {
        let claim = |claim, problem: String| AuthError::Claim { claim, problem };
        match error.kind() {
            ErrorKind::ExpiredSignature => {
                claim("exp", "it has expired; the platform has to renew it".into())
            }
            ErrorKind::ImmatureSignature => {
                claim("nbf", "it is not valid yet; compare the clocks".into())
            }
            ErrorKind::InvalidIssuer => claim("iss", format!("not `{}`", self.settings.issuer)),
            ErrorKind::InvalidAudience => claim(
                "aud",
                format!("none of {}", self.settings.audiences.join(", ")),
            ),
            ErrorKind::InvalidSignature => {
                AuthError::Token("its signature is not by the issuer's key".into())
            }
            _ => AuthError::Token(error.to_string()),
        }
    }

    /// The issuer rotates its keys by writing the file anew. A file that cannot be read leaves the keys known so far.
    fn keys(&self) -> Result<Arc<JwkSet>, AuthError> {
        let mut known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = known.as_ref().filter(|k| k.checked.elapsed() < RECHECK) {
            return Ok(keys.set.clone());
        }
        let path = &self.settings.jwks;
        let bad = |problem: String| AuthError::Keys {
            path: path.clone(),
            problem,
        };
        let modified = fs::metadata(path)
            .and_then(|m| m.modified())
            .map_err(|e| bad(e.to_string()));
        let read = modified.and_then(|modified| {
            if let Some(keys) = known.as_ref().filter(|k| k.modified == modified) {
                return Ok((modified, keys.set.clone()));
            }
            let text = fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
            let set = serde_json::from_str(&text).map_err(|e| bad(format!("not a JWKS: {e}")))?;
            Ok((modified, Arc::new(set)))
        });
        match (read, known.as_mut()) {
            (Ok((modified, set)), _) => {
                *known = Some(Keys {
                    checked: Instant::now(),
                    modified,
                    set: set.clone(),
                });
                Ok(set)
            }
            (Err(error), Some(keys)) => {
                tracing::warn!("{error}; the keys read before stay in force");
                keys.checked = Instant::now();
                Ok(keys.set.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}

fn caller(claims: Claims) -> Result<Caller, AuthError> {
    let missing = |problem: &str| AuthError::Claim {
        claim: "kubernetes.io",
        problem: problem.to_owned(),
    };
    let k = claims
        .kubernetes
        .ok_or_else(|| missing("missing; only service account tokens are taken"))?;
    let node = k
        .node
        .ok_or_else(|| missing("names no node; only tokens bound to a node are taken"))?;
    let pod = k
        .pod
        .ok_or_else(|| missing("names no pod; only tokens bound to a pod are taken"))?;
    let subject = format!(
        "system:serviceaccount:{}:{}",
        k.namespace, k.serviceaccount.name
    );
    if !claims.sub.is_empty() && claims.sub != subject {
        return Err(AuthError::Claim {
            claim: "sub",
            problem: format!("`{}` is not `{subject}`", claims.sub),
        });
    }
    if [&k.namespace, &k.serviceaccount.name, &node.name, &pod.name]
        .iter()
        .any(|s| s.is_empty())
    {
        return Err(missing("an empty name"));
    }
    Ok(Caller {
        namespace: k.namespace,
        service_account: k.serviceaccount.name,
        node: node.name,
        pod: pod.name,
        pod_uid: pod.uid,
        until: expiry(claims.exp),
    })
}

/// A time too far off to be told is as good as none.
fn expiry(exp: u64) -> SystemTime {
    let until = Duration::from_secs(exp.saturating_add(LEEWAY_SECONDS));
    let distant = || SystemTime::now() + Duration::from_secs(u64::from(u32::MAX));
    SystemTime::UNIX_EPOCH
        .checked_add(until)
        .unwrap_or_else(distant)
}
