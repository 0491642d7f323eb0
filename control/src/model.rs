//! The objects that the index needs, cut down from Kubernetes' own types to what decides anything here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use warren_crds::{AuthorizationPolicySpec, PeerAuthenticationSpec};

pub mod endpoints;
pub mod labels;
pub mod pod;
pub mod service;

pub use endpoints::{Endpoint, EndpointSlice};
pub use pod::{Owner, Pod};
pub use service::{Service, ServicePort, TargetPort};

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// The kinds that the controller takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// core/v1
    Namespace,
    /// core/v1
    Node,
    /// core/v1
    Pod,
    /// core/v1
    Service,
    /// discovery.k8s.io/v1
    EndpointSlice,
    /// core/v1; checked, and otherwise without effect.
    ServiceAccount,
    /// warren.dev/v1alpha1
    AuthorizationPolicy,
    /// warren.dev/v1alpha1
    PeerAuthentication,
    /// gateway.networking.k8s.io/v1
    GatewayClass,
    /// gateway.networking.k8s.io/v1; only told that it has no effect, as the routes are.
    Gateway,
    /// gateway.networking.k8s.io/v1
    HTTPRoute,
    /// gateway.networking.k8s.io/v1
    GRPCRoute,
    /// gateway.networking.k8s.io/v1alpha2
    TLSRoute,
    /// gateway.networking.k8s.io/v1alpha2
    TCPRoute,
}

impl Kind {
    /// Whether objects of this kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node | Self::GatewayClass)
    }

    /// Whether this is a kind of the Gateway API, of which only what is ours is reported on.
    pub fn is_gateway_api(self) -> bool {
        matches!(
            self,
            Self::GatewayClass
                | Self::Gateway
                | Self::HTTPRoute
                | Self::GRPCRoute
                | Self::TLSRoute
                | Self::TCPRoute
        )
    }

    /// Whether we write the status of objects of this kind.
    pub fn has_status(self) -> bool {
        matches!(self, Self::AuthorizationPolicy | Self::PeerAuthentication)
    }
}

impl Kind {
    /// As it is written in `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::ServiceAccount => "ServiceAccount",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::GatewayClass => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::HTTPRoute => "HTTPRoute",
            Self::GRPCRoute => "GRPCRoute",
            Self::TLSRoute => "TLSRoute",
            Self::TCPRoute => "TCPRoute",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Namespace and name of an object; the namespace is empty for Namespaces and Nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Id {
    /// Builds one.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// The unique name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Kind.
    pub kind: Kind,
    /// Namespace and name.
    pub id: Id,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// Where an object was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Path of the file, relative to the directory that is watched.
    pub file: Arc<str>,
    /// First line of the object, from 1.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What all objects have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Namespace and name.
    pub id: Id,
    /// Kubernetes' own unique id; empty where unknown.
    pub uid: Arc<str>,
    /// Labels.
    pub labels: Labels,
    /// Annotations of `warren.dev` only.
    pub annotations: Labels,
    /// Creation time as Unix seconds; 0 where unknown. Of two that contend, the older wins.
    pub created: i64,
}

/// An object with its content.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A Namespace.
    Namespace(Meta),
    /// A Node.
    Node(Meta),
    /// A ServiceAccount.
    ServiceAccount(Meta),
    /// A Pod.
    Pod(Arc<Pod>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// An AuthorizationPolicy.
    AuthorizationPolicy(Meta, Box<AuthorizationPolicySpec>),
    /// A PeerAuthentication.
    PeerAuthentication(Meta, Box<PeerAuthenticationSpec>),
}

impl Object {
    /// Its metadata.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Namespace(m) | Self::Node(m) | Self::ServiceAccount(m) => m,
            Self::AuthorizationPolicy(m, _) | Self::PeerAuthentication(m, _) => m,
            Self::Pod(p) => &p.meta,
            Self::Service(s) => &s.meta,
            Self::EndpointSlice(e) => &e.meta,
        }
    }

    /// Its unique name.
    pub fn key(&self) -> ObjectKey {
        let kind = match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::ServiceAccount(_) => Kind::ServiceAccount,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::AuthorizationPolicy(..) => Kind::AuthorizationPolicy,
            Self::PeerAuthentication(..) => Kind::PeerAuthentication,
        };
        ObjectKey {
            kind,
            id: self.meta().id.clone(),
        }
    }
}

/// A change of the world, as a source reports it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The object is new or changed.
    Apply(Arc<Object>, Option<Origin>),
    /// The object is gone.
    Delete(ObjectKey),
}
