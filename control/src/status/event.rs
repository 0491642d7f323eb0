//! Events about objects that are not ours and have no condition of ours.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, PartialObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::Instant;

use super::FIELD_MANAGER;
use super::writer::{Failure, call_limited};
use crate::model::{Kind, ObjectKey};
use crate::source::kubernetes::kinds::resource;
use crate::warning::Warning;

/// Events at once, and the time after which one more may be made.
const BURST: u32 = 100;
const REFILL: Duration = Duration::from_secs(1);
/// The longest note that the API server takes is 1,024 bytes.
const NOTE: usize = 1_000;

/// How many events may still be made.
#[derive(Debug)]
pub struct Budget {
    left: u32,
    since: Instant,
    dropped: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            left: BURST,
            since: Instant::now(),
            dropped: false,
        }
    }
}

impl Budget {
    fn take(&mut self) -> bool {
        let passed = self.since.elapsed().as_secs() / REFILL.as_secs();
        if passed > 0 {
            self.left = BURST.min(
                self.left
                    .saturating_add(u32::try_from(passed).unwrap_or(BURST)),
            );
            self.since = Instant::now();
        }
        if self.left == 0 {
            if !std::mem::replace(&mut self.dropped, true) {
                tracing::warn!(
                    "too many events; some are left out (`warren status` lists all warnings)"
                );
            }
            return false;
        }
        self.dropped = false;
        self.left -= 1;
        true
    }
}

/// Makes an event for each warning of an object. The same event is made once: its name tells.
pub async fn publish(
    client: &Client,
    key: &ObjectKey,
    warnings: &[Warning],
    budget: &mut Budget,
) -> Result<(), Failure> {
    if warnings.is_empty() || !budget.take() {
        return Ok(());
    }
    let Some(object) = call_limited(metadata(client, key)).await? else {
        return Ok(());
    };
    let namespace = match &*key.id.namespace {
        "" => "default",
        namespace => namespace,
    };
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    for warning in warnings {
        let event = event(key, namespace, &object.metadata, warning);
        call_limited(api.create(&PostParams::default(), &event)).await?;
    }
    Ok(())
}

async fn metadata(
    client: &Client,
    key: &ObjectKey,
) -> kube::Result<PartialObjectMeta<DynamicObject>> {
    let resource = resource(key.kind);
    let api: Api<DynamicObject> = if key.kind.is_namespaced() {
        Api::namespaced_with(client.clone(), &key.id.namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    api.get_metadata(&key.id.name).await
}

fn event(key: &ObjectKey, namespace: &str, object: &ObjectMeta, warning: &Warning) -> Event {
    let mut note = format!("{}; {}", warning.reason, warning.next_step);
    note.truncate(note.floor_char_boundary(NOTE));
    let mut hash = DefaultHasher::new();
    (&object.uid, &note).hash(&mut hash);
    let resource = resource(key.kind);
    let now = Some(Time(Timestamp::now()));
    Event {
        metadata: ObjectMeta {
            name: Some(format!(
                "{}.{:016x}",
                shortened(&key.id.name),
                hash.finish()
            )),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            name: Some(key.id.name.to_string()),
            namespace: key
                .kind
                .is_namespaced()
                .then(|| key.id.namespace.to_string()),
            uid: object.uid.clone(),
            ..ObjectReference::default()
        },
        reason: Some(reason(key.kind).to_owned()),
        message: Some(note),
        type_: Some("Warning".to_owned()),
        count: Some(1),
        first_timestamp: now.clone(),
        last_timestamp: now,
        source: Some(EventSource {
            component: Some(FIELD_MANAGER.to_owned()),
            ..EventSource::default()
        }),
        ..Event::default()
    }
}

fn reason(kind: Kind) -> &'static str {
    match kind {
        kind if kind.is_gateway_api() => "NotSupported",
        _ => "NotHonoured",
    }
}

/// A name has 253 bytes at most, which leaves room for the hash.
fn shortened(name: &str) -> &str {
    name[..name.len().min(230)].trim_end_matches(['.', '-'])
}
