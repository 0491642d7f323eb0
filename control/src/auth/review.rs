//! Tokens checked by the API server (TokenReview), so that those of deleted pods and accounts are refused.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{
    TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo,
};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{AuthError, Caller};
use crate::index::Placement;
use crate::source::kubernetes::causes;

mod cache;

use cache::Cache;

/// Reviews at once.
const CALLS: usize = 16;
/// Waiting for one's turn, and the API server's answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Kubernetes' own are about a kilobyte.
const LONGEST: usize = 8 << 10;
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Asks the API server, and remembers its answers for a short time.
pub struct Review {
    api: Api<TokenReview>,
    audiences: Vec<String>,
    placement: Arc<dyn Placement>,
    cache: Cache,
    calls: Semaphore,
}

impl std::fmt::Debug for Review {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Review")
            .field("audiences", &self.audiences)
            .finish_non_exhaustive()
    }
}

impl Review {
    /// Takes tokens of one of the audiences; `placement` tells the node of a pod where the token does not.
    pub fn new(client: Client, audiences: Vec<String>, placement: Arc<dyn Placement>) -> Self {
        Self {
            api: Api::all(client),
            audiences,
            placement,
            cache: Cache::default(),
            calls: Semaphore::new(CALLS),
        }
    }

    /// Checks a token.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub async fn authenticate(&self, token: &str) -> Result<Caller, AuthError> {
        // What cannot be a token costs the API server nothing.
        if token.len() > LONGEST {
            return Err(AuthError::Token("it is too long".into()));
        }
        let expiry = expiry(token)?;
        if SystemTime::now() >= expiry {
            return Err(AuthError::Claim {
                claim: "exp",
                problem: "it has expired; the platform has to renew it".into(),
            });
        }
        if let Some(known) = self.cache.get(token) {
            return known.map_err(AuthError::Token);
        }
        let answer = tokio::time::timeout(LIMIT, self.ask(token)).await;
        let status = answer
            .map_err(|_| AuthError::Review(format!("no answer within {} s", LIMIT.as_secs())))??;
        let result = self.caller(status, expiry);
        self.cache.put(token, &result, expiry);
        result.map_err(AuthError::Token)
    }

    async fn ask(&self, token: &str) -> Result<TokenReviewStatus, AuthError> {
        let turn = self.calls.acquire().await;
        let _turn = turn.map_err(|e| AuthError::Review(e.to_string()))?;
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: Some(self.audiences.clone()),
            },
            ..TokenReview::default()
        };
        let answer = self.api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|e| match &e {
            kube::Error::Api(s) if s.code == 403 => AuthError::Review(format!(
                "{}; bind the ClusterRole system:auth-delegator or the chart's own",
                s.message
            )),
            _ => AuthError::Review(causes(&e)),
        })?;
        answer
            .status
            .ok_or_else(|| AuthError::Review("its answer is empty".into()))
    }

    /// Reads the answer. A refusal is a text, since it is remembered.
    fn caller(&self, status: TokenReviewStatus, until: SystemTime) -> Result<Caller, String> {
        if status.authenticated != Some(true) {
            let reason = status.error.filter(|e| !e.is_empty());
            return Err(reason.unwrap_or_else(|| "the API server does not take it".into()));
        }
        let named = status.audiences.unwrap_or_default();
        if !named.iter().any(|a| self.audiences.contains(a)) {
            let wanted = self.audiences.join(", ");
            return Err(format!(
                "claim aud: {} is none of {wanted}",
                named.join(", ")
            ));
        }
        let user = status.user.unwrap_or_default();
        let name = user.username.as_deref().unwrap_or_default();
        let account = name.strip_prefix("system:serviceaccount:");
        let (namespace, service_account) = account
            .and_then(|a| a.split_once(':'))
            .ok_or_else(|| format!("`{name}` is no service account"))?;
        let (pod, pod_uid) = (extra(&user, POD_NAME), extra(&user, POD_UID));
        let (Some(pod), Some(pod_uid)) = (pod, pod_uid) else {
            return Err("it names no pod; only tokens bound to a pod are taken".into());
        };
        let node = extra(&user, NODE_NAME).or_else(|| self.node(namespace, &pod, &pod_uid));
        let node = node.ok_or("it names no node, and its pod is not known")?;
        Ok(Caller {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            node,
            pod,
            pod_uid,
            until,
        })
    }

    /// API servers before 1.30 do not say the node.
    fn node(&self, namespace: &str, pod: &str, uid: &str) -> Option<String> {
        let known = self.placement.pod(namespace, pod)?;
        (*known.uid == *uid && !known.node.is_empty()).then(|| known.node.to_string())
    }
}

fn extra(user: &UserInfo, key: &str) -> Option<String> {
    let values = user.extra.as_ref()?.get(key)?;
    values.first().filter(|v| !v.is_empty()).cloned()
}

/// When the token says that it ends. Nothing in it is believed before the API server has checked it.
fn expiry(token: &str) -> Result<SystemTime, AuthError> {
    let not_a_jwt = || AuthError::Token("not a JWT".into());
    let parts: Vec<&str> = token.split('.').collect();
    let [_, claims, _] = parts[..] else {
        return Err(not_a_jwt());
    };
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| not_a_jwt())?;
    let claims: Value = serde_json::from_slice(&claims).map_err(|_| not_a_jwt())?;
    let seconds = claims.get("exp").and_then(Value::as_u64);
    let seconds = seconds.ok_or(AuthError::Claim {
        claim: "exp",
        problem: "missing; only tokens that end are taken".into(),
    })?;
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or_else(not_a_jwt)
}
