use super::*;

const GOOD: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";

#[test]
fn reads_many_documents_and_lists() {
    let yaml = format!(
        "{GOOD}---\n---\napiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: Pod, metadata: {{name: web, namespace: shop}}}}\n- {{apiVersion: v1, kind: Pod, metadata: {{name: other}}}}\n"
    );
    let objects = Manifests::parse("test", &yaml).all_good().unwrap();
    let keys: Vec<String> = objects.iter().map(|o| Key::of(o).to_string()).collect();
    assert_eq!(
        keys,
        ["namespace/shop", "pod/web in shop", "pod/other in default"]
    );
}

#[test]
fn one_bad_document_leaves_the_others_and_is_named() {
    let yaml = format!("{GOOD}---\nkind: Pod\nmetadata: [1\n---\n{GOOD}");
    let read = Manifests::parse("dir/a.yaml", &yaml);
    assert_eq!(read.objects.len(), 2);
    assert_eq!(read.bad.len(), 1);
    let said = read.bad[0].to_string();
    assert!(said.starts_with("dir/a.yaml:"), "{said}");
    assert!(said.contains("malformed document"), "{said}");
    let left = read.leftovers[0].text.as_deref().unwrap();
    assert_eq!(left, "\n\n\n---\nkind: Pod\nmetadata: [1\n---\n\n\n\n");
    // The controller, which reads what is left, names the same line.
    let (documents, malformed) = warren_control::source::dir::document::parse(left, false);
    assert_eq!(documents, []);
    let line = format!("dir/a.yaml:{}", malformed[0].line);
    assert_eq!(read.bad[0].origin, line);
}

#[test]
fn errors_name_the_object_and_the_field() {
    let read = Manifests::parse("a.yaml", "# x\napiVersion: v1\nkind: Pod\nmetadata: {}\n");
    assert_eq!(
        read.bad[0].to_string(),
        "a.yaml:2: pod: metadata.name is missing or not a string: add it"
    );
    for bad in [
        "apiVersion: v1\nkind: Pod\nmetadata: {name: ../x}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: [a]}\n",
        "apiVersion: v1\nkind: Podd\nmetadata: {name: x}\n",
        "apiVersion: v1\nkind: Deployment\nmetadata: {name: x}\n",
        "just a word\n",
    ] {
        let read = Manifests::parse("b.yaml", &format!("{GOOD}---\n{bad}"));
        assert_eq!((read.objects.len(), read.bad.len()), (1, 1), "{bad}");
    }
}

#[test]
fn objects_know_where_a_person_wrote_them() {
    let own = "metadata: {name: b, annotations: {warren.dev/origin: 'chart.yaml:9'}}";
    let yaml = format!("{GOOD}---\n# of b\napiVersion: v1\nkind: Namespace\n{own}\n");
    let objects = Manifests::parse("a.yaml", &yaml).all_good().unwrap();
    let origin = |o: &Value| o["metadata"]["annotations"][ORIGIN].clone();
    assert_eq!(origin(&objects[0]), "a.yaml:1");
    assert_eq!(origin(&objects[1]), "chart.yaml:9");
}

#[test]
fn a_file_that_is_good_again_leaves_nothing() {
    let read = Manifests::parse("a.yaml", GOOD);
    assert_eq!(read.leftovers[0].text, None);
}
