//! The directory source on a real directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use warren_control::model::{Event, Object};
use warren_control::source::dir::DirSource;
use warren_control::source::{Batch, Source};
use warren_control::warning::WarningStore;

use crate::support::model::pod;

/// A source that runs on a directory of its own, and what it reported so far: object to address or port text.
pub struct Watched {
    dir: TempDir,
    warnings: WarningStore,
    batches: mpsc::Receiver<Batch>,
    objects: BTreeMap<String, String>,
    stop: CancellationToken,
}

impl Watched {
    pub async fn start(files: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().expect("directory");
        for (name, text) in files {
            write(dir.path().join(name), text);
        }
        let warnings = WarningStore::default();
        let source = DirSource {
            path: dir.path().to_owned(),
            warnings: warnings.clone(),
        };
        let (sender, batches) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let token = stop.clone();
        tokio::spawn(async move { source.run(sender, token).await.expect("it works") });
        let mut watched = Self {
            dir,
            warnings,
            batches,
            objects: BTreeMap::new(),
            stop,
        };
        assert!(watched.take(Duration::from_secs(5)).await, "a first batch");
        watched
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn take(&mut self, limit: Duration) -> bool {
        let Ok(batch) = tokio::time::timeout(limit, self.batches.recv()).await else {
            return false;
        };
        for event in batch.expect("the source runs").events {
            match event {
                Event::Apply(object, origin) => {
                    assert!(origin.is_some_and(|o| o.line > 0 && !o.file.is_empty()));
                    self.objects
                        .insert(object.key().to_string(), content(&object));
                }
                Event::Delete(key) => {
                    self.objects.remove(&key.to_string());
                }
            }
        }
        true
    }

    /// Waits until the objects are these, as `key=content`.
    pub async fn until(&mut self, expected: &[&str]) {
        let started = Instant::now();
        while self.list() != expected {
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "{:?}, not {expected:?}",
                self.list()
            );
            self.take(Duration::from_millis(100)).await;
        }
    }

    /// Nothing changes for a while.
    async fn stays(&mut self, expected: &[&str]) {
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(400) {
            self.take(Duration::from_millis(100)).await;
        }
        assert_eq!(self.list(), expected);
    }

    pub fn list(&self) -> Vec<String> {
        self.objects
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect()
    }

