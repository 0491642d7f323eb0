//! `IstioCertificateService`: who gets which certificate.

use std::sync::Arc;
use std::time::Duration;

use prost_types::value::Kind;
use tonic::{Request, Response, Status};
use warren_api::r#gen::ca::istio_certificate_service_server::IstioCertificateService;
use warren_api::r#gen::ca::{IstioCertificateRequest, IstioCertificateResponse};
use warren_core::Identity;

use super::{CaError, Signed, Signer, Subject, csr};
use crate::auth::{AuthError, Authenticator, Caller, bearer};
use crate::index::Placement;
use crate::metrics::Metrics;

/// Metadata key by which a shared tunnel says for whom it asks.
const IMPERSONATED: &str = "ImpersonatedIdentity";

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The token.
    #[error(transparent)]
    Token(#[from] AuthError),
    /// The token's pod.
    #[error("the token's pod {pod} {problem}")]
    Pod {
        /// `<namespace>/<name>`.
        pod: String,
        /// How it does not fit.
        problem: String,
    },
    /// Not an identity of this mesh.
    #[error("{0}")]
    Identity(String),
    /// Only tunnels act for others.
    #[error(
        "service account {caller} may not ask for a certificate of {identity}: only tunnels ({tunnels}) act for others"
    )]
    NotATunnel {
        /// Who asked.
        caller: String,
        /// For whom.
        identity: Identity,
        /// Who may.
        tunnels: String,
    },
    /// The identity has no pod there.
    #[error(
        "no pod on node {node} runs as {identity}: a tunnel gets certificates only for pods of its own node"
    )]
    NotOnNode {
        /// The token's node.
        node: String,
        /// For whom.
        identity: Identity,
    },
    /// The request.
    #[error(transparent)]
    Csr(#[from] csr::CsrError),
    /// The CA.
    #[error(transparent)]
    Ca(#[from] CaError),
}

impl Refused {
    fn reason(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Pod { .. } => "pod",
            Self::Identity(_) => "identity",
            Self::NotATunnel { .. } => "not_a_tunnel",
            Self::NotOnNode { .. } => "not_on_node",
            Self::Csr(_) => "csr",
            Self::Ca(_) => "ca",
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Token(e) => e.into(),
            Refused::Identity(_) | Refused::Csr(_) => Self::invalid_argument(refused.to_string()),
            Refused::Ca(CaError::External { .. }) => Self::unavailable(refused.to_string()),
            Refused::Ca(_) => Self::internal(refused.to_string()),
            _ => Self::permission_denied(refused.to_string()),
        }
    }
}

/// The service. Clones share.
#[derive(Clone)]
pub struct Certificates {
    /// Signs.
    pub signer: Signer,
    /// Checks tokens.
    pub authenticator: Arc<Authenticator>,
    /// Knows the pods.
    pub placement: Arc<dyn Placement>,
    /// Whether every pod of the cluster is known, so that one that is not does not exist.
    pub knows_all_pods: bool,
    /// Accounts of tunnels, `<namespace>/<name>`.
    pub tunnels: Arc<Vec<String>>,
    /// Trust domain of the mesh.
    pub trust_domain: Arc<str>,
    /// Longest life of a certificate.
    pub max_life: Duration,
    /// Counters.
    pub metrics: Metrics,
}

impl Certificates {
    async fn issue(
        &self,
        token: Result<&str, AuthError>,
        request: &IstioCertificateRequest,
    ) -> Result<(Identity, Signed), Refused> {
        let caller = self.authenticator.authenticate(token?).await?;
        self.check_pod(&caller)?;
        let identity = self.permitted(&caller, request)?;
        let key = csr::check(&request.csr, &identity.to_string())?;
        let asked = u64::try_from(request.validity_duration)
            .ok()
            .filter(|s| *s != 0);
        let life = asked
            .map_or(self.max_life, Duration::from_secs)
            .min(self.max_life);
        let subject = Subject::Spiffe(identity.to_string());
        let signed = self.signer.sign(&request.csr, &key, &subject, life);
        let signed = signed.await?;
        Ok((identity, signed))
    }

    /// Where pods of the caller's account are known, the token's own has to be among them, as the token describes it.
    fn check_pod(&self, caller: &Caller) -> Result<(), Refused> {
        let refuse = |problem: String| {
            Err(Refused::Pod {
                pod: format!("{}/{}", caller.namespace, caller.pod),
                problem,
            })
        };
        let Some(pod) = self.placement.pod(&caller.namespace, &caller.pod) else {
            if self.knows_all_pods
                || self
                    .placement
                    .knows_account(&caller.namespace, &caller.service_account)
            {
                return refuse("is not known: it was deleted, or its Pod object is missing".into());
            }
            return Ok(());
        };
        if *pod.node != *caller.node {
            return refuse(format!(
                "is on node {}, not on {} as the token says",
                pod.node, caller.node
            ));
        }
        if *pod.service_account != *caller.service_account {
            return refuse(format!(
                "runs as {}, not as {}",
                pod.service_account, caller.service_account
            ));
        }
        if !pod.uid.is_empty() && !caller.pod_uid.is_empty() && *pod.uid != *caller.pod_uid {
            return refuse("was replaced by another one of the same name".into());
        }
        Ok(())
    }

    /// The identity that the caller asks for, where it may have it.
    fn permitted(
        &self,
        caller: &Caller,
        request: &IstioCertificateRequest,
    ) -> Result<Identity, Refused> {
        let own = Identity::new(
            &self.trust_domain,
            &caller.namespace,
            &caller.service_account,
        );
        let Some(asked) = impersonated(request) else {
            return Ok(own);
        };
        let identity: Identity =
            asked
                .parse()
                .map_err(|e: warren_core::identity::ParseIdentityError| {
                    Refused::Identity(e.to_string())
                })?;
        if identity.trust_domain != self.trust_domain {
            return Err(Refused::Identity(format!(
                "{identity} is of another trust domain than this mesh's, {}",
                self.trust_domain
            )));
        }
        if identity == own {
            return Ok(own);
        }
        if !self.tunnels.contains(&caller.account()) {
            let tunnels = self.tunnels.join(", ");
            return Err(Refused::NotATunnel {
                caller: caller.account(),
                identity,
                tunnels,
            });
        }
        if !self
            .placement
            .runs_on(&caller.node, &identity.namespace, &identity.service_account)
        {
            return Err(Refused::NotOnNode {
                node: caller.node.clone(),
                identity,
            });
        }
        Ok(identity)
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Certificates {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let issued = self
            .issue(bearer(request.metadata()), request.get_ref())
            .await;
        match issued {
            Ok((identity, signed)) => {
                self.metrics.issued.inc();
                tracing::info!(%identity, serial = %signed.serial, not_after = %signed.not_after, "certificate issued");
                Ok(Response::new(IstioCertificateResponse {
                    cert_chain: signed.chain,
                }))
            }
            Err(refused) => {
                self.metrics.refuse(refused.reason());
                tracing::warn!(
                    asked = impersonated(request.get_ref()).unwrap_or_default(),
                    "certificate refused: {refused}"
                );
                Err(refused.into())
            }
        }
    }
}

fn impersonated(request: &IstioCertificateRequest) -> Option<&str> {
    match request
        .metadata
        .as_ref()?
        .fields
        .get(IMPERSONATED)?
        .kind
        .as_ref()?
    {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}
