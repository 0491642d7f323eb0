//! The custom resources of Warren (group `warren.dev`, version `v1alpha1`) as Rust types, in the shape that users of Istio know.
//! The CustomResourceDefinitions are rendered from these types, never written by hand.
//!
//! ```text
//! AuthorizationPolicy, PeerAuthentication --derive--> render() --> deploy/charts/crds/templates/*.yaml
//!            ^
//!            +-- deserialised by the controller's sources
//! ```
#![forbid(unsafe_code)]

pub mod authorization_policy;
pub mod common;
pub mod peer_authentication;
pub mod render;

pub use authorization_policy::{AuthorizationPolicy, AuthorizationPolicySpec};
pub use common::{Status, TargetReference, WorkloadSelector};
pub use peer_authentication::{PeerAuthentication, PeerAuthenticationSpec};
pub use render::render;

/// The API group of every custom resource.
pub const GROUP: &str = "warren.dev";
/// The only version of the group so far.
pub const VERSION: &str = "v1alpha1";
