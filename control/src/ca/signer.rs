//! Who signs: the CA itself, or an issuer of cert-manager's.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKey, PublicKeyData};

use super::cert_manager::CertManager;
use super::{Authority, CaError, Current, Signed, Subject, sans};

/// Signs. Clones share.
#[derive(Clone, Debug)]
pub struct Signer {
    current: Current,
    external: Option<Arc<CertManager>>,
}

impl Signer {
    /// The CA itself.
    pub fn own(current: Current) -> Self {
        Self {
            current,
            external: None,
        }
    }

    /// An issuer of cert-manager's. Its root is known only once it has signed something: a certificate for `names`.
    ///
    /// # Errors
    /// It does not sign.
    pub async fn external(issuer: CertManager, names: &[String]) -> Result<Self, CaError> {
        let key = KeyPair::generate()?;
        let subject = Subject::Server(names.to_vec());
        let csr = request(&key, &subject)?;
        let life = Duration::from_secs(3_600);
        let (_, root) = issuer.sign(&csr, key.der_bytes(), &subject, life).await?;
        Ok(Self {
            current: Current::new(Authority::trusted(root)),
            external: Some(Arc::new(issuer)),
        })
    }

    /// What is trusted, and who signs where the CA does so itself.
    pub fn current(&self) -> &Current {
        &self.current
    }

    /// Signs a request that was checked before: `key` is the one that it holds, `subject` the only name in it.
    ///
    /// # Errors
    /// The issuing certificate has ended, or the issuer refuses.
    pub async fn sign(
        &self,
        csr: &str,
        key: &PublicKey,
        subject: &Subject,
        life: Duration,
    ) -> Result<Signed, CaError> {
        match &self.external {
            None => self.current.get().sign(key, subject, life),
            Some(issuer) => self.ask(issuer, csr, key.der_bytes(), subject, life).await,
        }
    }

    /// Signs for a key of our own.
    ///
    /// # Errors
    /// See [`Self::sign`].
    pub async fn sign_own(
        &self,
        key: &KeyPair,
        subject: &Subject,
        life: Duration,
    ) -> Result<Signed, CaError> {
        match &self.external {
            None => self.current.get().sign(key, subject, life),
            Some(issuer) => {
                let csr = request(key, subject)?;
                self.ask(issuer, &csr, key.der_bytes(), subject, life).await
            }
        }
    }

    async fn ask(
        &self,
        issuer: &CertManager,
        csr: &str,
        key: &[u8],
        subject: &Subject,
        life: Duration,
    ) -> Result<Signed, CaError> {
        let (mut signed, root) = issuer.sign(csr, key, subject, life).await?;
        let trusted = self.current.get();
        // Whoever trusts the root before has to meet certificates of it until they have ended.
        if !trusted.root().contains(root.trim()) {
            tracing::info!(
                "the issuer has another root, which is trusted from now on beside those before"
            );
            let both = format!("{}\n{}", root.trim_end(), trusted.root());
            self.current.set(Authority::trusted(both));
        }
        signed.chain.push(self.current.get().root().to_owned());
        Ok(signed)
    }
}

fn request(key: &KeyPair, subject: &Subject) -> Result<String, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = sans(subject)?;
    Ok(params.serialize_request(key)?.pem()?)
}
