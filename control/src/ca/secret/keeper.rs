//! Reads the CA's Secret, makes it where there is none, follows its changes, and changes its root when asked to.

use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{authority, fresh, step};
use crate::ca::{Authority, Current};
use crate::source::kubernetes::causes;
use crate::source::kubernetes::client::WATCH_SECONDS;
use crate::status::lease::Leadership;

const CALL_LIMIT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);
/// A failure that goes on is reported this often.
const REPEAT: Duration = Duration::from_secs(30);
/// How often the leader looks whether a step of a change is due.
const LOOK: Duration = Duration::from_secs(5);

/// The Secret as it was last.
#[derive(Clone)]
struct Held {
    secret: Secret,
    missing: bool,
}

/// Where the CA is kept.
#[derive(Clone)]
pub struct Keeper {
    /// The API server.
    pub client: Client,
    /// Namespace of the Secret.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Trust domain of a root that we make.
    pub trust_domain: String,
    /// How long two roots are trusted before the next step.
    pub overlap: Duration,
}

impl Keeper {
    /// The authority of the Secret, which is made where there is none. Waits for the API server as long as it takes.
    ///
    /// # Errors
    /// What the Secret holds is no CA.
    pub async fn load(&self) -> anyhow::Result<Authority> {
        let mut complained = false;
        loop {
            match tokio::time::timeout(CALL_LIMIT, self.read_or_make()).await {
                Ok(Ok(secret)) => return Ok(authority(&secret)?),
                failed if !complained => {
                    complained = true;
                    let problem = failed.map_or_else(
                        |_| "no answer within 10 s".to_owned(),
                        |r| r.map_or_else(|e| format!("{e:#}"), |_| String::new()),
                    );
                    tracing::warn!(
                        "cannot read the CA's Secret {}: {problem}; trying again",
                        self.path()
                    );
                }
                _ => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn read_or_make(&self) -> anyhow::Result<Secret> {
        let api = self.api();
        if let Some(secret) = api.get_opt(&self.name).await? {
            return Ok(secret);
        }
        let made = fresh(&self.name, &self.trust_domain)?;
        match api.create(&PostParams::default(), &made).await {
            Ok(secret) => {
                tracing::info!(secret = self.path(), "made a new root certificate");
                Ok(secret)
            }
            // Another replica was faster: its root is everybody's.
            Err(kube::Error::Api(s)) if s.code == 409 => Ok(api.get(&self.name).await?),
            Err(e) => Err(e.into()),
        }
    }

    /// Puts what the Secret holds into force, and as the leader changes the root when asked to, until `stop`.
    pub async fn run(self, current: Current, leadership: Leadership, stop: CancellationToken) {
        let (sender, secrets) = watch::channel(None);
        let following = self.follow(current, sender);
        let leading = self.lead(secrets, leadership);
        stop.run_until_cancelled(async { tokio::join!(following, leading) })
            .await;
    }

    async fn follow(&self, current: Current, sender: watch::Sender<Option<Held>>) {
        let config = Config::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(WATCH_SECONDS);
        let mut events = watcher(self.api(), config).boxed();
        let mut listed = false;
        let mut complained = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed = false,
                Ok(Event::InitApply(secret) | Event::Apply(secret)) => {
                    listed = true;
                    self.take(secret, &current, &sender);
                }
                Ok(Event::InitDone) if !listed => missing(&sender),
                Ok(Event::Delete(_)) => missing(&sender),
                Ok(Event::InitDone) => {}
                Err(e) => {
                    if complained.is_none_or(|at: Instant| at.elapsed() > REPEAT) {
                        complained = Some(Instant::now());
                        let (path, problem) = (self.path(), causes(&e));
                        tracing::warn!(
                            "cannot watch the CA's Secret {path}: {problem}; trying again"
                        );
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn take(&self, secret: Secret, current: &Current, sender: &watch::Sender<Option<Held>>) {
        match authority(&secret) {
            Ok(authority) => {
                let before = current.get();
                if before.root() != authority.root()
                    || before.not_after() != authority.not_after()
                    || before.issuing_key() != authority.issuing_key()
                {
                    tracing::info!(secret = self.path(), not_after = %authority.not_after(), "the CA changed");
                    current.set(authority);
                }
                let missing = false;
                sender.send_replace(Some(Held { secret, missing }));
            }
            Err(e) => tracing::error!("{e}; the CA as it was stays in force"),
        }
    }

    /// A Secret that was deleted is put back: a new root would cut the mesh in two.
    async fn restore(&self, mut secret: Secret) -> anyhow::Result<()> {
        tracing::warn!(
            "the CA's Secret {} was deleted; it is put back",
            self.path()
        );
        secret.metadata.resource_version = None;
        secret.metadata.uid = None;
        let api = self.api();
        let params = PostParams::default();
        let call = api.create(&params, &secret);
        tokio::time::timeout(CALL_LIMIT, call).await??;
        Ok(())
    }

    async fn lead(&self, secrets: watch::Receiver<Option<Held>>, mut leadership: Leadership) {
        let mut complaint = String::new();
        while leadership.wait().await {
            tokio::time::sleep(LOOK).await;
            let Some(held) = secrets.borrow().clone() else {
                continue;
            };
            let done = match held.missing {
                true => self.restore(held.secret).await,
                false => self.advance(&held.secret, &leadership).await,
            };
            if let Err(e) = done
                && e.to_string() != complaint
            {
                complaint = e.to_string();
                tracing::error!(
                    "the CA's Secret {} cannot be written: {complaint}",
                    self.path()
                );
            }
        }
    }

    async fn advance(&self, secret: &Secret, leadership: &Leadership) -> anyhow::Result<()> {
        let step = step(secret, &self.trust_domain, self.overlap, Timestamp::now())?;
        let Some((new, told)) = step.filter(|_| leadership.holds()) else {
            return Ok(());
        };
        let api = self.api();
        // The resource version in it makes sure that nobody else has taken the step.
        let params = PostParams::default();
        let call = api.replace(&self.name, &params, &new);
        match tokio::time::timeout(CALL_LIMIT, call).await? {
            Ok(_) => tracing::info!(secret = self.path(), "change of the root: {told}"),
            Err(kube::Error::Api(s)) if s.code == 409 => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn missing(sender: &watch::Sender<Option<Held>>) {
    sender.send_modify(|held| {
        if let Some(held) = held {
            held.missing = true;
        }
    });
}
