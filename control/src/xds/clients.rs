//! The clients that are connected, for `/status`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its node id, as it says.
    pub id: String,
    /// The node that its token is bound to.
    pub node: String,
    /// Its service account, `<namespace>/<name>`.
    pub account: String,
    /// Its address.
    pub address: SocketAddr,
    /// Since when.
    pub since: SystemTime,
    /// Nonce of the last response that it took.
    pub last_ack: Option<String>,
    /// Responses that it refused.
    pub nacks: u64,
    /// Why it refused the last of them, until it takes another one.
    pub last_nack: Option<String>,
}

/// All clients. Clones share.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    list: Arc<Mutex<BTreeMap<u64, Client>>>,
    next: Arc<AtomicU64>,
}

/// Takes its client off the list when it is dropped.
#[derive(Debug)]
pub struct Registration {
    clients: Clients,
    id: u64,
}

impl Clients {
    /// Adds a client.
    pub fn add(&self, client: Client) -> Registration {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, client);
        Registration {
            clients: self.clone(),
            id,
        }
    }

    /// Those connected now, in the order in which they came.
    pub fn all(&self) -> Vec<Client> {
        self.lock().values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Client>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// Changes what is known of the client.
    pub fn update(&self, change: impl FnOnce(&mut Client)) {
        if let Some(client) = self.clients.lock().get_mut(&self.id) {
            change(client);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.id);
    }
}
