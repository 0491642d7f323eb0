//! The authority in force, which changes while the root does.

use std::sync::Arc;

use tokio::sync::watch;

use super::Authority;

/// The authority in force. Clones share.
#[derive(Clone, Debug)]
pub struct Current(Arc<watch::Sender<Arc<Authority>>>);

impl Current {
    /// Begins with this one.
    pub fn new(authority: Authority) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(authority))))
    }

    /// The one in force now.
    pub fn get(&self) -> Arc<Authority> {
        self.0.borrow().clone()
    }

    /// Puts another one into force.
    pub fn set(&self, authority: Authority) {
        self.0.send_replace(Arc::new(authority));
    }

    /// Tells of changes.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Authority>> {
        self.0.subscribe()
    }
}
