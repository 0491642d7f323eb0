//! Certificates and identities that are no longer trusted, though they have not expired.

use std::collections::HashSet;

use crate::identity::Identity;

/// The revocation list. Replacing it is enough to take an entry back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    serials: HashSet<Box<[u8]>>,
    identities: HashSet<Identity>,
}

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Revoked {
    /// This one certificate.
    #[error("the certificate with serial number {0} is revoked: the workload has to get a new one")]
    Serial(String),
    /// Every certificate of this identity.
    #[error(
        "the identity {0} is revoked: its certificates are refused until the revocation list lets it in again"
    )]
    Identity(Identity),
}

impl Revocations {
    /// Revokes one certificate by its serial number, as big-endian bytes; leading zeros play no part.
    pub fn revoke_serial(&mut self, serial: &[u8]) {
        self.serials.insert(significant(serial).into());
    }

    /// Revokes every certificate of an identity.
    pub fn revoke_identity(&mut self, identity: Identity) {
        self.identities.insert(identity);
    }

    /// Checks a certificate.
    ///
    /// # Errors
    /// The certificate or its identity is revoked.
    pub fn check(&self, serial: &[u8], identity: &Identity) -> Result<(), Revoked> {
        if self.serials.contains(significant(serial)) {
            return Err(Revoked::Serial(hex(significant(serial))));
        }
        if self.identities.contains(identity) {
            return Err(Revoked::Identity(identity.clone()));
        }
        Ok(())
    }

    /// How many certificates and identities are revoked.
    pub fn len(&self) -> usize {
        self.serials.len() + self.identities.len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// DER puts a zero before a number whose first bit is set (X.690 §8.3); other tools leave it away.
fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|b| **b == 0).count();
    &serial[zeros..]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_compare_as_numbers() {
        let mut list = Revocations::default();
        list.revoke_serial(&[0x00, 0xfe, 0x01]);
        let id = Identity::new("", "shop", "web");
        assert_eq!(
            list.check(&[0xfe, 0x01], &id),
            Err(Revoked::Serial("fe01".into()))
        );
        assert_eq!(
            list.check(&[0x00, 0xfe, 0x01], &id),
            Err(Revoked::Serial("fe01".into()))
        );
        assert_eq!(list.check(&[0xfe, 0x01, 0x00], &id), Ok(()));
        assert_eq!(list.check(&[], &id), Ok(()));
    }

    #[test]
    fn an_identity_is_revoked_as_a_whole_and_alone() {
        let mut list = Revocations::default();
        let web = Identity::new("", "shop", "web");
        list.revoke_identity(web.clone());
        assert_eq!(list.check(&[1], &web), Err(Revoked::Identity(web.clone())));
        assert_eq!(
            list.check(&[1], &Identity::new("other.domain", "shop", "web")),
            Ok(())
        );
        assert_eq!(list.check(&[1], &Identity::new("", "shop", "db")), Ok(()));
        assert_eq!((list.len(), list.is_empty()), (1, false));
    }
}
