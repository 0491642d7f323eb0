//! The model of the mesh that every connection is looked up in, and word of its changes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;
use tokio::time::timeout;
use warren_core::workload::Uid;
use warren_core::{Mesh, Workload};

/// The mesh as of now. Readers hold the lock for a lookup, never across a wait.
#[derive(Debug)]
pub struct State {
    mesh: RwLock<Mesh>,
    /// Counts updates, so that those who wait for an object look again.
    version: watch::Sender<u64>,
    synced: watch::Sender<bool>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            mesh: RwLock::default(),
            version: watch::Sender::new(0),
            synced: watch::Sender::new(false),
        }
    }
}

impl State {
    /// Looks at the mesh.
    pub fn mesh(&self) -> RwLockReadGuard<'_, Mesh> {
        self.mesh.read()
    }

    /// Applies an update and wakes those who wait for one.
    pub fn update<R>(&self, apply: impl FnOnce(&mut Mesh) -> R) -> R {
        let result = apply(&mut self.mesh.write());
        self.version.send_modify(|v| *v += 1);
        result
    }

    /// The first complete model is here: unknown addresses are unknown from now on, not merely not heard of yet.
    pub fn set_synced(&self) {
        self.synced.send_replace(true);
    }

    /// Whether the first complete model is here.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits for the first complete model; false when the time is over.
    pub async fn wait_synced(&self, limit: Duration) -> bool {
        let mut rx = self.synced.subscribe();
        timeout(limit, rx.wait_for(|s| *s))
            .await
            .is_ok_and(|r| r.is_ok())
    }

    /// The workload of this name, waited for up to `limit`: a pod may be seen by its node before the model has it.
    pub async fn workload(&self, uid: &Uid, limit: Duration) -> Option<Arc<Workload>> {
        let look = || self.mesh.read().workload(uid).cloned();
        if let Some(w) = look() {
            return Some(w);
        }
        let mut rx = self.version.subscribe();
        let wait = async {
            loop {
                if let Some(w) = look() {
                    return Some(w);
                }
                rx.changed().await.ok()?;
            }
        };
        timeout(limit, wait).await.ok().flatten()
    }

    /// Told at every update.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_workload_that_never_comes_is_waited_for_only_so_long() {
        let state = State::default();
        assert_eq!(
            state
                .workload(&Uid::from("c//Pod/ns/p"), Duration::from_millis(20))
                .await,
            None
        );
    }

    #[tokio::test]
    async fn sync_is_waited_for() {
        let state = State::default();
        assert!(!state.wait_synced(Duration::from_millis(10)).await);
        state.set_synced();
        assert!(state.wait_synced(Duration::from_millis(10)).await);
    }
}
