//! The CA's key and certificates as a Secret, and the change of its root in steps. No I/O.
//!
//! ```text
//! tls.crt, tls.key: what signs        ca.crt: what is trusted        next.crt, next.key: a root that is being made known
//!
//!   annotation rotate-root --> announced (old signs, both trusted) --overlap--> switched (new signs, both trusted) --overlap--> done
//! ```
//! Whoever trusts only the old root meets only certificates of the old one, since every tunnel learns of the new root when
//! it renews a certificate, which it does within the overlap.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::parts::{Parts, assemble};
use super::{Authority, CaError};
use crate::model::labels::{ROTATE, ROTATION_PHASE as PHASE, ROTATION_SINCE as SINCE};

pub mod bundle;
pub mod keeper;

const ANNOUNCED: &str = "announced";
const SWITCHED: &str = "switched";
const CERT: &str = "tls.crt";
const KEY: &str = "tls.key";
const ROOTS: &str = "ca.crt";
const NEXT_CERT: &str = "next.crt";
const NEXT_KEY: &str = "next.key";

/// A Secret with a root of our own.
///
/// # Errors
/// The library refuses.
pub fn fresh(name: &str, trust_domain: &str) -> Result<Secret, CaError> {
    let (cert, key) = root(trust_domain)?;
    let data = [(CERT, cert.clone()), (KEY, key), (ROOTS, cert)];
    let data = data.map(|(k, v)| (k.to_owned(), ByteString(v.into_bytes())));
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(BTreeMap::from(data)),
        ..Secret::default()
    })
}

/// The authority that a Secret holds: our own root, or an intermediate that somebody put there.
///
/// # Errors
/// A part is missing, or they do not fit together.
pub fn authority(secret: &Secret) -> Result<Authority, CaError> {
    let name = |key: &str| {
        let meta = &secret.metadata;
        let part = |s: &Option<String>| s.clone().unwrap_or_default();
        format!(
            "Secret {}/{}: {key}",
            part(&meta.namespace),
            part(&meta.name)
        )
    };
    let text = |key: &str| {
        text(secret, key).ok_or_else(|| CaError::File {
            path: name(key),
            problem: "missing or no text; a CA takes tls.crt, tls.key and ca.crt".into(),
        })
    };
    assemble(&Parts {
        cert: text(CERT)?,
        key: text(KEY)?,
        root: text(ROOTS)?,
        cert_name: &name(CERT),
        key_name: &name(KEY),
        root_name: &name(ROOTS),
    })
}

/// The next step of a change of the root, where it is due: the Secret as it should be, and what to tell.
///
/// # Errors
/// The library refuses, or the root is not ours to change.
pub fn step(
    secret: &Secret,
    trust_domain: &str,
    overlap: Duration,
    now: Timestamp,
) -> Result<Option<(Secret, &'static str)>, CaError> {
    let annotations = secret.metadata.annotations.clone().unwrap_or_default();
    let since = annotations
        .get(SINCE)
        .and_then(|s| s.parse::<Timestamp>().ok());
    let waited = since.is_none_or(|s| now.as_second() - s.as_second() >= seconds(overlap));
    let mut new = secret.clone();
    let told = match annotations.get(PHASE).map(String::as_str) {
        None if annotations.contains_key(ROTATE) => {
            announce(&mut new, trust_domain)?;
            mark(&mut new, Some(ANNOUNCED), now);
            "a new root is made known; the old one goes on signing"
        }
        Some(ANNOUNCED) if waited => {
            switch(&mut new)?;
            mark(&mut new, Some(SWITCHED), now);
            "the new root signs; the old one is still trusted"
        }
        Some(SWITCHED) if waited => {
            let cert = text(&new, CERT).unwrap_or_default().to_owned();
            put(&mut new, ROOTS, cert);
            mark(&mut new, None, now);
            "the change of the root is complete; the old one is no longer trusted"
        }
        _ => return Ok(None),
    };
    // Nothing is written that the replicas could not read.
    authority(&new)?;
    Ok(Some((new, told)))
}

fn announce(secret: &mut Secret, trust_domain: &str) -> Result<(), CaError> {
    let (old, roots) = (text(secret, CERT), text(secret, ROOTS));
    if old.is_none() || old.map(str::trim) != roots.map(str::trim) {
        return Err(CaError::File {
            path: "the CA's Secret".into(),
            problem: format!(
                "its root was not made by the controller: change it where it was made, and remove the annotation {ROTATE}"
            ),
        });
    }
    let both = format!("{}\n", roots.unwrap_or_default().trim_end());
    let (cert, key) = root(trust_domain)?;
    put(secret, ROOTS, both + &cert);
    put(secret, NEXT_CERT, cert);
    put(secret, NEXT_KEY, key);
    Ok(())
}

