//! A Kubernetes API server, watched.
//!
//! ```text
//! API server --list, watch--> follow (one task a kind) --convert--> Known (what is gone?) --gather--> first batch, then changes
//! ```
//! Objects are cut down as soon as they are read, so that memory goes with the model and not with what the API server
//! holds. The first batch waits for a complete list of every kind that decides anything; later lists delete what is gone
//! and nothing else. While the API server is away everything known stays as it is.

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Batch, Source};
use crate::metrics::Metrics;
use crate::warning::WarningStore;

pub mod client;
pub mod convert;
pub mod definition;
pub mod follow;
mod gather;
pub mod kinds;
mod known;

/// Changes that may wait for the gathering task before the watches pause.
const QUEUE: usize = 1_024;

/// The source.
#[derive(Clone)]
pub struct KubeSource {
    /// How to reach the API server.
    pub client: kube::Client,
    /// Where objects that cannot be honoured are reported.
    pub warnings: WarningStore,
    /// Counters.
    pub metrics: Metrics,
}

impl Source for KubeSource {
    async fn run(
        self,
        batches: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let (sender, messages) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        let awaited = kinds::start(&self, &sender, &mut tasks);
        drop(sender);
        let gathered = stop
            .run_until_cancelled(gather::gather(messages, awaited, &self.warnings, &batches))
            .await;
        tasks.shutdown().await;
        match gathered {
            None => Ok(()),
            Some(()) if batches.is_closed() => Ok(()),
            Some(()) => anyhow::bail!("the watches ended unexpectedly"),
        }
    }
}

/// An error with what caused it: the client's own messages stop at "client error".
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
