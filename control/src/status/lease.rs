//! Leader election by a Lease, so that one replica writes. All of them serve.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::source::kubernetes::causes;

/// Name of the Lease.
pub const NAME: &str = "warren-control";
/// A leader that did not renew for this long may be replaced.
const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for this long stops writing, well before another one starts.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a leader renews, and others look.
const PERIOD: Duration = Duration::from_secs(2);
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Whether we lead. Clones share.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Whether we lead now. To be asked before every write.
    pub fn holds(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until we lead; false when the election has ended.
    pub async fn wait(&mut self) -> bool {
        loop {
            if self.holds() {
                return true;
            }
            if self.0.changed().await.is_err() {
                return false;
            }
        }
    }
}

/// Takes part in the election.
pub struct Elector {
    api: Api<Lease>,
    identity: String,
    until: watch::Sender<Option<Instant>>,
    /// What the Lease said last, and since when it has said so.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Elector {
    /// An elector; `identity` is ours alone.
    pub fn new(client: Client, namespace: &str, identity: String) -> (Self, Leadership) {
        let (until, receiver) = watch::channel(None);
        let elector = Self {
            api: Api::namespaced(client, namespace),
            identity,
            until,
            seen: None,
        };
        (elector, Leadership(receiver))
    }

    /// Runs until `stop`, and then gives the Lease back.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut complained: Option<Instant> = None;
        let mut led = false;
        loop {
            let started = Instant::now();
            match tokio::time::timeout(CALL_LIMIT, self.attempt()).await {
                Ok(Ok(true)) => {
                    self.until.send_replace(Some(started + DEADLINE));
                    complained = None;
                }
                Ok(Ok(false)) => {
                    self.until.send_replace(None);
                    complained = None;
                }
                Ok(Err(e)) => complain(&mut complained, &causes(&e)),
                Err(_) => complain(&mut complained, "no answer within 5 s"),
            }
            let leads = self.until.borrow().is_some_and(|u| Instant::now() < u);
            if leads != led {
                led = leads;
                tracing::info!(identity = self.identity, leads, "leader election");
            }
            let pause = PERIOD.mul_f64(rand::random_range(0.9..1.1));
            if stop
                .run_until_cancelled(tokio::time::sleep(pause))
                .await
                .is_none()
            {
                break;
            }
        }
        self.until.send_replace(None);
        if led {
            // Without this the others wait for the Lease's end.
            let _ = tokio::time::timeout(CALL_LIMIT, self.release()).await;
        }
    }

    /// Renews or takes the Lease where we may; whether it is ours now.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            return self.create().await;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder != self.identity && !holder.is_empty() && !self.expired(&spec) {
            return Ok(false);
        }
        let took_over = holder != self.identity;
        lease.spec = Some(self.renewed(&spec, took_over));
        match self.api.replace(NAME, &PostParams::default(), &lease).await {
            Ok(_) => Ok(true),
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn create(&self) -> kube::Result<bool> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(self.renewed(&LeaseSpec::default(), true)),
        };
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Whether the holder has been silent for too long, by our own clock: that of another machine may be wrong.
    fn expired(&mut self, spec: &LeaseSpec) -> bool {
        let now = Instant::now();
        match &self.seen {
            Some((seen, since)) if seen == spec => {
                let seconds = spec
                    .lease_duration_seconds
                    .and_then(|s| u64::try_from(s).ok());
                now.duration_since(*since) >= seconds.map_or(DURATION, Duration::from_secs)
            }
            _ => {
                self.seen = Some((spec.clone(), now));
                false
            }
        }
    }

    fn renewed(&self, old: &LeaseSpec, took_over: bool) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let transitions = old.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if took_over {
                now.clone()
            } else {
                old.acquire_time.clone()
            },
            lease_transitions: Some(
                transitions + i32::from(took_over && old.acquire_time.is_some()),
            ),
            renew_time: now,
            ..old.clone()
        }
    }

    async fn release(&self) -> kube::Result<()> {
        let mut lease = self.api.get(NAME).await?;
        let Some(spec) = lease
            .spec
            .as_mut()
            .filter(|s| s.holder_identity.as_deref() == Some(&self.identity))
        else {
            return Ok(());
        };
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        self.api
            .replace(NAME, &PostParams::default(), &lease)
            .await
            .map(drop)
    }
}

fn complain(last: &mut Option<Instant>, problem: &str) {
    if last.is_none_or(|at| at.elapsed() > Duration::from_secs(30)) {
        *last = Some(Instant::now());
        tracing::warn!("leader election: {problem}; nothing is written meanwhile");
    }
}
