//! An image as one file: an OCI image layout (image-spec, image-layout.md) in a tar archive.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tar::{Builder, EntryType};

use crate::digest::{self, Hashing};
use crate::image::{Image, architecture};
use crate::layer;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A part of an image: what refers to it, and where its bytes are.
struct Blob<B> {
    kind: &'static str,
    digest: String,
    size: u64,
    bytes: B,
}

impl<B> Blob<B> {
    fn descriptor(&self) -> Value {
        json!({"mediaType": self.kind, "digest": self.digest, "size": self.size})
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

/// Writes the archive beside its place and moves it there; returns the manifest's digest.
pub(crate) fn write(image: &Image, path: &Path) -> Result<String> {
    let layer_file = Scratch::beside(path, "layer");
    let archive_file = Scratch::beside(path, "part");
    let layer = make_layer(image, &layer_file.0)?;
    let configuration = document(CONFIGURATION, &image.configuration(&layer.digest));
    let manifest = document(
        MANIFEST,
        &json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": configuration.descriptor(),
            "layers": [layer.descriptor()],
        }),
    );
    let digest = manifest.digest.clone();
    let file = File::create(&archive_file.0).with_context(|| path.display().to_string())?;
    let mut tar = Builder::new(BufWriter::new(file));
    let bytes = BufReader::new(File::open(&layer.bytes)?);
    put(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    put(&mut tar, "index.json", &index(image, &manifest))?;
    put(&mut tar, &manifest.path(), &manifest.bytes)?;
    put(&mut tar, &configuration.path(), &configuration.bytes)?;
    stream(&mut tar, &layer.path(), layer.size, bytes)?;
    tar.into_inner()?.flush()?;
    fs::rename(&archive_file.0, path)?;
    Ok(digest)
}

fn make_layer(image: &Image, at: &Path) -> Result<Blob<PathBuf>> {
    let file = File::create(at).with_context(|| at.display().to_string())?;
    let mut writer = Hashing::new(BufWriter::new(file));
    layer::write(&image.tree, &mut writer)?;
    let (_, digest, size) = writer.finish();
    Ok(Blob {
        kind: LAYER,
        digest,
        size,
        bytes: at.to_owned(),
    })
}

fn document(kind: &'static str, value: &Value) -> Blob<Vec<u8>> {
    let bytes = value.to_string().into_bytes();
    Blob {
        kind,
        digest: digest::of(&bytes),
        size: bytes.len() as u64,
        bytes,
    }
}

/// The only place where an archive tells its image's name, to containerd and to the OCI's own tools.
fn index(image: &Image, manifest: &Blob<Vec<u8>>) -> Vec<u8> {
    let mut descriptor = manifest.descriptor();
    let tag = image.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    descriptor["annotations"] = json!({
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": tag,
    });
    descriptor["platform"] = json!({"architecture": architecture(), "os": "linux"});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]});
    index.to_string().into_bytes()
}

fn put(tar: &mut Builder<impl io::Write>, path: &str, bytes: &[u8]) -> Result<()> {
    stream(tar, path, bytes.len() as u64, bytes)
}

fn stream(tar: &mut Builder<impl io::Write>, path: &str, size: u64, from: impl Read) -> Result<()> {
    let mut header = layer::header(EntryType::Regular, 0o644, size);
    tar.append_data(&mut header, path, from)?;
    Ok(())
}

/// A file that is gone when this is dropped, whatever happened.
struct Scratch(PathBuf);

impl Scratch {
    fn beside(path: &Path, suffix: &str) -> Self {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.{suffix}", std::process::id()));
        Self(path.with_file_name(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a success the archive has already been moved away.
        let _ = fs::remove_file(&self.0);
    }
}