fn switch(secret: &mut Secret) -> Result<(), CaError> {
    for (from, to) in [(NEXT_CERT, CERT), (NEXT_KEY, KEY)] {
        let next = secret.data.as_mut().and_then(|d| d.remove(from));
        let next = next.ok_or_else(|| CaError::File {
            path: format!("the CA's Secret: {from}"),
            problem: format!("missing though the new root was announced: remove the annotation {PHASE} to begin again"),
        })?;
        secret
            .data
            .get_or_insert_default()
            .insert(to.to_owned(), next);
    }
    Ok(())
}

fn mark(secret: &mut Secret, phase: Option<&str>, now: Timestamp) {
    let annotations = secret.metadata.annotations.get_or_insert_default();
    match phase {
        Some(phase) => {
            annotations.insert(PHASE.to_owned(), phase.to_owned());
            annotations.insert(SINCE.to_owned(), now.to_string());
        }
        None => annotations.retain(|k, _| ![ROTATE, PHASE, SINCE].contains(&k.as_str())),
    }
}

fn root(trust_domain: &str) -> Result<(String, String), CaError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let pem = key.serialize_pem();
    let authority = Authority::self_signed(key, trust_domain)?;
    Ok((authority.root().to_owned(), pem))
}

fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    let bytes = secret.data.as_ref()?.get(key)?;
    std::str::from_utf8(&bytes.0).ok()
}

fn put(secret: &mut Secret, key: &str, value: String) {
    let data = secret.data.get_or_insert_default();
    data.insert(key.to_owned(), ByteString(value.into_bytes()));
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: Duration = Duration::from_secs(100);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn next(secret: &Secret, second: i64) -> Option<Secret> {
        let step = step(secret, "cluster.local", OVERLAP, at(second));
        step.expect("possible").map(|(s, _)| s)
    }

    fn roots(secret: &Secret) -> usize {
        let pem = authority(secret).expect("whole").root().to_owned();
        pem.matches("BEGIN CERTIFICATE").count()
    }

    #[test]
    fn a_root_is_changed_in_steps() {
        let mut first = fresh("warren-ca", "cluster.local").expect("made");
        assert_eq!(next(&first, 0), None, "nobody asked");
        let annotations = first.metadata.annotations.get_or_insert_default();
        annotations.insert(ROTATE.into(), "now".into());
        let announced = next(&first, 1_000).expect("a step");
        assert_eq!(roots(&announced), 2);
        assert_eq!(
            text(&announced, CERT),
            text(&first, CERT),
            "the old one signs"
        );
        assert_eq!(next(&announced, 1_099), None, "too early");
        let switched = next(&announced, 1_100).expect("a step");
        assert_eq!(roots(&switched), 2);
        assert_eq!(text(&switched, CERT), text(&announced, NEXT_CERT));
        assert_eq!(text(&switched, NEXT_KEY), None);
        assert_eq!(next(&switched, 1_199), None, "too early");
        let done = next(&switched, 1_200).expect("a step");
        assert_eq!(roots(&done), 1);
        assert_eq!(text(&done, ROOTS), text(&switched, CERT));
        assert_eq!(done.metadata.annotations, Some(BTreeMap::new()));
        assert_eq!(next(&done, 9_999), None, "once");
    }

    #[test]
    fn a_given_root_is_not_changed() {
        let mut given = fresh("warren-ca", "cluster.local").expect("made");
        let other = fresh("other", "cluster.local").expect("made");
        let both = format!(
            "{}{}",
            text(&given, ROOTS).expect("text"),
            text(&other, ROOTS).expect("text")
        );
        put(&mut given, ROOTS, both);
        let annotations = given.metadata.annotations.get_or_insert_default();
        annotations.insert(ROTATE.into(), "now".into());
        let error = step(&given, "cluster.local", OVERLAP, at(0)).expect_err("not ours");
        assert!(
            error.to_string().contains("was not made by the controller"),
            "{error}"
        );
    }

    #[test]
    fn a_secret_that_lacks_something_says_what() {
        let mut secret = fresh("warren-ca", "cluster.local").expect("made");
        secret.metadata.namespace = Some("warren-system".into());
        secret.data.as_mut().expect("data").remove(KEY);
        let error = authority(&secret).expect_err("no key").to_string();
        assert!(
            error.contains("Secret warren-system/warren-ca: tls.key"),
            "{error}"
        );
    }
}
