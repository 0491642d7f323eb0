//! What the API server answered a moment ago.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;

use crate::auth::Caller;

/// A pod that was deleted, or an account, is refused this late at most.
const GOOD: Duration = Duration::from_secs(30);
/// A refusal may be of the moment: the API server has not seen a new pod yet.
const BAD: Duration = Duration::from_secs(5);
/// Answers that are kept.
const ENTRIES: usize = 4_096;

/// Answers by the token's digest; tokens themselves are not kept.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<[u8; 32], Entry>>);

#[derive(Debug)]
struct Entry {
    until: Instant,
    result: Result<Caller, String>,
}

impl Cache {
    /// The answer, while it is fresh.
    pub(super) fn get(&self, token: &str) -> Option<Result<Caller, String>> {
        let entries = self.0.lock();
        let entry = entries.get(&key(token))?;
        (Instant::now() < entry.until).then(|| entry.result.clone())
    }

    /// Keeps an answer, no longer than the token lives.
    pub(super) fn put(&self, token: &str, result: &Result<Caller, String>, expiry: SystemTime) {
        let left = expiry.duration_since(SystemTime::now()).unwrap_or_default();
        let life = if result.is_ok() { GOOD } else { BAD };
        let now = Instant::now();
        let mut entries = self.0.lock();
        if entries.len() >= ENTRIES {
            entries.retain(|_, e| e.until > now);
        }
        if entries.len() >= ENTRIES {
            // Refusals are cheap to make up, so they go before what is good.
            entries.retain(|_, e| e.result.is_ok());
        }
        if entries.len() >= ENTRIES {
            entries.clear();
        }
        let entry = Entry {
            until: now + life.min(left),
            result: result.clone(),
        };
        entries.insert(key(token), entry);
    }
}

fn key(token: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far() -> SystemTime {
        SystemTime::now() + Duration::from_secs(3_600)
    }

    fn caller() -> Caller {
        Caller {
            namespace: "shop".into(),
            service_account: "web".into(),
            node: "a".into(),
            pod: "web-1".into(),
            pod_uid: "u".into(),
            until: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_token_that_ends_is_not_remembered() {
        let cache = Cache::default();
        cache.put("t", &Ok(caller()), SystemTime::now());
        assert_eq!(cache.get("t"), None);
        cache.put("t", &Ok(caller()), far());
        assert_eq!(cache.get("t"), Some(Ok(caller())));
        assert_eq!(cache.get("other"), None);
    }

    #[test]
    fn refusals_cannot_push_out_what_is_good() {
        let cache = Cache::default();
        cache.put("good", &Ok(caller()), far());
        for i in 0..2 * ENTRIES {
            cache.put(&format!("bad-{i}"), &Err("no".into()), far());
        }
        assert!(cache.0.lock().len() <= ENTRIES);
        assert_eq!(cache.get("good"), Some(Ok(caller())));
    }
}
