//! The Dockerfile says the same as `components`.

use std::io::Read as _;
use std::path::Path;

use warren_images::components;

#[test]
fn every_image_has_a_stage_like_it() {
    let text = include_str!("../Dockerfile");
    let stages: Vec<&str> = text.split("\nFROM ").skip(1).collect();
    for component in components() {
        let name = component.image;
        let stage = stages
            .iter()
            .find(|stage| stage.starts_with(&format!("base AS {name}\n")))
            .unwrap_or_else(|| panic!("the Dockerfile has no stage {name}"));
        let image = component.image("r", "t", Path::new("/programs"), Path::new("/object"));
        let has = |line: &str| stage.lines().any(|other| other == line);
        assert!(
            has(&format!("ENTRYPOINT [\"{}\"]", image.entrypoint[0])),
            "{name}"
        );
        assert!(
            stage.contains(&format!("/programs/{} ", component.binary)),
            "{name}"
        );
        assert_eq!(
            stage.contains("/programs/warren-ebpf "),
            component.kernel_object,
            "{name}"
        );
        if let Some(also) = component.also {
            assert!(stage.contains(&format!("/programs/{also} ")), "{name}");
        }
        let user = format!("USER {}", component.user);
        assert_eq!(has(&user), !component.user.is_empty(), "{name}");
    }
    assert_eq!(
        stages.len(),
        components().len() + 2,
        "a stage without an image"
    );
}

/// What an image holds beside its programs: path, mode, and text where it is a file.
fn beside_programs() -> Vec<(String, u32, Option<String>)> {
    let component = components().iter().find(|c| !c.kernel_object);
    let component = component.expect("one of a single program");
    let folder = tempfile::tempdir().expect("a folder");
    let program = component.binary;
    std::fs::write(folder.path().join(program), b"program").expect("a program");
    let path = folder.path().join("image.tar");
    let image = component.image("r", "t", folder.path(), Path::new("/object"));
    image.write(&path).expect("an archive");
    let archive = tar_of(&std::fs::read(&path).expect("it is there"));
    // The one blob that is an archive itself.
    let layer = archive
        .iter()
        .filter(|(path, ..)| path.starts_with("blobs/"))
        .map(|(_, _, bytes)| tar_of(bytes))
        .find(|files| files.iter().any(|(path, ..)| path == program));
    let layer = layer.expect("a layer").into_iter();
    layer
        .filter(|(path, ..)| path != program)
        .map(|(path, mode, bytes)| {
            let text = (!bytes.is_empty()).then(|| String::from_utf8(bytes).expect("text"));
            (path, mode, text)
        })
        .collect()
}

/// Its entries; none where it is no archive.
fn tar_of(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().expect("a reader");
    let one = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.ok()?;
        let path = entry.path().ok()?.to_string_lossy().into_owned();
        let mode = entry.header().mode().ok()?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).ok()?;
        Some((path.trim_end_matches('/').to_owned(), mode, bytes))
    };
    entries.map_while(one).collect()
}

#[test]
fn every_stage_begins_with_what_every_image_has() {
    let text = include_str!("../Dockerfile");
    let base = text
        .split("\nFROM ")
        .find_map(|stage| stage.strip_prefix("scratch AS base\n"))
        .expect("a stage that the others begin with");
    let has = |line: &str| base.lines().any(|other| other == line);
    assert!(has("COPY --from=build /root-folder/ /"), "{base}");
    for component in components() {
        let image = component.image("r", "t", Path::new("/programs"), Path::new("/object"));
        for variable in &image.environment {
            assert!(has(&format!("ENV {variable}")), "{variable}");
        }
    }
    let made = beside_programs();
    let paths: Vec<&str> = made.iter().map(|(path, ..)| &**path).collect();
    assert_eq!(paths, ["etc", "etc/group", "etc/passwd", "tmp"]);
    for (path, mode, content) in made {
        let target = format!("/root-folder/{path}");
        let line = match (&content, mode) {
            (Some(content), 0o644) => {
                format!("printf '{}' > {target}", content.replace('\n', "\\n"))
            }
            (None, 0o755) => target,
            (None, mode) => format!("chmod {mode:o} {target}"),
            (Some(_), mode) => {
                panic!("{path} has mode {mode:o}, which the Dockerfile does not give")
            }
        };
        assert!(text.contains(&line), "{line}");
    }
}
