//! The handle and the task behind it: sessions with pauses between them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::demand::{Command, DemandError};
use super::session::{Ended, Session, Worker};
use super::{Config, Status, Update};

const WAITING_DEMANDS: usize = 256;

/// A handle of the client; cheap to clone. The client itself ends when the receiver of its updates is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    status: SharedStatus,
    demand_limit: Duration,
}

#[derive(Clone, Debug, Default)]
pub(super) struct SharedStatus(Arc<Mutex<Status>>);

impl SharedStatus {
    pub fn lock(&self) -> MutexGuard<'_, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Starts a client on the current tokio runtime. Its reader has to apply each update, then drop it; while the reader
    /// is behind by [`Config::queue`] updates, the stream pauses.
    pub fn new(config: Config) -> (Self, mpsc::Receiver<Update>) {
        let (updates, receiver) = mpsc::channel(config.queue.max(1));
        let (commands, requests) = mpsc::channel(WAITING_DEMANDS);
        let client = Self {
            commands,
            status: SharedStatus::default(),
            demand_limit: config.demand_limit,
        };
        let worker = Worker::new(config, updates, requests, client.status.clone());
        tokio::spawn(run(worker));
        (client, receiver)
    }

    /// Asks for `name` (`network/ip`, `namespace/hostname` or a workload's uid). Once it returns, whatever the controller
    /// has by that name was applied, so the model can be asked; absence is an answer as well. In wildcard mode it waits
    /// for the first complete answer. Must not be awaited by the task that reads the updates.
    ///
    /// # Errors
    /// No answer within [`Config::demand_limit`], too many unanswered names, or the client has ended.
    pub async fn demand(&self, name: &str) -> Result<(), DemandError> {
        let limit = self.demand_limit;
        let asked = async {
            let (reply, answered) = oneshot::channel();
            let command = Command {
                name: name.to_owned(),
                reply,
            };
            self.commands
                .send(command)
                .await
                .map_err(|_| DemandError::Ended)?;
            answered.await.map_err(|_| match self.commands.is_closed() {
                true => DemandError::Ended,
                false => DemandError::TooMany(name.to_owned()),
            })
        };
        let timed_out = |_| DemandError::TimedOut {
            name: name.to_owned(),
            limit,
        };
        timeout(limit, asked).await.map_err(timed_out)?
    }

    /// What the client knows about itself.
    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }
}

async fn run(mut worker: Worker) {
    let mut backoff = Backoff::default();
    loop {
        let mut session = Session::new(&mut worker);
        let ended = session.run().await;
        if session.received() {
            backoff.reset();
        }
        let Ended::Failed(reason) = ended else { return };
        let pause = backoff.pause();
        worker.disconnected(&reason);
        tracing::warn!(
            controller = %worker.config.target.address, error = %reason, retry_in = ?pause,
            "no connection to the controller; what is known stays in force"
        );
        if !worker.wait(sleep(pause)).await {
            return;
        }
    }
}
