//! SPIFFE identities of the form `spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The trust domain where none is given.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// Who a workload is, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Trust domain, such as `cluster.local`.
    pub trust_domain: Arc<str>,
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Kubernetes service account.
    pub service_account: Arc<str>,
}

/// Why a string is not an identity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a workload identity: expected spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>"
)]
pub struct ParseIdentityError(pub String);

impl Identity {
    /// Builds an identity from its three parts; an empty trust domain means [`DEFAULT_TRUST_DOMAIN`].
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Self {
        let td = if trust_domain.is_empty() {
            DEFAULT_TRUST_DOMAIN
        } else {
            trust_domain
        };
        Self {
            trust_domain: td.into(),
            namespace: namespace.into(),
            service_account: service_account.into(),
        }
    }

    /// The principal as policies write it: the SPIFFE ID without its scheme.
    pub fn principal(&self) -> String {
        format!(
            "{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "spiffe://{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

impl FromStr for Identity {
    type Err = ParseIdentityError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = || ParseIdentityError(s.to_owned());
        let mut parts = s.strip_prefix("spiffe://").ok_or_else(bad)?.split('/');
        let mut next = || parts.next().filter(|p| !p.is_empty()).ok_or_else(bad);
        let (td, ns_kw, ns, sa_kw, sa) = (next()?, next()?, next()?, next()?, next()?);
        if ns_kw != "ns" || sa_kw != "sa" || parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self::new(td, ns, sa))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_trust_domain_and_the_principal() {
        let web = Identity::new("", "shop", "web");
        assert_eq!(web.to_string(), "spiffe://cluster.local/ns/shop/sa/web");
        assert_eq!(web.principal(), "cluster.local/ns/shop/sa/web");
    }

    #[test]
    fn what_is_no_identity() {
        for bad in [
            "",
            "cluster.local/ns/shop/sa/web",
            "SPIFFE://cluster.local/ns/shop/sa/web",
            "spiffe://",
            "spiffe:///ns/shop/sa/web",
            "spiffe://cluster.local/ns//sa/web",
            "spiffe://cluster.local/ns/shop/sa/",
            "spiffe://cluster.local/ns/shop/sa",
            "spiffe://cluster.local/ns/shop/sa/web/",
            "spiffe://cluster.local/ns/shop/sa/web/more",
            "spiffe://cluster.local/sa/web/ns/shop",
            "spiffe://cluster.local/namespace/shop/sa/web",
        ] {
            assert_eq!(bad.parse::<Identity>(), Err(ParseIdentityError(bad.into())));
        }
    }

    proptest! {
        #[test]
        fn written_and_read_is_the_same(td in "[a-z.-]{1,9}", ns in "[a-z-]{1,9}", sa in "[a-z.-]{1,9}") {
            let id = Identity::new(&td, &ns, &sa);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn reading_never_panics(s in "(spiffe://)?[a-z/]{0,30}|.*") {
            if let Ok(id) = s.parse::<Identity>() {
                prop_assert_eq!(id.to_string(), s);
            }
        }
    }
}
