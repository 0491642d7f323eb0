//! The mesh's own images: one static program each, and what it needs beside itself.

use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::tree::{Source, Tree};

/// A program of the mesh and what its image is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Name of the image, without repository and tag.
    pub image: &'static str,
    /// The program.
    pub binary: &'static str,
    /// The cargo package that has it.
    pub package: &'static str,
    /// Whether the kernel object goes along: the agent looks for it beside itself.
    pub kernel_object: bool,
    /// Another program that goes along: what the agent installs on its node.
    pub also: Option<&'static str>,
    /// Needs neither root nor anything of root's: `uid:gid` to run as.
    pub user: &'static str,
}

const UNPRIVILEGED: &str = "65532:65532";

/// Everything that has an image.
pub fn components() -> &'static [Component] {
    const fn component(name: &'static str, user: &'static str) -> Component {
        Component {
            image: name,
            binary: name,
            package: name,
            kernel_object: false,
            also: None,
            user,
        }
    }
    const ALL: &[Component] = &[
        Component {
            kernel_object: true,
            also: Some("warren-cni"),
            ..component("warren-agent", "")
        },
        component("warren-ztunnel", ""),
        component("warren-cni", ""),
        component("warren-control", UNPRIVILEGED),
        component("warren-waypoint", UNPRIVILEGED),
        Component {
            binary: "warren",
            package: "warren-cli",
            ..component("warren-cli", UNPRIVILEGED)
        },
    ];
    ALL
}

impl Component {
    /// The image, named `REPOSITORY/IMAGE:TAG`, of the program in `folder`.
    pub fn image(&self, repository: &str, tag: &str, folder: &Path, object: &Path) -> Image {
        let mut tree = Tree::default();
        let program = format!("/{}", self.binary);
        tree.folder("tmp", 0o1777);
        tree.file("etc/passwd", 0o644, bytes(PASSWD));
        tree.file("etc/group", 0o644, bytes(GROUP));
        tree.file(&program, 0o755, Source::Path(folder.join(self.binary)));
        if let Some(also) = self.also {
            tree.file(also, 0o755, Source::Path(folder.join(also)));
        }
        if self.kernel_object {
            tree.file("warren-ebpf", 0o644, Source::Path(PathBuf::from(object)));
        }
        let label = |name: &str, value: &str| {
            (format!("org.opencontainers.image.{name}"), value.to_owned())
        };
        Image {
            name: format!("{repository}/{}:{tag}", self.image),
            tree,
            entrypoint: vec![program],
            environment: vec!["PATH=/".to_owned()],
            user: self.user.to_owned(),
            labels: [
                label("title", self.image),
                label("version", tag),
                label("licenses", "Apache-2.0"),
            ]
            .into(),
            ..Image::default()
        }
    }
}

const PASSWD: &str =
    "root:x:0:0:root:/:/sbin/nologin\nwarren:x:65532:65532:warren:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nwarren:x:65532:\n";

fn bytes(text: &str) -> Source {
    Source::Bytes(text.as_bytes().to_vec())
}
