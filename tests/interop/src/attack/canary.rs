//! Good requests on connections of their own while an attack runs: nothing else may be disturbed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Kind, Target, end, local};
use crate::error::WireError;

const EVERY: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(8);

/// How the good requests went.
#[derive(Clone, Debug, Default)]
pub(super) struct Good {
    pub(super) count: usize,
    pub(super) faults: Vec<String>,
}

/// Sends one every half second, and one after the attack.
pub(super) struct Canary {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Good>,
}

impl Canary {
    pub(super) fn start(target: Target) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(target, stop.clone()));
        Self { stop, task }
    }

    pub(super) async fn stop(self) -> Good {
        self.stop.store(true, Ordering::Relaxed);
        match self.task.await {
            Ok(good) => good,
            Err(error) => Good {
                count: 0,
                faults: vec![error.to_string()],
            },
        }
    }
}

async fn run(target: Target, stop: Arc<AtomicBool>) -> Good {
    let target = Target {
        limit: LIMIT,
        ..target
    };
    let mut good = Good::default();
    loop {
        let last = stop.load(Ordering::Relaxed);
        match once(&target).await {
            Some(None) => good.count += 1,
            Some(Some(fault)) => good.faults.push(fault),
            None => return good,
        }
        if last {
            return good;
        }
        for _ in 0..10 {
            if !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(EVERY / 10).await;
            }
        }
    }
}

/// None: this target has no good request to send; inside, the fault if it failed.
async fn once(target: &Target) -> Option<Option<String>> {
    match target.kind {
        _ if target.quiet => None,
        Kind::Hbone if target.authority.is_empty() => None,
        Kind::Hbone | Kind::Controller => Some(request(target).await),
        Kind::Admin => Some(local::good(target).await),
        Kind::Cni | Kind::Node => None,
    }
}

async fn request(target: &Target) -> Option<String> {
    let mut conn = match target.conn().await {
        Ok(Ok(conn)) => conn,
        Ok(Err(error)) => return Some(error.outcome()),
        Err(error) => return Some(error.to_string()),
    };
    let hbone = target.kind == Kind::Hbone;
    let stream = conn.open();
    let sent = async {
        conn.headers(stream, &target.request(), false).await?;
        conn.data(stream, &[], true).await?;
        Ok::<(), WireError>(())
    };
    if let Err(error) = sent.await {
        return Some(error.outcome());
    }
    let how = end(&mut conn, Some(stream), LIMIT).await;
    // The controller has a good answer for a request without a token: a refusal.
    let right = if hbone {
        how == "status:200"
    } else {
        how.starts_with("grpc:")
    };
    (!right).then_some(how)
}
