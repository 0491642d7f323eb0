//! Certificates by identity: fetched when first wanted, renewed at half of their life, kept for as long as a pod wants them.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rand::Rng;
use rustls_pki_types::CertificateDer;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use warren_api::ca::{CaClient, Issued};
use warren_core::Identity;
use warren_hbone::{Trust, WorkloadCert};

/// Pauses between attempts grow from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// One identity's certificate and how it came about.
#[derive(Clone, Debug, Default)]
pub struct CertState {
    /// The certificate in use; may have expired.
    pub cert: Option<Arc<WorkloadCert>>,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
    /// When the next attempt is due.
    pub next_attempt: Option<SystemTime>,
    /// Certificates fetched so far.
    pub fetched: u64,
}

impl CertState {
    fn usable(&self) -> Option<Arc<WorkloadCert>> {
        self.cert
            .clone()
            .filter(|c| c.not_after > SystemTime::now())
    }
}

/// Who issues certificates. A trait, so that flows can be tested without a controller.
pub trait Issuer: Send + Sync {
    /// A certificate for `id`, valid for about `ttl`; the error is for people.
    fn issue<'a>(
        &'a self,
        id: &'a Identity,
        ttl: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Issued, String>> + Send + 'a>>;
}

impl Issuer for CaClient {
    fn issue<'a>(
        &'a self,
        id: &'a Identity,
        ttl: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Issued, String>> + Send + 'a>> {
        Box::pin(async move { self.fetch(id, ttl).await.map_err(|e| e.to_string()) })
    }
}

struct Entry {
    state: watch::Receiver<CertState>,
    task: AbortHandle,
}

/// All certificates of this node.
pub struct Certs {
    ca: Arc<dyn Issuer>,
    trust: Arc<Trust>,
    ttl: Duration,
    /// Where fetching runs: never on the data path's threads.
    control: Handle,
    entries: Mutex<HashMap<Identity, Entry>>,
}

impl Certs {
    /// Nothing is fetched yet. `ttl` is the life to ask for.
    pub fn new(
        ca: Arc<dyn Issuer>,
        trust: Arc<Trust>,
        ttl: Duration,
        control: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            ca,
            trust,
            ttl,
            control,
            entries: Mutex::default(),
        })
    }

    /// Fetches what is wanted and not there, and forgets what is not wanted.
    pub fn want(&self, wanted: &HashSet<Identity>) {
        let mut entries = self.entries.lock();
        entries.retain(|id, entry| {
            let keep = wanted.contains(id);
            if !keep {
                entry.task.abort();
            }
            keep
        });
        for id in wanted {
            entries
                .entry(id.clone())
                .or_insert_with(|| self.start(id.clone()));
        }
    }

    /// The certificate of `id`, an identity of a pod of this node, waited for up to `limit`; the error says why there is none.
    pub async fn get(&self, id: &Identity, limit: Duration) -> Result<Arc<WorkloadCert>, String> {
        // A pod's first connection may come before `want` has heard of the pod.
        let mut state = {
            let mut entries = self.entries.lock();
            let entry = entries
                .entry(id.clone())
                .or_insert_with(|| self.start(id.clone()));
            entry.state.clone()
        };
        if let Some(cert) = state.borrow_and_update().usable() {
            return Ok(cert);
        }
        // Whether it came in time or not, the last state says what there is.
        let _ = timeout(limit, state.wait_for(|s| s.usable().is_some()))
            .await
            .is_ok();
        if let Some(cert) = state.borrow().usable() {
            return Ok(cert);
        }
        let last = state.borrow().last_error.clone();
        Err(last.unwrap_or_else(|| {
            format!("the certificate authority gave no certificate for {id} in time")
        }))
    }

    /// Whether each of these has a certificate that can be used.
    pub fn are_there(&self, wanted: &HashSet<Identity>) -> bool {
        let entries = self.entries.lock();
        let usable = |id| Some(entries.get(id)?.state.borrow().usable().is_some());
        wanted.iter().all(|id| usable(id).unwrap_or(false))
    }

    /// All certificates.
    pub fn all(&self) -> Vec<(Identity, CertState)> {
        self.entries
            .lock()
            .iter()
            .map(|(id, e)| (id.clone(), e.state.borrow().clone()))
            .collect()
    }

    fn start(&self, id: Identity) -> Entry {
        let (tx, state) = watch::channel(CertState::default());
        let task = keep(self.ca.clone(), self.trust.clone(), self.ttl, id, tx);
        Entry {
            state,
            task: self.control.spawn(task).abort_handle(),
        }
    }
}

async fn keep(
    ca: Arc<dyn Issuer>,
    trust: Arc<Trust>,
    ttl: Duration,
    id: Identity,
    tx: watch::Sender<CertState>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let wait = match fetch(&*ca, &trust, ttl, &id).await {
            Ok(cert) => {
                pause = FIRST_PAUSE;
                let wait = renewal(cert.not_after, SystemTime::now(), rand::rng().random());
                tracing::info!(identity = %id, serial = %cert.serial, renewal_in = ?wait, "certificate fetched");
                tx.send_modify(|s| {
                    s.cert = Some(Arc::new(cert));
                    s.last_error = None;
                    s.fetched += 1;
                });
                wait
            }
            Err(error) => {
                let wait = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
                pause = (pause * 2).min(LAST_PAUSE);
                tracing::warn!(identity = %id, %error, retry_in = ?wait, "no certificate");
                tx.send_modify(|s| s.last_error = Some(error));
                wait
            }
        };
        tx.send_modify(|s| s.next_attempt = Some(SystemTime::now() + wait));
        sleep(wait).await;
    }
}

async fn fetch(
    ca: &dyn Issuer,
    trust: &Trust,
    ttl: Duration,
    id: &Identity,
) -> Result<WorkloadCert, String> {
    let issued = ca.issue(id, ttl).await?;
    if !issued.roots.is_empty() {
        replace_roots(trust, &issued.roots)?;
    }
    WorkloadCert::new(issued.chain, issued.key).map_err(|e| e.to_string())
}

fn replace_roots(trust: &Trust, roots: &[CertificateDer<'_>]) -> Result<(), String> {
    trust.replace(roots).map_err(|e| e.to_string())
}

/// Half of what is left of a certificate's life when it comes, give or take a tenth of it, so that certificates fetched
/// together are not renewed together. Its beginning says nothing: that lies before it was made, for clocks that go
/// behind. `random` is in 0..1. At least 100 ms, so that a life of nothing is no busy loop.
fn renewal(not_after: SystemTime, now: SystemTime, random: f64) -> Duration {
    let life = not_after.duration_since(now).unwrap_or_default();
    life.mul_f64(0.4 + 0.2 * random)
        .max(Duration::from_millis(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_around_half_of_the_life() {
        let now = SystemTime::now();
        let day = Duration::from_secs(86_400);
        for (random, share) in [(0.0, 0.4), (0.5, 0.5), (1.0, 0.6)] {
            let due = renewal(now + day, now, random);
            assert!(
                (due.as_secs_f64() - day.as_secs_f64() * share).abs() < 1.0,
                "{due:?}"
            );
        }
    }

    #[test]
    fn renewal_that_is_overdue_is_due_soon_but_not_at_once() {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        assert_eq!(renewal(now - hour, now, 0.5), Duration::from_millis(100));
    }
}