    pub fn warned(&self) -> String {
        self.warnings
            .all()
            .iter()
            .map(|w| format!("{w}\n"))
            .collect()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn content(object: &Object) -> String {
    match object {
        Object::Pod(p) => p.ips.iter().map(ToString::to_string).collect(),
        Object::AuthorizationPolicy(_, spec) => format!("{:?}", spec.action),
        _ => String::new(),
    }
}

pub fn write(path: PathBuf, text: &str) {
    fs::write(path, text).expect("file");
}

fn a(ip: &str) -> String {
    pod("shop", "a", "a", ip, 80)
}

pub fn b(ip: &str) -> String {
    pod("shop", "b", "b", ip, 80)
}

const A1: &str = "Pod shop/a=10.0.0.1";
pub const B1: &str = "Pod shop/b=10.0.0.2";

#[tokio::test]
async fn writes_renames_and_removals() {
    let mut w = Watched::start(&[("one.yaml", &a("10.0.0.1"))]).await;
    w.until(&[A1]).await;
    write(w.path("two.yml"), &b("10.0.0.2"));
    w.until(&[A1, B1]).await;
    fs::rename(w.path("two.yml"), w.path("three.yaml")).expect("rename");
    w.stays(&[A1, B1]).await;
    // As editors and `sed -i` do it: a new file takes the place of the old one.
    write(w.path("temporary"), &a("10.0.0.9"));
    fs::rename(w.path("temporary"), w.path("one.yaml")).expect("rename");
    w.until(&["Pod shop/a=10.0.0.9", B1]).await;
    fs::remove_file(w.path("one.yaml")).expect("remove");
    w.until(&[B1]).await;
    fs::rename(w.path("three.yaml"), w.path("three.yaml.bak")).expect("rename");
    w.until(&[]).await;
}

#[tokio::test]
async fn a_file_that_is_still_being_written_changes_nothing() {
    let both = a("10.0.0.1") + &b("10.0.0.2");
    let mut w = Watched::start(&[("all.yaml", &both)]).await;
    w.until(&[A1, B1]).await;
    let mut file = fs::File::create(w.path("all.yaml")).expect("file");
    w.stays(&[A1, B1]).await;
    file.write_all(&both.as_bytes()[..both.len() / 2])
        .expect("write");
    w.stays(&[A1, B1]).await;
    file.write_all(&both.as_bytes()[both.len() / 2..])
        .expect("write");
    file.write_all(pod("shop", "c", "c", "10.0.0.3", 80).as_bytes())
        .expect("write");
    drop(file);
    w.until(&[A1, B1, "Pod shop/c=10.0.0.3"]).await;
    assert_eq!(w.warned(), "");
}

#[tokio::test]
async fn a_malformed_file_keeps_its_last_good_objects() {
    let mut w = Watched::start(&[("all.yaml", &(a("10.0.0.1") + &b("10.0.0.2")))]).await;
    w.until(&[A1, B1]).await;
    write(
        w.path("all.yaml"),
        &(a("10.0.0.9") + "kind: Pod\nmetadata: {name: [\n"),
    );
    w.until(&["Pod shop/a=10.0.0.9", B1]).await;
    let line = a("10.0.0.9").lines().count() + 2;
    let warned = w.warned();
    assert!(
        warned.contains(&format!("all.yaml:{line}: malformed document")),
        "{line}: {warned}"
    );
    write(w.path("all.yaml"), &a("10.0.0.9"));
    w.until(&["Pod shop/a=10.0.0.9"]).await;
    assert_eq!(w.warned(), "");
}

#[tokio::test]
async fn bad_objects_are_named_and_the_rest_goes_on() {
    let bad = "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: shop}\nspec: {containers: 7}\n---\n";
    let nameless = "apiVersion: v1\nkind: Service\nmetadata: {namespace: shop}\n---\n";
    let kindless = "metadata: {name: y}\n---\n";
    let ours = "apiVersion: warren.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: t}\n---\n";
    let other =
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: 1}\n---\n";
    let route =
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n---\n";
    let unknown = b("10.0.0.2").replace("  nodeName", "  nodename: z\n  nodeName");
    let text = [
        bad,
        nameless,
        kindless,
        ours,
        other,
        route,
        &unknown,
        &a("10.0.0.1"),
    ]
    .concat();
    let mut w = Watched::start(&[("all.yaml", &text)]).await;
    w.until(&[A1, B1]).await;
    let warned = w.warned();
    for part in [
        "all.yaml:1: Pod shop/x: ",
        "all.yaml:6: Service `shop/`: not a valid metadata.name",
        "all.yaml:10: apiVersion or kind is missing",
        "all.yaml:12: TrafficPolicy t: warren.dev/v1alpha1 has no kind TrafficPolicy in this release",
        "all.yaml:21: HTTPRoute r: the Gateway API is not in this release",
        "all.yaml:25: Pod shop/b: unknown field spec.nodename",
    ] {
        assert!(warned.contains(part), "{part}: {warned}");
    }
    assert_eq!(warned.lines().count(), 6, "{warned}");
}

#[tokio::test]
async fn a_bad_change_of_an_object_leaves_the_version_before() {
    let policy = |action: &str| {
        format!(
            "apiVersion: warren.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: shop}}\nspec: {{{action}: DENY, rules: [{{}}]}}\n"
        )
    };
    let mut w = Watched::start(&[("p.yaml", &policy("action"))]).await;
    w.until(&["AuthorizationPolicy shop/p=Deny"]).await;
    write(w.path("p.yaml"), &policy("acton"));
    w.stays(&["AuthorizationPolicy shop/p=Deny"]).await;
    assert!(
        w.warned()
            .contains("p.yaml:1: AuthorizationPolicy shop/p: unknown field spec.acton"),
        "{}",
        w.warned()
    );
    write(w.path("p.yaml"), "");
    w.until(&[]).await;
    assert_eq!(w.warned(), "");
}

#[tokio::test]
async fn of_two_files_with_one_object_the_first_by_name_is_in_force() {
    let mut w = Watched::start(&[("b.yaml", &a("10.0.0.2")), ("c.yaml", &a("10.0.0.3"))]).await;
    w.until(&["Pod shop/a=10.0.0.2"]).await;
    assert!(
        w.warned()
            .contains("c.yaml:1: Pod shop/a: b.yaml holds an object of the same name"),
        "{}",
        w.warned()
    );
    write(w.path("a.yaml"), &a("10.0.0.1"));
    w.until(&[A1]).await;
    assert_eq!(w.warned().lines().count(), 2, "{}", w.warned());
    fs::remove_file(w.path("a.yaml")).expect("remove");
    fs::remove_file(w.path("b.yaml")).expect("remove");
    w.until(&["Pod shop/a=10.0.0.3"]).await;
    assert_eq!(w.warned(), "");
    write(w.path("c.yaml"), &(a("10.0.0.3") + &a("10.0.0.4")));
    w.stays(&["Pod shop/a=10.0.0.3"]).await;
    assert!(
        w.warned()
            .contains("c.yaml:1 holds an object of the same name"),
        "{}",
        w.warned()
    );
}

#[tokio::test]
async fn subdirectories_lists_and_json() {
    let mut w = Watched::start(&[]).await;
    let json = r#"{"kind": "List", "apiVersion": "v1", "items": [{"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "namespace": "shop", "creationTimestamp": null},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": 1}}}]},
        "status": {"podIP": "10.0.0.1"}}]}"#;
    let hidden = w.path(".git");
    fs::create_dir(&hidden).expect("directory");
    write(hidden.join("x.yaml"), &b("10.9.9.9"));
    write(w.path(".x.yaml"), &b("10.9.9.9"));
    write(w.path("x.txt"), &b("10.9.9.9"));
    fs::create_dir(w.path("sub")).expect("directory");
    write(w.path("sub/a.json"), json);
    w.until(&[A1]).await;
    fs::create_dir(w.path("later")).expect("directory");
    tokio::time::sleep(Duration::from_millis(100)).await;
    write(w.path("later/b.yaml"), &b("10.0.0.2"));
    w.until(&[A1, B1]).await;
    fs::remove_dir_all(w.path("sub")).expect("remove");
    w.until(&[B1]).await;
    assert_eq!(w.warned(), "");
}

