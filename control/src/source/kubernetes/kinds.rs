//! The kinds that are watched.

use std::collections::HashSet;
use std::fmt::Debug;

use futures_util::StreamExt;
use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use kube::api::{ApiResource, DynamicObject};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher::{Config, ListSemantic, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::KubeSource;
use super::client::WATCH_SECONDS;
use super::convert::{self, Item};
use super::definition::Definition;
use super::follow::{Events, Follow};
use super::gather::Message;
use crate::model::Kind;

/// Objects in one page of a list; what is read of a page is freed before the next.
const PAGE: u32 = 250;
/// The slices that Kubernetes makes from pods say nothing that the pods do not say earlier.
const FOREIGN_SLICES: &str =
    "endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io";

const POLICIES: [Kind; 2] = [Kind::AuthorizationPolicy, Kind::PeerAuthentication];
const GATEWAY_API: [Kind; 6] = [
    Kind::GatewayClass,
    Kind::Gateway,
    Kind::HTTPRoute,
    Kind::GRPCRoute,
    Kind::TLSRoute,
    Kind::TCPRoute,
];

/// Where the API server has a kind.
pub fn resource(kind: Kind) -> ApiResource {
    let (group, version, plural) = match kind {
        Kind::Namespace => ("", "v1", "namespaces"),
        Kind::Node => ("", "v1", "nodes"),
        Kind::Pod => ("", "v1", "pods"),
        Kind::Service => ("", "v1", "services"),
        Kind::ServiceAccount => ("", "v1", "serviceaccounts"),
        Kind::EndpointSlice => ("discovery.k8s.io", "v1", "endpointslices"),
        Kind::AuthorizationPolicy => ("warren.dev", "v1alpha1", "authorizationpolicies"),
        Kind::PeerAuthentication => ("warren.dev", "v1alpha1", "peerauthentications"),
        Kind::GatewayClass => ("gateway.networking.k8s.io", "v1", "gatewayclasses"),
        Kind::Gateway => ("gateway.networking.k8s.io", "v1", "gateways"),
        Kind::HTTPRoute => ("gateway.networking.k8s.io", "v1", "httproutes"),
        Kind::GRPCRoute => ("gateway.networking.k8s.io", "v1", "grpcroutes"),
        Kind::TLSRoute => ("gateway.networking.k8s.io", "v1alpha2", "tlsroutes"),
        Kind::TCPRoute => ("gateway.networking.k8s.io", "v1alpha2", "tcproutes"),
    };
    let gvk = GroupVersionKind::gvk(group, version, kind.name());
    ApiResource::from_gvk_with_plural(&gvk, plural)
}

struct Tasks<'a> {
    source: &'a KubeSource,
    sender: &'a mpsc::Sender<Message>,
    tasks: &'a mut JoinSet<()>,
}

/// Starts a task for every kind and returns those that the first batch has to wait for.
pub fn start(
    source: &KubeSource,
    sender: &mpsc::Sender<Message>,
    tasks: &mut JoinSet<()>,
) -> HashSet<Kind> {
    let mut tasks = Tasks {
        source,
        sender,
        tasks,
    };
    type Metadata<K> = PartialObjectMeta<K>;
    tasks.builtin::<Metadata<core::Namespace>>(Kind::Namespace, config(), convert::namespace);
    tasks.builtin::<Metadata<core::Node>>(Kind::Node, config(), convert::node);
    tasks.builtin::<Metadata<core::ServiceAccount>>(
        Kind::ServiceAccount,
        config(),
        convert::service_account,
    );
    tasks.builtin::<core::Pod>(Kind::Pod, config(), convert::pod);
    tasks.builtin::<core::Service>(Kind::Service, config(), convert::service);
    tasks.builtin::<discovery::EndpointSlice>(
        Kind::EndpointSlice,
        config().labels(FOREIGN_SLICES),
        convert::slice,
    );
    for entry in POLICIES {
        tasks.custom(entry, convert::policy);
    }
    for entry in GATEWAY_API {
        tasks.custom(entry, move |resource, o| {
            convert::gateway(entry, resource, o)
        });
    }
    let decisive = [
        Kind::Namespace,
        Kind::Node,
        Kind::Pod,
        Kind::Service,
        Kind::EndpointSlice,
    ];
    decisive.into_iter().chain(POLICIES).collect()
}

impl Tasks<'_> {
    fn builtin<K>(&mut self, kind: Kind, config: Config, convert: fn(&K) -> Item)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let api = Api::<K>::all(self.source.client.clone());
        let start = move || watcher(api.clone(), config.clone()).boxed();
        self.spawn(kind, None, start, convert);
    }

    fn custom(
        &mut self,
        kind: Kind,
        convert: impl Fn(&ApiResource, &DynamicObject) -> Item + Send + Sync + 'static,
    ) {
        let resource = resource(kind);
        let api = Api::<DynamicObject>::all_with(self.source.client.clone(), &resource);
        let start = move || watcher(api.clone(), config()).boxed();
        let definition = Definition::of(self.source.client.clone(), &resource);
        self.spawn(kind, Some(definition), start, move |o: &DynamicObject| {
            convert(&resource, o)
        });
    }

    fn spawn<T: ResourceExt + Debug + Send + Sync + 'static>(
        &mut self,
        kind: Kind,
        definition: Option<Definition>,
        start: impl Fn() -> Events<T> + Send + Sync + 'static,
        convert: impl Fn(&T) -> Item + Send + Sync + 'static,
    ) {
        let follow = Follow {
            kind,
            start: Box::new(start),
            convert: Box::new(convert),
            definition,
            metrics: self.source.metrics.clone(),
        };
        self.tasks.spawn(follow.run(self.sender.clone()));
    }
}

fn config() -> Config {
    Config::default()
        .page_size(PAGE)
        .timeout(WATCH_SECONDS)
        .list_semantic(ListSemantic::MostRecent)
}
