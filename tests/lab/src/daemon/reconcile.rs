//! From objects to running pods.

use std::sync::Arc;

use super::state::COMPONENT_LABEL;
use super::{Daemon, State};
use crate::manifest::{Key, labels};
use crate::workloads;

impl Daemon {
    /// Makes pods be as their owners want and starts threads for new ones.
    pub(super) fn reconcile(self: &Arc<Self>, state: &mut State) {
        if state.closing {
            return;
        }
        loop {
            let changes = workloads::changes(&state.store, &state.nodes);
            if changes.create.is_empty() && changes.delete.is_empty() {
                break;
            }
            let mut failed = false;
            for key in &changes.delete {
                failed |= state.delete(key, false).is_err();
            }
            for object in changes.create {
                let key = Key::of(&object);
                if let Err(error) = state.apply(object) {
                    self.log(&format!("cannot create {key}: {error:#}"));
                    failed = true;
                }
            }
            if failed {
                break;
            }
        }
        let fresh: Vec<Key> = state
            .store
            .kind("Pod")
            .filter(|p| labels(p).get(COMPONENT_LABEL).is_none())
            .map(Key::of)
            .filter(|k| !state.pods.contains_key(k))
            .collect();
        for key in fresh {
            if let Err(error) = state.start_pod(&key) {
                self.log(&format!("cannot start {key}: {error:#}"));
                state.store.remove(&key);
                continue;
            }
            let daemon = self.clone();
            std::thread::spawn(move || daemon.run_pod(&key));
        }
    }
}
