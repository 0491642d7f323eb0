//! The labels and annotations of `warren.dev`, and what they mean.

use super::{Labels, Meta};

/// Enrols a Namespace or Pod: `enabled`; takes a Pod out: `disabled`.
pub const MESH: &str = "warren.dev/mesh";
/// Waypoint of a Namespace, Service or Pod.
pub const WAYPOINT: &str = "warren.dev/waypoint";
/// `off` makes same-node connections to the pods take the tunnel.
pub const DIRECT_FLOWS: &str = "warren.dev/direct-flows";
/// `required` turns direct flows off, since those are not encrypted.
pub const ENCRYPTION: &str = "warren.dev/encryption";
/// `true` makes an AuthorizationPolicy a dry run.
pub const DRY_RUN: &str = "warren.dev/dry-run";
/// Annotation `<file>:<line>`: where an object was written, for tools that copy objects into the directory.
pub const ORIGIN: &str = "warren.dev/origin";
/// Annotation of the CA's Secret that starts a change of the root, whatever its value.
pub const ROTATE: &str = "warren.dev/rotate-root";
/// Annotation: how far the change has come.
pub const ROTATION_PHASE: &str = "warren.dev/rotation-phase";
/// Annotation: since when.
pub const ROTATION_SINCE: &str = "warren.dev/rotation-since";
/// A Node's region.
pub const REGION: &str = "topology.kubernetes.io/region";
/// A Node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// A Node's part of a zone.
pub const SUBZONE: &str = "topology.warren.dev/subzone";
/// Our API group.
pub const GROUP: &str = "warren.dev";
/// Prefix of all that is ours.
pub const PREFIX: &str = "warren.dev/";

/// A label or annotation, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its key.
    pub key: &'static str,
    /// Where it is read: kinds of objects, and whether as a label or an annotation.
    pub on: &'static str,
    /// What it may be; the default first, where there is one.
    pub values: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// Every label and annotation that the mesh reads or writes.
#[rustfmt::skip]
pub const KNOWN: [Known; 12] = [
    Known { key: MESH, on: "Namespace, Pod (label)", values: "`disabled`, `enabled`",
        meaning: "Whether pods are in the mesh. A pod's own label goes before its namespace's. Pods on the host network never are." },
    Known { key: DIRECT_FLOWS, on: "Namespace, Pod (label or annotation; the label goes before)", values: "`on`, `off`",
        meaning: "`off`: same-node connections from and to these pods take the tunnel. A pod's own goes before its namespace's." },
    Known { key: ENCRYPTION, on: "Namespace, Pod (label or annotation; the label goes before)", values: "`optional`, `required`",
        meaning: "`required`: no direct flows from and to these pods, because those are not encrypted. A pod cannot take back what its namespace requires." },
    Known { key: WAYPOINT, on: "Namespace, Service, Pod (label or annotation)", values: "`none`, the name of a Gateway",
        meaning: "Reserved. Waypoints are not in this release: anything but `none` has no effect, and the controller warns." },
    Known { key: DRY_RUN, on: "AuthorizationPolicy (annotation)", values: "`false`, `true`",
        meaning: "`true`: matches are only reported, as `audit` lines with `audit_kind=dry_run`." },
    Known { key: ORIGIN, on: "any object in a directory of manifests (annotation)", values: "`FILE:LINE`",
        meaning: "Where a person wrote the object, for warnings; written by tools that copy manifests." },
    Known { key: ROTATE, on: "the CA's Secret (annotation)", values: "anything",
        meaning: "Starts a change of the root; the controller takes it away." },
    Known { key: ROTATION_PHASE, on: "the CA's Secret (annotation)", values: "`announced`, `switched`",
        meaning: "Written by the controller: how far a change of the root has come." },
    Known { key: ROTATION_SINCE, on: "the CA's Secret (annotation)", values: "a time",
        meaning: "Written by the controller: since when it has been there." },
    Known { key: REGION, on: "Node (label)", values: "any",
        meaning: "Region of the node's pods, for `trafficDistribution`." },
    Known { key: ZONE, on: "Node (label)", values: "any",
        meaning: "Zone of the node's pods, for `trafficDistribution`." },
    Known { key: SUBZONE, on: "Node (label)", values: "any",
        meaning: "Subzone of the node's pods." },
];

/// A setting that may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// [`MESH`].
    pub mesh: Option<bool>,
    /// [`DIRECT_FLOWS`]; `false` is `off`.
    pub direct_flows: Option<bool>,
    /// [`ENCRYPTION`].
    pub encryption_required: bool,
    /// Whether a [`WAYPOINT`] other than `none` is asked for.
    pub waypoint: bool,
}

/// A value that means nothing: key, value, what would be understood.
pub type BadValue = (&'static str, String, &'static str);

impl Traits {
    /// Reads the traits of a Namespace or Pod; values that mean nothing are returned beside them.
    pub fn of(meta: &Meta) -> (Self, Vec<BadValue>) {
        let mut bad = Vec::new();
        let mut either = |key, yes: &'static str, no: &'static str, expected| {
            let value = setting(meta, key)?;
            match value {
                v if v == yes => Some(true),
                v if v == no => Some(false),
                other => {
                    bad.push((key, other.to_owned(), expected));
                    None
                }
            }
        };
        let traits = Self {
            mesh: either(MESH, "enabled", "disabled", "`enabled` or `disabled`"),
            direct_flows: either(DIRECT_FLOWS, "on", "off", "`on` or `off`"),
            encryption_required: either(
                ENCRYPTION,
                "required",
                "optional",
                "`required` or `optional`",
            )
            .unwrap_or(false),
            waypoint: setting(meta, WAYPOINT).is_some_and(|v| v != "none"),
        };
        (traits, bad)
    }
}

/// A setting that may be written as a label or an annotation; the label goes before. Enrolment is a label only.
fn setting<'a>(meta: &'a Meta, key: &str) -> Option<&'a str> {
    let annotation = || meta.annotations.get(key).filter(|_| key != MESH);
    meta.labels.get(key).or_else(annotation).map(String::as_str)
}

/// Whether `labels` has everything that `selector` asks for.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}
