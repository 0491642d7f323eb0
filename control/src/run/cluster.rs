//! What runs only with an API server: the election, and everything that writes.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ca::cert_manager::{CertManager, IssuerRef};
use crate::ca::secret::bundle::Publisher;
use crate::ca::secret::keeper::Keeper;
use crate::ca::{Current, Signer};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::source::kubernetes::client::Access;
use crate::status::Board;
use crate::status::lease::Elector;
use crate::status::writer::Writer;
use crate::warning::WarningStore;

/// Pause between questions to an issuer that does not sign yet.
const ISSUER_RETRY: Duration = Duration::from_secs(5);

/// The connection to the API server.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
}

/// What is written, and from what.
pub(super) struct Writing {
    pub(super) board: Board,
    pub(super) warnings: WarningStore,
    pub(super) authority: Current,
    pub(super) metrics: Metrics,
    pub(super) synced: watch::Receiver<bool>,
}

impl Cluster {
    pub(super) async fn connect(settings: &Settings) -> anyhow::Result<Self> {
        let access = Access {
            kubeconfig: settings.kubeconfig.clone(),
            context: settings.kube_context.clone(),
        };
        let client = access.client().await?;
        Ok(Self { client })
    }

    pub(super) fn keeper(&self, settings: &Settings) -> Keeper {
        Keeper {
            client: self.client.clone(),
            namespace: settings.root_namespace.clone(),
            name: settings.ca_secret.clone(),
            trust_domain: settings.trust_domain.clone(),
            overlap: settings.overlap(),
        }
    }

    /// cert-manager may be installed after us: waits for it as long as it takes.
    pub(super) async fn issuer(&self, settings: &Settings, issuer: &IssuerRef) -> Signer {
        let names = settings.server_names();
        let mut complaint = String::new();
        loop {
            let namespace = &settings.root_namespace;
            let issuer = CertManager::new(self.client.clone(), namespace, issuer.clone());
            match Signer::external(issuer, &names).await {
                Ok(signer) => return signer,
                Err(e) if e.to_string() != complaint => {
                    complaint = e.to_string();
                    tracing::warn!("{complaint}; trying again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(ISSUER_RETRY).await;
        }
    }

    /// Starts the election and the writers. They end with `stop`; the Lease is given back then.
    pub(super) fn start_writers(
        &self,
        settings: &Settings,
        writing: Writing,
        stop: &CancellationToken,
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let namespace = &settings.root_namespace;
        let identity = format!("{}_{:08x}", settings.pod_name, rand::random::<u32>());
        let (elector, leadership) = Elector::new(self.client.clone(), namespace, identity);
        let Writing {
            board,
            warnings,
            authority,
            metrics,
            mut synced,
        } = writing;
        if settings.ca_cert.is_none() && settings.cert_manager_issuer.is_none() {
            let keeper = self.keeper(settings);
            tasks.spawn(keeper.run(authority.clone(), leadership.clone(), stop.clone()));
        }
        let mut namespaces = vec![namespace.clone()];
        namespaces.extend(settings.root_configmap_namespaces.iter().cloned());
        namespaces.dedup();
        let publisher = Publisher {
            client: self.client.clone(),
            namespaces,
            name: settings.root_configmap.clone(),
            webhook: settings
                .webhook_addr
                .map(|_| settings.webhook_config.clone()),
            current: authority,
            leadership: leadership.clone(),
        };
        tasks.spawn(publisher.run(stop.clone()));
        let writer = Writer::new(self.client.clone(), board, warnings, leadership, metrics);
        let stopped = stop.clone();
        tasks.spawn(async move {
            let ready = stopped.run_until_cancelled(synced.wait_for(|s| *s)).await;
            // Before the first reading a warning may be missing.
            if matches!(ready, Some(Ok(_))) {
                drop(ready);
                writer.run(stopped.clone()).await;
            }
        });
        tasks.spawn(elector.run(stop.clone()));
        tasks
    }
}
