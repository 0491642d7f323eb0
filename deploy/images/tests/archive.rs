//! What an archive holds, read back by the `tar` crate, and that it is the same each time.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use warren_images::{Image, Source, Tree};

fn image(folder: &Path) -> Image {
    let program = folder.join("program");
    fs::write(&program, vec![7; 100_000]).unwrap();
    let long = format!("usr/lib/{}/deep/module.py", "a-rather-long-name".repeat(8));
    let mut tree = Tree::default();
    tree.folder("tmp", 0o1777);
    tree.file("program", 0o755, Source::Path(program));
    tree.file(&long, 0o644, Source::Bytes(b"pass\n".to_vec()));
    tree.link("bin/sh", "/program");
    Image {
        name: "warren.dev/trial:1".to_owned(),
        tree,
        entrypoint: vec!["/program".to_owned()],
        user: "65532:65532".to_owned(),
        ..Image::default()
    }
}

fn entries(bytes: &[u8]) -> HashMap<String, Vec<u8>> {
    let mut found = HashMap::new();
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        found.insert(path, bytes);
    }
    found
}

fn blob<'a>(archive: &'a HashMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap();
    let bytes = &archive[&format!("blobs/{}", digest.replace(':', "/"))];
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

#[test]
fn every_part_is_found_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out/trial.tar");
    let digest = image(folder.path()).write(&path).unwrap();
    let archive = entries(&fs::read(&path).unwrap());
    let index: Value = serde_json::from_slice(&archive["index.json"]).unwrap();
    let descriptor = &index["manifests"][0];
    assert_eq!(descriptor["digest"], digest);
    let name = &descriptor["annotations"]["io.containerd.image.name"];
    assert_eq!(name, "warren.dev/trial:1");
    let manifest: Value = serde_json::from_slice(blob(&archive, descriptor)).unwrap();
    let config: Value = serde_json::from_slice(blob(&archive, &manifest["config"])).unwrap();
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(
        config["rootfs"]["diff_ids"][0],
        manifest["layers"][0]["digest"]
    );
    let layer = entries(blob(&archive, &manifest["layers"][0]));
    assert_eq!(layer["program"].len(), 100_000);
    assert!(layer.keys().any(|path| path.ends_with("deep/module.py")));
    assert!(layer.contains_key("bin/sh"));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |folder: &Path| {
        let path = folder.join("trial.tar");
        image(folder).write(&path).unwrap();
        fs::read(path).unwrap()
    };
    assert!(write(one.path()) == write(other.path()));
}

#[test]
fn a_missing_file_leaves_no_archive_and_names_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut image = image(folder.path());
    image
        .tree
        .file("gone", 0o644, Source::Path(folder.path().join("nowhere")));
    let error = image.write(&folder.path().join("x.tar")).unwrap_err();
    assert!(format!("{error:#}").contains("nowhere"), "{error:#}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
