//! Where objects come from: a directory or an API server.

use std::future::Future;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::{Event, ObjectKey};
use crate::status::Observation;

pub mod decode;
pub mod dir;
pub mod kubernetes;
pub mod stand_in;
pub mod unknown;

/// Batches that may wait for the index before a source pauses.
pub const QUEUE: usize = 16;

/// What a source reports at once. The first batch of a source holds everything that it knows, and may be empty.
#[derive(Debug, Default)]
pub struct Batch {
    /// Changes, in order.
    pub events: Vec<Event>,
    /// What the objects' statuses say, or None for objects that are gone; only of a source that has statuses.
    pub observed: Vec<(ObjectKey, Option<Observation>)>,
}

/// Something that knows objects and their changes.
pub trait Source: Send + 'static {
    /// Sends the first batch and then every change until `stop`, or until the receiver is gone.
    ///
    /// # Errors
    /// Only where the source cannot work at all; bad objects are warnings.
    fn run(
        self,
        batches: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}