#[tokio::test]
async fn a_source_without_its_directory_says_so() {
    let dir = TempDir::new().expect("directory");
    let source = DirSource {
        path: dir.path().join("gone"),
        warnings: WarningStore::default(),
    };
    let (sender, _batches) = mpsc::channel(1);
    let error = source
        .run(sender, CancellationToken::new())
        .await
        .expect_err("no directory");
    assert!(error.to_string().contains("--source dir:PATH"), "{error}");
}

#[tokio::test]
async fn a_directory_that_vanishes_leaves_what_is_known() {
    let mut w = Watched::start(&[("a.yaml", &a("10.0.0.1"))]).await;
    let away = w.dir.path().with_extension("away");
    fs::rename(w.dir.path(), &away).expect("rename");
    w.stays(&[A1]).await;
    fs::rename(&away, w.dir.path()).expect("rename");
    w.stays(&[A1]).await;
}

#[tokio::test]
async fn bytes_that_are_no_text_are_named() {
    let mut w = Watched::start(&[("a.yaml", &a("10.0.0.1"))]).await;
    fs::write(w.path("a.yaml"), [0xff, 0xfe, 0x00]).expect("file");
    w.stays(&[A1]).await;
    assert!(
        w.warned().contains("a.yaml:1: cannot be read"),
        "{}",
        w.warned()
    );
}

#[tokio::test]
async fn one_change_in_a_large_file_is_one_change() {
    let text = |ready: usize| -> String {
        (0..1_000)
            .map(|n| {
                pod(
                    "shop",
                    &format!("p{n}"),
                    "a",
                    &format!("10.1.{}.{}", n / 250, n % 250 + ready),
                    80,
                )
            })
            .collect()
    };
    let before = text(1);
    let mut w = Watched::start(&[("all.yaml", &before)]).await;
    while w.objects.len() < 1_000 {
        assert!(
            w.take(Duration::from_secs(5)).await,
            "{} objects",
            w.objects.len()
        );
    }
    write(
        w.path("all.yaml"),
        &before.replace("\"10.1.2.1\"", "\"10.9.9.9\""),
    );
    let batch = tokio::time::timeout(Duration::from_secs(5), w.batches.recv()).await;
    let events = batch.expect("a batch").expect("the source runs").events;
    assert_eq!(events.len(), 1, "the other documents did not change");
    assert!(matches!(&events[0], Event::Apply(o, _) if o.key().to_string() == "Pod shop/p500"));
}

/// A file that is renamed to nothing of ours must not cost a look at the whole directory.
#[test]
fn only_directories_mean_a_scan() {
    use warren_control::source::dir::scan::Scanner;
    let dir = TempDir::new().expect("directory");
    write(dir.path().join("a.yaml"), "a: 1");
    fs::create_dir(dir.path().join("sub")).expect("directory");
    write(dir.path().join("sub/b.yaml"), "b: 1");
    let mut scanner = Scanner::new(dir.path().to_owned());
    assert_eq!(scanner.scan().read.len(), 2);
    fs::remove_file(dir.path().join("a.yaml")).expect("remove");
    let paths = |name: &str| [dir.path().join(name)].into();
    let none = scanner.read(&paths("gone.tmp"));
    assert_eq!((none.read.len(), none.gone.len()), (0, 0));
    assert_eq!(scanner.read(&paths("a.yaml")).gone, ["a.yaml".into()]);
    fs::remove_dir_all(dir.path().join("sub")).expect("remove");
    assert_eq!(scanner.read(&paths("sub")).gone, ["sub/b.yaml".into()]);
}

#[tokio::test]
async fn a_copied_object_may_say_where_it_was_written() {
    let text = b("10.0.0.2")
        .replace("  nodeName", "  nodename: z\n  nodeName")
        .replace(
            "labels: {",
            "annotations: {warren.dev/origin: \"shop/all.yaml:42\"}, labels: {",
        );
    let mut w = Watched::start(&[("generated.yaml", &text)]).await;
    w.until(&[B1]).await;
    assert!(
        w.warned()
            .starts_with("shop/all.yaml:42: Pod shop/b: unknown field"),
        "{}",
        w.warned()
    );
}
