//! The API server, with what the controller needs of it.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use kube::Client;
use warren_apiserver::Keys;

use super::objects::{install, install_crds};
use super::tokens::Issuer;

/// The static token of the controller's service account.
const CONTROL: &str = "control-token";

pub struct ApiServer {
    /// Signs service account tokens, so that tests can make odd ones.
    pub issuer: Issuer,
    server: warren_apiserver::ApiServer,
}

impl ApiServer {
    /// An API server that has all that the controller needs of it, and the administrator's client.
    pub async fn installed(flags: &[&str]) -> (Self, Client) {
        let api = Self::start(flags).await;
        let client = api.client();
        install(&client).await;
        install_crds(&client).await;
        (api, client)
    }

    /// Starts it and waits until the API is ready.
    pub async fn start(flags: &[&str]) -> Self {
        let issuer = Issuer::new();
        let keys = Keys {
            private: issuer.key_pem(),
            public: issuer.public_key_pem(),
        };
        let control = "system:serviceaccount:warren-system:warren-control";
        let groups = "system:serviceaccounts,system:authenticated";
        let user = format!("{CONTROL},{control},2,\"{groups}\"\n");
        let server = warren_apiserver::ApiServer::start(&keys, &user, flags).await;
        Self { issuer, server }
    }

    /// A kubeconfig of the controller's service account, by way of `port`.
    pub fn kubeconfig(&self, port: u16) -> PathBuf {
        self.server.kubeconfig(CONTROL, port)
    }
}

impl Deref for ApiServer {
    type Target = warren_apiserver::ApiServer;

    fn deref(&self) -> &Self::Target {
        &self.server
    }
}

impl DerefMut for ApiServer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.server
    }
}
