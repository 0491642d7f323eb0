//! The connection to the API server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How long one watch lasts before it is asked for anew, in seconds. The server ends it; a connection that died is noticed
/// soon after.
pub const WATCH_SECONDS: u32 = 120;
/// Nothing at all from the server for this long: the connection is dead. Watches bring a bookmark every minute.
const READ_LIMIT: Duration = Duration::from_secs(150);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Which API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file; None: the pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of that file; None: its current one.
    pub context: Option<String>,
}

impl Access {
    /// Prepares a client; nothing is sent yet.
    ///
    /// # Errors
    /// The kubeconfig is bad, or this is no pod and no kubeconfig was given.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_LIMIT);
        config.read_timeout = Some(READ_LIMIT);
        config.reset_reader_on_write = true;
        // Watches, writers and token checks each have their own idea of when to try again.
        config.default_retry = false;
        Client::try_from(config).context("cannot prepare the connection to the API server")
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let Some(path) = &self.kubeconfig else {
            return Config::incluster()
                .context("this is not a pod with a service account: name the API server with --kubeconfig FILE");
        };
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let file = Kubeconfig::read_from(path)
            .with_context(|| format!("cannot read --kubeconfig {}", path.display()))?;
        Config::from_custom_kubeconfig(file, &options)
            .await
            .with_context(|| format!("--kubeconfig {} cannot be used", path.display()))
    }
}
