//! Writes what is due, while we lead.

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::Status;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::lease::Leadership;
use super::{Board, FIELD_MANAGER, Observation, condition, event, gateway};
use crate::metrics::Metrics;
use crate::model::ObjectKey;
use crate::source::kubernetes::causes;
use crate::source::kubernetes::kinds::resource;
use crate::warning::WarningStore;

/// How long changes are collected before they are written: source and index both have their say on one change.
const COLLECT: Duration = Duration::from_millis(500);
/// Time from one write to the next.
const BETWEEN: Duration = Duration::from_millis(50);
/// What failed is tried again after this long.
const RETRY: Duration = Duration::from_secs(5);
/// Failures are reported this often at most.
const REPEAT: Duration = Duration::from_secs(30);
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// The writer.
pub struct Writer {
    client: Client,
    board: Board,
    warnings: WarningStore,
    leadership: Leadership,
    metrics: Metrics,
    complained: Option<Instant>,
}

impl Writer {
    /// A writer that has written nothing yet.
    pub fn new(
        client: Client,
        board: Board,
        warnings: WarningStore,
        leadership: Leadership,
        metrics: Metrics,
    ) -> Self {
        Self {
            client,
            board,
            warnings,
            leadership,
            metrics,
            complained: None,
        }
    }

    /// Runs until `stop`, or until the election ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let stopped = stop.clone();
        stopped.run_until_cancelled(self.lead()).await;
    }

    async fn lead(&mut self) {
        while self.leadership.wait().await {
            let warned = self.warnings.all().into_iter().filter_map(|w| w.object);
            self.board.begin(warned);
            let mut events = event::Budget::default();
            while self.leadership.holds() {
                let Ok(mut due) = tokio::time::timeout(RETRY, self.board.next()).await else {
                    continue;
                };
                tokio::time::sleep(COLLECT).await;
                due.sort();
                if self.write_all(due, &mut events).await {
                    tokio::time::sleep(RETRY).await;
                }
            }
            self.board.end();
        }
    }

    /// Whether something failed that is worth another try; it is due again then.
    async fn write_all(&mut self, due: Vec<ObjectKey>, events: &mut event::Budget) -> bool {
        let mut pace = interval(BETWEEN);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = HashSet::new();
        let (mut failed, mut first) = (0, None);
        for key in due {
            if !self.leadership.holds() {
                return false;
            }
            let done = self.write(&key, &mut pace, events).await;
            if let Err(e) = done {
                self.metrics.write_failed(key.kind);
                failed += 1;
                first.get_or_insert_with(|| format!("{key}: {e}"));
                if let Failure::Passing(_) = e {
                    again.insert(key);
                }
            }
        }
        if let Some(first) = first
            && self.complained.is_none_or(|at| at.elapsed() > REPEAT)
        {
            self.complained = Some(Instant::now());
            tracing::warn!("{failed} objects cannot be written to; {first}");
        }
        for key in &again {
            self.board.touch(key);
        }
        !again.is_empty()
    }

    async fn write(
        &self,
        key: &ObjectKey,
        pace: &mut Interval,
        events: &mut event::Budget,
    ) -> Result<(), Failure> {
        if key.kind.has_status() {
            return self.write_status(key, pace).await;
        }
        if let Some(seen) = self.board.get(key).filter(|_| key.kind.is_gateway_api()) {
            let (ours, status) = gateway::due(key, &seen, &self.board, Timestamp::now());
            if let Some(status) = status {
                self.write_gateway(key, &seen, status, pace).await?;
            }
            if ours {
                return Ok(());
            }
        }
        let warnings = self.warnings.of(key);
        event::publish(&self.client, key, &warnings, events).await
    }

    /// Only over the version that was seen: what others report is in there as well.
    async fn write_gateway(
        &self,
        key: &ObjectKey,
        seen: &Observation,
        status: Value,
        pace: &mut Interval,
    ) -> Result<(), Failure> {
        pace.tick().await;
        let resource = resource(key.kind);
        let client = self.client.clone();
        let api: Api<DynamicObject> = match key.kind.is_namespaced() {
            true => Api::namespaced_with(client, &key.id.namespace, &resource),
            false => Api::all_with(client, &resource),
        };
        let patch = Patch::Merge(json!({
            "metadata": {"uid": &*seen.uid, "resourceVersion": &*seen.version},
            "status": status,
        }));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let call = api.patch_status(&key.id.name, &params, &patch);
        if call_limited(call).await?.is_some() {
            self.metrics.written(key.kind);
        }
        Ok(())
    }

    async fn write_status(&self, key: &ObjectKey, pace: &mut Interval) -> Result<(), Failure> {
        let Some(observation) = self.board.get(key) else {
            return Ok(());
        };
        let warnings = self.warnings.of(key);
        let Some(condition) = condition::due(&observation, &warnings, Timestamp::now()) else {
            return Ok(());
        };
        pace.tick().await;
        let resource = resource(key.kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &key.id.namespace, &resource);
        let patch = Patch::Apply(json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            // An object that was replaced meanwhile is another one.
            "metadata": {"name": &*key.id.name, "uid": &*observation.uid},
            "status": {"conditions": [condition]},
        }));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let call = api.patch_status(&key.id.name, &params, &patch);
        match call_limited(call).await? {
            Some(_) => {
                self.metrics.written(key.kind);
                self.board
                    .written(key, replaced(observation.conditions, condition));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Another try may succeed.
    #[error("{0}; trying again")]
    Passing(String),
    /// It would not.
    #[error("{0}")]
    Lasting(String),
}

/// Makes a call within its time. None: the object is gone, or was replaced.
///
/// # Errors
/// See [`Failure`].
pub async fn call_limited<T>(
    call: impl Future<Output = kube::Result<T>>,
) -> Result<Option<T>, Failure> {
    match tokio::time::timeout(CALL_LIMIT, call).await {
        Ok(Ok(value)) => Ok(Some(value)),
        Ok(Err(kube::Error::Api(s))) if matches!(s.code, 404 | 409) || is_terminating(&s) => {
            Ok(None)
        }
        // Not 403: an API server that has just started says so before it has read the roles.
        Ok(Err(kube::Error::Api(s))) if matches!(s.code, 400 | 422) => {
            Err(Failure::Lasting(s.message.clone()))
        }
        Ok(Err(e)) => Err(Failure::Passing(causes(&e))),
        Err(_) => Err(Failure::Passing("no answer within 10 s".to_owned())),
    }
}

/// Nothing can be made in a namespace that is being deleted, not even an event, and nothing will be.
fn is_terminating(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|d| &d.causes);
    causes
        .into_iter()
        .any(|c| c.reason == "NamespaceTerminating")
}

fn replaced(mut conditions: Vec<Condition>, new: Condition) -> Vec<Condition> {
    conditions.retain(|c| c.type_ != new.type_);
    conditions.push(new);
    conditions
}
