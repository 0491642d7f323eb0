//! Batches of the source through the index into the store, one after the other.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::index::{Config, Delta, Index, KnownPod, Placement};
use crate::metrics::Metrics;
use crate::source::Batch;
use crate::status::Board;
use crate::warning::{Raiser, WarningStore};
use crate::xds::store::Store;

/// The index behind a lock: the pipeline writes, CA and admin surface read. Clones share.
#[derive(Clone, Debug)]
pub struct SharedIndex(Arc<RwLock<Index>>);

impl SharedIndex {
    /// An empty index.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(RwLock::new(Index::new(config))))
    }

    /// The index at this moment. Not to be held for long.
    pub fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, batch: Batch) -> (Delta, (usize, usize, usize)) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let delta = index.apply(batch.events);
        (delta, index.sizes())
    }
}

impl Placement for SharedIndex {
    fn pod(&self, namespace: &str, name: &str) -> Option<KnownPod> {
        self.read().pod(namespace, name)
    }

    fn knows_account(&self, namespace: &str, service_account: &str) -> bool {
        self.read().knows_account(namespace, service_account)
    }

    fn runs_on(&self, node: &str, namespace: &str, service_account: &str) -> bool {
        self.read().runs_on(node, namespace, service_account)
    }
}

/// What the pipeline writes to.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The model.
    pub index: SharedIndex,
    /// Resources for clients.
    pub store: Store,
    /// Warnings.
    pub warnings: WarningStore,
    /// Statuses that are to be written.
    pub board: Board,
    /// Counters.
    pub metrics: Metrics,
}

impl Pipeline {
    /// Runs until `stop` or until the source ends; `synced` turns true with the first batch.
    pub async fn run(
        self,
        mut batches: mpsc::Receiver<Batch>,
        synced: watch::Sender<bool>,
        stop: CancellationToken,
    ) {
        while let Some(Some(batch)) = stop.run_until_cancelled(batches.recv()).await {
            self.take(batch);
            synced.send_replace(true);
        }
    }

    fn take(&self, mut batch: Batch) {
        let started = Instant::now();
        let events = batch.events.len();
        let observed = std::mem::take(&mut batch.observed);
        let (mut delta, sizes) = self.index.apply(batch);
        for (object, warnings) in std::mem::take(&mut delta.warnings) {
            self.warnings.replace(Raiser::Object(object), warnings);
        }
        self.store.publish(&delta);
        self.board.observe(observed);
        let elapsed = started.elapsed();
        self.metrics.events.inc_by(events as u64);
        self.metrics.index_seconds.observe(elapsed.as_secs_f64());
        self.metrics.sizes(sizes);
        self.metrics
            .warnings
            .set(i64::try_from(self.warnings.len()).unwrap_or(i64::MAX));
        if delta.is_empty() {
            return;
        }
        tracing::info!(
            events,
            workloads = delta.workloads.len(),
            services = delta.services.len(),
            policies = delta.policies.len(),
            elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            "objects changed"
        );
    }
}
