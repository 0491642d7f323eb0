//! The API server, as the user's kubeconfig reaches it.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::arguments::Target;
use super::error::{Error, in_words};

/// How long the API server may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(15);

/// Something that has to be allowed: verb, group, plural, and whether in the mesh's namespace only.
pub type Right = (&'static str, &'static str, &'static str, bool);

/// A cluster that answers.
pub struct Cluster {
    /// Speaks to it.
    pub client: Client,
    /// Its version.
    pub version: Info,
}

impl Cluster {
    /// Connects, and asks for the version.
    ///
    /// # Errors
    /// There is no kubeconfig, no such context, or nobody answers.
    pub async fn connect(target: &Target) -> Result<Self, Error> {
        let config = config(target).await?;
        let server = config.cluster_url.to_string();
        let unreachable = |why: String| Error::Unreachable {
            why: format!("{}: {why}", server.trim_end_matches('/')),
        };
        let client = Client::try_from(config).map_err(|e| unreachable(in_words(&e)))?;
        let asked = tokio::time::timeout(PATIENCE, client.apiserver_version()).await;
        let version = asked
            .map_err(|_| unreachable(format!("no answer within {} s", PATIENCE.as_secs())))?
            .map_err(|e| unreachable(in_words(&e)))?;
        Ok(Self { client, version })
    }

    /// Asks whether this user may do all of it.
    ///
    /// # Errors
    /// It may not; everything that is missing is named.
    pub async fn may(&self, namespace: &str, rights: &[Right]) -> Result<(), Error> {
        let mut missing = Vec::new();
        for (verb, group, plural, namespaced) in rights {
            if !self
                .allowed(verb, group, plural, namespaced.then_some(namespace))
                .await?
            {
                let place = if *namespaced {
                    format!(" in {namespace}")
                } else {
                    String::new()
                };
                missing.push(format!("{verb} {plural}{place}"));
            }
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Error::Forbidden { missing })
        }
    }

    async fn allowed(
        &self,
        verb: &str,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
    ) -> Result<bool, Error> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    group: Some(group.to_owned()),
                    resource: Some(plural.to_owned()),
                    namespace: namespace.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|e| Error::api("ask for this user's rights", &e))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

async fn config(target: &Target) -> Result<Config, Error> {
    let failed = |why: String| Error::Unreachable { why };
    let mut config = if target.kubeconfig.is_none() && target.kube_context.is_none() {
        Config::infer().await.map_err(|e| failed(in_words(&e)))?
    } else {
        let file = match &target.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let file = file.map_err(|e| failed(in_words(&e)))?;
        let options = KubeConfigOptions {
            context: target.kube_context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = Config::from_custom_kubeconfig(file, &options).await;
        config.map_err(|e| failed(in_words(&e)))?
    };
    config.connect_timeout = Some(PATIENCE);
    Ok(config)
}
