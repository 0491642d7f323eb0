//! The Dockerfile says the same as `components`.

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
            .find(|stage| stage.starts_with(&format!("scratch AS {name}\n")))
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
        components().len() + 1,
        "a stage without an image"
    );
}
