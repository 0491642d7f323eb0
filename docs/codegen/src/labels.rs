//! Labels and annotations.

use warren_control::model::labels::KNOWN;

use crate::markdown::{code, table};

const HEAD: &str = "# Labels and annotations

What the mesh reads from, and writes to, objects of Kubernetes. A value that means nothing is ignored, and the controller warns
(`warren status`, and an Event about the object); one of `warren.dev/dry-run` makes the policy invalid.

";

/// The page.
pub fn page() -> String {
    let rows: Vec<_> = KNOWN
        .iter()
        .map(|k| {
            vec![
                code(k.key),
                k.on.to_owned(),
                k.values.to_owned(),
                k.meaning.to_owned(),
            ]
        })
        .collect();
    HEAD.to_owned()
        + &table(
            &["Key", "On", "Values, the default first", "Meaning"],
            &rows,
        )
}
