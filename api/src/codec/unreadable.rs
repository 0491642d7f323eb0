//! Policies that cannot be read: what they may cover, as far as name and remains tell.

use prost::Message;
use prost_types::Any;
use warren_core::policy::{PolicyKey, PolicyScope};

use crate::r#gen::security as wire;

/// Namespaces whose policies may cover the whole mesh: ours, and the one of the mesh that may be migrated from.
pub const ROOT_NAMESPACES: [&str; 2] = ["warren-system", "istio-system"];

/// What the unreadable policy `name` may cover. Where even its scope cannot be read, its namespace, or the mesh if it is of a root
/// namespace or of none.
pub fn unreadable_policy(name: &str, any: &Any) -> (PolicyKey, PolicyScope) {
    let (namespace, short) = name.split_once('/').unwrap_or(("", name));
    let remains = wire::Authorization::decode(any.value.as_slice()).ok();
    let scope = remains
        .as_ref()
        .and_then(|r| wire::Scope::try_from(r.scope).ok())
        .map(|scope| match scope {
            wire::Scope::Global => PolicyScope::Mesh,
            wire::Scope::Namespace => PolicyScope::Namespace,
            wire::Scope::WorkloadSelector => PolicyScope::Selector,
        });
    let by_name = match namespace.is_empty() || ROOT_NAMESPACES.contains(&namespace) {
        true => PolicyScope::Mesh,
        false => PolicyScope::Namespace,
    };
    // Which namespace it covers, the body says; the name is what is left where there is none.
    let named =
        remains.filter(|r| scope == Some(PolicyScope::Namespace) && !r.namespace.is_empty());
    let namespace = named.map_or(namespace.into(), |r| r.namespace.into());
    let key = PolicyKey {
        namespace,
        name: short.into(),
    };
    (key, scope.unwrap_or(by_name))
}
