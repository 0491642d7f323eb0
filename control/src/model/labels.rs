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
/// Our API group.
pub const GROUP: &str = "warren.dev";
/// Prefix of all that is ours.
pub const PREFIX: &str = "warren.dev/";

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
