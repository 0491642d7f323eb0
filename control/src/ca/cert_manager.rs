//! cert-manager's `CertificateRequest`: an issuer outside of the controller, which then has no key to lose.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::parts::to_pem;
use super::{CaError, Signed, Subject};
use crate::source::kubernetes::causes;

const CALL_LIMIT: Duration = Duration::from_secs(10);
/// An issuer that signs by itself takes less than a second.
const ISSUE_LIMIT: Duration = Duration::from_secs(20);
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Which issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerRef {
    /// Name.
    pub name: String,
    /// `Issuer`, `ClusterIssuer`, or the kind of an external one.
    pub kind: String,
    /// Its group.
    pub group: String,
}

impl std::str::FromStr for IssuerRef {
    type Err = String;

    /// Reads `NAME`, `NAME:KIND` or `NAME:KIND:GROUP`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let mut part = |default: &str| parts.next().unwrap_or(default).to_owned();
        let found = Self {
            name: part(""),
            kind: part("Issuer"),
            group: part("cert-manager.io"),
        };
        let empty = [&found.name, &found.kind, &found.group];
        if empty.iter().any(|p| p.is_empty()) || parts.next().is_some() {
            return Err("expected NAME, NAME:KIND or NAME:KIND:GROUP".into());
        }
        Ok(found)
    }
}

impl std::fmt::Display for IssuerRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.name, self.kind, self.group)
    }
}

/// Asks an issuer.
#[derive(Clone)]
pub struct CertManager {
    api: Api<DynamicObject>,
    resource: ApiResource,
    issuer: IssuerRef,
}

impl std::fmt::Debug for CertManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertManager({})", self.issuer)
    }
}

impl CertManager {
    /// Asks `issuer` by objects in `namespace`.
    pub fn new(client: Client, namespace: &str, issuer: IssuerRef) -> Self {
        let gvk = GroupVersionKind::gvk("cert-manager.io", "v1", "CertificateRequest");
        let resource = ApiResource::from_gvk_with_plural(&gvk, "certificaterequests");
        Self {
            api: Api::namespaced_with(client, namespace, &resource),
            resource,
            issuer,
        }
    }

    /// Has a request signed: the certificate with its intermediates, and apart from it the issuer's root.
    ///
    /// # Errors
    /// It refuses, is silent, or gives something else than what was asked for.
    pub async fn sign(
        &self,
        csr: &str,
        key: &[u8],
        subject: &Subject,
        life: Duration,
    ) -> Result<(Signed, String), CaError> {
        let object = self.object(csr, life);
        let made = timeout(CALL_LIMIT, self.api.create(&PostParams::default(), &object)).await;
        let made = made.map_err(|_| self.failed("the API server does not answer"))?;
        let made = made.map_err(|e| self.failed(&causes(&e)))?;
        let name = made.metadata.name.unwrap_or_default();
        let status = timeout(ISSUE_LIMIT, self.wait(&name)).await;
        // Whatever came of it, nobody needs the object any more.
        let (api, gone) = (self.api.clone(), name.clone());
        tokio::spawn(async move {
            let _ = timeout(CALL_LIMIT, api.delete(&gone, &DeleteParams::default())).await;
        });
        let status = status.map_err(|_| {
            let seconds = ISSUE_LIMIT.as_secs();
            self.failed(&format!(
                "no certificate within {seconds} s: see `kubectl describe certificaterequest`"
            ))
        })??;
        self.read(&status, key, subject)
    }

    fn object(&self, csr: &str, life: Duration) -> DynamicObject {
        let spec = json!({
            "request": STANDARD.encode(csr),
            "issuerRef": {"name": self.issuer.name, "kind": self.issuer.kind, "group": self.issuer.group},
            "duration": format!("{}s", life.as_secs()),
            "usages": ["digital signature", "server auth", "client auth"],
        });
        let mut object = DynamicObject::new("", &self.resource).data(json!({ "spec": spec }));
        object.metadata.name = None;
        object.metadata.generate_name = Some("warren-".into());
        object
    }

    /// The status, once it is final.
    async fn wait(&self, name: &str) -> Result<Value, CaError> {
        let mut pause = PAUSES.0;
        loop {
            let started = Instant::now();
            let object = self.api.get(name).await;
            let object = object.map_err(|e| self.failed(&causes(&e)))?;
            let status = object.data.get("status").cloned().unwrap_or_default();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            for condition in conditions {
                let (kind, state) = (condition["type"].as_str(), condition["status"].as_str());
                let reason = condition["reason"].as_str();
                match (kind, state, reason) {
                    (Some("Ready"), Some("True"), _) => return Ok(status),
                    (Some("Denied" | "InvalidRequest"), Some("True"), _)
                    | (Some("Ready"), Some("False"), Some("Failed" | "Denied")) => {
                        let message = condition["message"].as_str().unwrap_or_default();
                        return Err(self.failed(&format!("refused: {message}")));
                    }
                    _ => {}
                }
            }
            sleep(pause.saturating_sub(started.elapsed())).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn read(
        &self,
        status: &Value,
        key: &[u8],
        subject: &Subject,
    ) -> Result<(Signed, String), CaError> {
        let pem = |field: &str| {
            let bytes = STANDARD.decode(status[field].as_str()?).ok()?;
            String::from_utf8(bytes).ok()
        };
        let chain = pem("certificate").unwrap_or_default();
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|e| self.failed(&format!("its certificate is no PEM: {e}")))?;
        let root = pem("ca").filter(|r| r.contains("BEGIN CERTIFICATE"));
        let root = root.ok_or_else(|| {
            self.failed("it does not say its root (status.ca): use an issuer that does")
        })?;
        let leaf = chain
            .first()
            .ok_or_else(|| self.failed("it gave no certificate"))?;
        let (_, leaf) = X509Certificate::from_der(leaf)
            .map_err(|e| self.failed(&format!("its certificate cannot be read: {e}")))?;
        if leaf.public_key().subject_public_key.data.as_ref() != key || !names(&leaf, subject) {
            return Err(self.failed("its certificate is of another key or name than asked for"));
        }
        let not_after = leaf.validity().not_after.timestamp();
        let signed = Signed {
            not_after: OffsetDateTime::from_unix_timestamp(not_after)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
            serial: leaf
                .raw_serial()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect(),
            chain: chain.iter().map(|c| to_pem(c)).collect(),
        };
        Ok((signed, root))
    }

    fn failed(&self, problem: &str) -> CaError {
        CaError::External {
            issuer: self.issuer.to_string(),
            problem: problem.to_owned(),
        }
    }
}

/// Whether a certificate for a workload names it and nothing else; a server's names are for its clients to check.
fn names(leaf: &X509Certificate<'_>, subject: &Subject) -> bool {
    let Subject::Spiffe(identity) = subject else {
        return true;
    };
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.map(|n| n.value.general_names.as_slice());
    !leaf.is_ca() && matches!(names, Some([GeneralName::URI(uri)]) if uri == identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers() {
        let parse = |text: &str| text.parse::<IssuerRef>().map(|i| i.to_string());
        assert_eq!(parse("mesh"), Ok("mesh:Issuer:cert-manager.io".into()));
        assert_eq!(
            parse("mesh:ClusterIssuer"),
            Ok("mesh:ClusterIssuer:cert-manager.io".into())
        );
        assert_eq!(parse("a:B:c.d"), Ok("a:B:c.d".into()));
        for bad in ["", "a:", "a:B:c:d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
