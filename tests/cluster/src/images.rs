//! Images that every node of a cluster has from the start.

use anyhow::Result;
use warren_images::{Image, Source, Tree};

use crate::binaries::Binaries;
use crate::layout::Layout;

/// Holds a pod's namespaces.
pub const PAUSE: &str = "warren.dev/cluster-pause:1";
/// The cluster's DNS.
pub const COREDNS: &str = "warren.dev/cluster-coredns:1";

/// Writes the archives.
///
/// # Errors
/// A program is missing, or an archive cannot be written.
pub fn write(layout: &Layout, binaries: &Binaries) -> Result<()> {
    for (name, program) in [(PAUSE, "pause"), (COREDNS, "coredns")] {
        let path = format!("/{program}");
        let mut tree = Tree::default();
        tree.file(&path, 0o755, Source::Path(binaries.program(program)?));
        let image = Image {
            name: name.to_owned(),
            tree,
            entrypoint: vec![path],
            ..Image::default()
        };
        image.write(&layout.images().join(format!("{program}.tar")))?;
    }
    Ok(())
}
